"""`colony logs` on paper: which lines become which text, and which options make no sense."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from colony.cli.logs import Shower, _moment
from colony.cli.session import Failed
from colony.exits import Exit


def line(text: str, seq: int = 1, *, service: str = "web", **more: Any) -> dict[str, Any]:
    ts = "2026-11-26T14:02:20.821Z"
    plain = {"seq": seq, "ts": ts, "service": service, "stream": "stdout", "text": text}
    return {**plain, "dropped": 0, "piece": 0, "more": False, **more}


def shown(capsys: pytest.CaptureFixture[str], *lines: dict[str, Any], prefix: bool = False) -> str:
    show = Shower(False, prefix=prefix, times=False)
    for each in lines:
        show(each)
    show.end()
    return capsys.readouterr().out


def test_the_pieces_of_an_overlong_line_are_one_line_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(
        capsys,
        line("before", 1),
        line("one,", 2, more=True),
        line("two,", 2, piece=1, more=True),
        line("three", 2, piece=2),
        line("after", 3),
    )
    assert text == "before\none,two,three\nafter\n"


def test_a_line_that_another_one_interrupts_is_marked_as_broken_off(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = shown(
        capsys,
        line("one,", 2, more=True),
        line("hello", 1, service="api"),
        line("two", 2, piece=1),
        prefix=True,
    )
    assert text == "web | one, …\napi | hello\nweb | two\n"


def test_a_line_whose_end_has_not_come_yet_is_marked_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, line("one,", more=True)) == "one, …\n"


def test_without_colours_no_sequence_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = "\x1b(B\x1b[m\x1b[1;31mred\x1b[0m \x1b7\x1b=\x1b]0;title\x07\x1bPq#0\x1b\\end"
    assert shown(capsys, line(text)) == "red end\n"


def test_with_colours_nothing_but_colours_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show = Shower(True, prefix=False, times=False)
    show(line("\x1bc\x1b[31mr\u00e9d \ufffd\x1b[1A"))
    assert capsys.readouterr().out == "\x1b[31mr\u00e9d \ufffd\x1b[0m\n"


def test_what_services_write_is_data(capsys: pytest.CaptureFixture[str]) -> None:
    text = '["x"] [bold]no[/bold] \\x1b %s {}'
    assert shown(capsys, line(text)) == f"{text}\n"


@pytest.mark.parametrize("since", ["12", "2026-11-26T14:00:00+00:00", None])
def test_a_cursor_and_a_time_are_passed_on(since: str | None) -> None:
    assert _moment(since) == since


def test_a_time_without_a_zone_is_the_one_of_here() -> None:
    here = datetime(2026, 11, 26, 14).astimezone(UTC).isoformat()
    assert _moment("2026-11-26T14:00") == here


def test_a_since_that_is_nothing_of_all_that_says_what_it_may_be() -> None:
    with pytest.raises(Failed) as failed:
        _moment("tuesday")
    assert failed.value.code is Exit.WRONG
    assert str(failed.value) == (
        "--since: no cursor of a page, and no time: a time is like 2h, 30m, yesterday, today, "
        "22:30 or 2026-11-26T22:30, got: 'tuesday'"
    )
