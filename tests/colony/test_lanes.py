"""The live table: what stands, what is taken away, and what finds no room."""

from __future__ import annotations

import io
import os

import pyte
import pytest

from colony.lanes import Lane, Table, drawn, providing, wanted

WEB = Lane("web", "ready", 4001, "http://hello-4001.colony.localhost/", 0, 12.0)
API = Lane("api", "backoff", 3000, None, 2, 1.0, "exit code 3")
JOB = Lane("job", "waiting", None, None, 0, None, "for web to be ready")


def size(columns: int, lines: int) -> os.terminal_size:
    return os.terminal_size((columns, lines))


def test_a_lane_has_shape_state_port_url_time_restarts_and_why() -> None:
    assert drawn([WEB, API, JOB], size(90, 24), colour=False) == [
        "─" * 90,
        "● web  ready    4001  http://hello-4001.colony.localhost/  12 s",
        "↻ api  backoff  3000                                       1 s   ↻ 2  exit code 3",
        "◌ job  waiting                                                        for web to be ready",
    ]


def test_a_step_that_provides_stands_in_no_column() -> None:
    step = providing("shop", "node packages", "npm ci", 45, 3.0)
    lines = drawn([step, WEB], size(90, 24), colour=False)
    assert lines[1:] == [
        "◌ shop  node packages  3 s  ▕█████████           ▏  45 %  npm ci",
        "● web  ready  4001  http://hello-4001.colony.localhost/  12 s",
    ]
    unknown = providing("shop", "node packages", "npm ci", None, 3.0)
    assert drawn([unknown], size(90, 24), colour=False)[1:] == [
        "◌ shop  node packages  3 s  npm ci"
    ]


def test_a_column_that_nobody_needs_is_left_out() -> None:
    lane = Lane("job", "starting", None, None, 0, 3.0)
    assert drawn([lane], size(30, 24), colour=False)[1:] == ["◌ job  starting  3 s"]


def test_colours_repeat_what_shapes_say() -> None:
    line = drawn([WEB], size(90, 24), colour=True)[1]
    assert line.startswith("\x1b[32m●\x1b[0m web  ready")


def test_no_line_is_wider_than_the_terminal() -> None:
    assert drawn([WEB], size(24, 24), colour=False) == ["─" * 24, "● web  ready  4001  htt…"]


def test_those_without_room_are_counted_by_state() -> None:
    lanes = [WEB._replace(name=f"w{i}") for i in range(6)] + [API]
    lines = drawn(lanes, size(60, 10), colour=False)
    assert [line.split()[1] for line in lines[1:-1]] == ["w0", "w1", "w2"]
    assert lines[-1] == "  … and 3 ready, 1 backoff"


@pytest.mark.parametrize("room", [size(19, 24), size(80, 3), size(0, 0)])
def test_where_there_is_no_room_there_is_no_table(room: os.terminal_size) -> None:
    assert drawn([WEB], room, colour=False) == []


class Terminal:
    """A table at a terminal, played by pyte."""

    def __init__(self, lanes: list[Lane], columns: int = 40, lines: int = 8) -> None:
        self.lanes = lanes
        self.screen = pyte.HistoryScreen(columns, lines, history=100)
        self._stream = pyte.ByteStream(self.screen)
        self.screen.set_mode(pyte.modes.LNM)
        self.size = size(columns, lines)
        self.table = Table(lambda: self.lanes, colour=False, size=lambda: self.size)

    def write(self, data: bytes) -> None:
        self._stream.feed(self.table.around(data))

    def end(self) -> None:
        self._stream.feed(self.table.end())

    @property
    def shown(self) -> list[str]:
        lines = [line.rstrip() for line in self.screen.display]
        return [line for line in lines if line]

    @property
    def history(self) -> list[str]:
        rows = self.screen.history.top
        return ["".join(row[x].data for x in range(40)).rstrip() for row in rows]


ONE = Lane("web", "ready", 4001, None, 0, 5.0)


def test_lines_go_by_above_the_table_and_history_has_them_alone() -> None:
    terminal = Terminal([ONE])
    for number in range(20):
        terminal.write(b"line %d\n" % number)
    table = ["─" * 40, "● web  ready  4001  5 s"]
    assert terminal.shown == [*(f"line {n}" for n in range(15, 20)), *table]
    assert terminal.history == [f"line {n}" for n in range(15)]


def test_what_a_service_coloured_does_not_reach_the_table() -> None:
    terminal = Terminal([ONE])
    terminal.write(b"\x1b[31mred\n")
    assert terminal.screen.buffer[2][2].fg == "default"


def test_a_change_redraws_and_no_change_writes_nothing() -> None:
    terminal = Terminal([ONE])
    terminal.write(b"a\n")
    assert terminal.table.around(b"") == b""
    terminal.lanes = [ONE._replace(state="failed")]
    terminal.write(b"")
    assert terminal.shown == ["a", "─" * 40, "✗ web  failed  4001  5 s"]


def test_the_end_leaves_the_lines_alone() -> None:
    terminal = Terminal([ONE])
    terminal.write(b"a\n")
    terminal.end()
    terminal.write(b"b\n")
    assert terminal.shown == ["a", "b"]


def test_it_is_wanted_on_a_terminal_that_somebody_looks_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Tty(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLONY_AGENT", "0")
    monkeypatch.setenv("TERM", "xterm-256color")
    assert (wanted(Tty()), wanted(io.StringIO())) == (True, False)
    monkeypatch.setenv("TERM", "dumb")
    assert not wanted(Tty())
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLONY_AGENT", "1")
    assert not wanted(Tty())
