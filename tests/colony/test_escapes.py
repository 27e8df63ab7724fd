"""What is left of a line without what terminals take for commands."""

from __future__ import annotations

import pytest

from colony.escapes import one_line, plain, plain_bytes
from colony.patterns import compiled, found_in


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("no escapes [0m", "no escapes [0m"),
        ("\x1b[1;32mready \x1b[2min\x1b[0m 3 ms", "ready in 3 ms"),
        ("\x1b[38:2::1:2:3mcolour\x1b[m", "colour"),
        ("\x1b]0;title\x07a\x1b]8;;http://x/\x1b\\b", "ab"),
        ("tput\x1b(B\x1b[m\x1b7\x1b=\x1bc", "tput"),
        ("\x1b]0;never ended", "0;never ended"),
        ("at the end\x1b", "at the end\x1b"),
    ],
)
def test_escapes_go_and_words_stay(text: str, words: str) -> None:
    assert plain(text) == words
    assert plain_bytes(text.encode()) == words.encode()


def test_a_line_matches_as_written_or_as_it_is_seen() -> None:
    line = b"\x1b[32mready \x1b[1min\x1b[0m \xff"
    assert found_in(compiled(r"^ready in "), line)
    assert found_in(compiled(r"\x1b\[32m"), line)
    assert not found_in(compiled(r"ready at"), line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", ""),
        (" \n\x1b[0m\n", ""),
        ("one\ntwo \n\n", "two"),
        ("\x1b]0;owned\x07\x1b[31mred \x00nul\rback\tand\x08on", "red nul back and on"),
        ("never ended \x1b[2", "never ended 2"),
        ("a\x85b\u2028c", "a b c"),
        ("x" * 20, "x" * 20),
        ("x" * 21, "x" * 19 + "…"),
    ],
)
def test_the_last_words_of_a_text_fit_into_a_line_of_ours(text: str, line: str) -> None:
    assert one_line(text, 20) == line
