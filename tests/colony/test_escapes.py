"""What is left of a line without what terminals take for commands."""

from __future__ import annotations

import pytest

from colony.escapes import one_line, plain, plain_bytes, tame
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


@pytest.mark.parametrize(
    ("line", "fit"),
    [
        ("as it is: \t\u00e9 \u2028", "as it is: \t\u00e9 \u2028"),
        ("\x1b[1;31mred", "\x1b[1;31mred\x1b[0m"),
        ("\x1b[38:2::1:2:3mred\x1b[0m", "\x1b[38:2::1:2:3mred\x1b[0m"),
        ("\x1bc\x1b[2J\x1b[3J\x1b[Hcleared", "cleared"),
        ("\x1b]0;title\x07\x1b[?1049h\x1b[1Aup\x1b[K", "up"),
        ("\x1b]8;;http://x/\x1b\\\x1b[4mlink\x1b]8;;\x1b\\", "\x1b[4mlink\x1b[0m"),
        ("bell\x07 back\x08 shift\x0e nul\0 del\x7f \x9b2J", "bell back shift nul del 2J"),
        ("never ended \x1b]0;title", "never ended 0;title"),
        ("at the end\x1b", "at the end"),
        ("10 %\r20 %\r\x1b[32m30 %\r", "\x1b[32m30 %\x1b[0m"),
        ("\r\r", ""),
    ],
)
def test_of_a_line_beside_others_the_colours_stay_and_end_with_it(line: str, fit: str) -> None:
    assert tame(line.encode()) == fit.encode()


def test_bytes_that_are_no_text_stay_beside_others() -> None:
    assert tame(b"\xff\xfe\xc2 \x80\x1b[m") == b"\xff\xfe\xc2 \x80\x1b[m\x1b[0m"
