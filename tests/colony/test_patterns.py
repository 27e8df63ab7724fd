"""Regular expressions from outside: what they find, and that none of them holds anybody up."""

from __future__ import annotations

import pytest

from colony.patterns import WrongPattern, compiled


@pytest.mark.parametrize(
    ("pattern", "line", "found"),
    [
        ("GET|POST", b"POST /", True),
        (r"compiled in \d+ ms", b"[vite] compiled in 12 ms", True),
        ("^a.c$", b"abc", True),
        ("^a.c$", b"abcd", False),
        ("(?i)error", b"ERROR: no", True),
        ("héllo", "héllo".encode(), True),
        ("h.llo", "héllo".encode(), True),
        ("b", b"a\xffb", True),
        ("(?P<port>[0-9]+)", b"port 4001", True),
        ("", b"", True),
    ],
)
def test_it_finds(pattern: str, line: bytes, found: bool) -> None:
    assert (compiled(pattern).search(line) is not None) is found


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*c", "(.*a){20}c", "(x+x+)+y"])
def test_what_takes_others_for_ever_is_answered(pattern: str) -> None:
    assert compiled(pattern).search(b"a" * 16_000 + b"xxxx" * 20 + b"b") is None


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("(", "missing ): ("),
        ("*a", "no argument for repetition operator: *"),
        (
            "(?=a)",
            "invalid perl operator: (?= (look-around and back-references are not known here)",
        ),
        (r"(a)\1", r"invalid escape sequence: \1 (look-around and back-references are not kno"),
        ("((a{1000}){1000}){1000}", "invalid repetition size: {1000}"),
        ("(?:a?){900}" * 90, "pattern too large - compile failed"),
        ("\ud800", "it is no text"),
    ],
)
def test_what_is_wrong_says_why(pattern: str, why: str) -> None:
    with pytest.raises(WrongPattern) as wrong:
        compiled(pattern)
    assert str(wrong.value).startswith(why)
