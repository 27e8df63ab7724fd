from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from colony.lab.timeline import changes, clock, lanes, length, moment
from colony.lab.trace import Ending, Entry, Trace
from tests.colony.lab.traces import OUTAGE, of


def drawn(trace: Trace, width: int = 60, **stretch: float) -> str:
    return "\n".join(line.plain for line in lanes(trace, width, **stretch))


def test_a_lane_shows_states_and_what_ends_them() -> None:
    assert drawn(OUTAGE) == (
        "     0 s        10 s        20 s        30 s        40 s\n"
        "     ├──────────┼───────────┼───────────┼───────────┼──────┤\n"
        "db   ░━━━━━━━━━━◆━━━━━━━━━━━✗~~~~░░━━━━━━━━━━━━━━━━━‡\n"
        "web  ·░━━━━━━━━━━━━━━━━━━━━━▼      ░━━━━━━━━━━━━━━━━▼\n"
        "job    ━✓\n"
        "\n"
        "━ ready   ░ starts   · waits for others\n"
        "~ waits for its restart\n"
        "‡ restart limit reached: all are stopped   ✗ crash\n"
        "▼ taken down by one above it   ✓ ended in good order\n"
        "◆ something begins to go wrong\n"
        "until 1 min 40 s all is down"
    )


def test_no_line_is_wider_than_asked_for() -> None:
    for width in (30, 44, 61, 120):
        assert all(len(line.plain) <= max(width, 50) for line in lanes(OUTAGE, width))
        assert max(len(line.plain) for line in lanes(OUTAGE, width)[:5]) == width


def test_crashes_in_one_cell_are_counted_and_none_is_lost() -> None:
    crashes = [Entry(50 + i / 100, "web", "crashed", 1) for i in range(4)]
    many = [Entry(80 + i / 100, "web", "crashed", 1) for i in range(12)]
    line = lanes(of(*crashes, *many), 60)[2].plain
    assert [mark for mark in line.removeprefix("web") if mark != " "] == ["4", "+"]


def test_the_gravest_thing_of_a_cell_is_shown() -> None:
    entries = (Entry(50.0, "web", kind, 1) for kind in ("exited", "crashed", "gave_up", "fault"))
    assert "‡" in lanes(of(*entries), 60)[2].plain


def test_whoever_is_taken_down_points_at_the_culprit() -> None:
    both = of(
        Entry(5.0, "db", "stopped", 1, by="api"),
        Entry(5.0, "web", "stopped", 1, by="api"),
        Entry(9.0, "api", "stopped", 1),
        services=("db", "api", "web"),
    )
    marks = [line.plain.split()[-1] for line in lanes(both, 60)[2:5]]
    assert marks == ["▲", "■", "▼"]


def test_a_stretch_of_time_can_be_looked_at_closely() -> None:
    assert drawn(OUTAGE, 45, start=20.0, end=30.0).splitlines() == [
        "     20 s                25 s",
        "     ├───────────────────┼──────────────────┤",
        "db   ✗~~~~~~~~~~~~~~~░░░░━━━━━━━━━━━━━━━━━━━━",
        "web  ▼                   ░░░░━━━━━━━━━━━━━━━━",
        "job",
        "",
        "━ ready   ░ starts   ~ waits for its restart",
        "✗ crash   ▼ taken down by one above it",
        "until 1 min 40 s more happens",
    ]


def test_a_trace_in_which_nothing_happens_has_a_picture() -> None:
    assert drawn(of(services=("web",)), 30).splitlines()[2] == "web"
    assert drawn(of(services=()), 30)


def test_each_change_is_a_line() -> None:
    assert [line.plain for line in changes(OUTAGE)] == [
        "0:00.000  ◌ db   started, life 1",
        "0:01.000  ● db   ready",
        "0:00.000  · web  waits for db to be ready",
        "0:01.000  ◌ web  started, life 1",
        "0:02.000  ● web  ready by port 1",
        "0:02.000  ◌ job  started, life 1",
        "0:02.000  ● job  ready",
        "0:03.000  ✓ job  exit code 0",
        "0:10.000  ◆ db   hangs",
        "0:20.000  ✗ db   killed by SIGKILL",
        "0:20.000  ~ db   restart 1 of 1, in 4 s",
        "0:20.000  ▼ web  taken down by db",
        "0:20.500  ▼ web  is down",
        "0:24.000  ◌ db   started, life 2",
        "0:25.000  ● db   ready",
        "0:25.000  ◌ web  started, life 2, after db",
        "0:26.000  ● web  ready by port 1",
        "0:40.000  ✗ db   killed by SIGKILL",
        "0:40.000  ‡ db   gave up: more than 1 restart in 60 s: killed by SIGKILL",
        "0:40.000  ▼ web  taken down by db",
        "0:40.500  ▼ web  is down, killed",
        "0:40.500  ‡ lab gave up because of db: more than 1 restart in 60 s: killed by SIGKILL",
    ]


@pytest.mark.parametrize(
    ("ending", "line"),
    [
        (Ending("horizon", 100.0), "1:40.000  · lab runs on"),
        (Ending("stopped", 5.0), "0:05.000  ■ lab was stopped"),
        (
            Ending("shut_down", 5.0, "job", "exit code 0"),
            "0:05.000  ✓ lab ended with job: exit code 0",
        ),
        (Ending("start_failed", 5.0, "", "no"), "0:05.000  ! lab cannot start: no"),
    ],
)
def test_the_last_line_says_how_it_ended(ending: Ending, line: str) -> None:
    trace = msgspec.structs.replace(of(), ending=ending)
    assert [each.plain for each in changes(trace)] == [line]


def test_without_colours_nothing_is_lost() -> None:
    def shown(**colours: object) -> str:
        file = io.StringIO()
        console = Console(file=file, width=60, **colours)  # type: ignore[arg-type]
        for line in lanes(OUTAGE, 60):
            console.print(line, soft_wrap=True)
        return file.getvalue()

    assert "\x1b[" in shown(force_terminal=True, color_system="standard")
    assert shown(color_system=None) == drawn(OUTAGE) + "\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0:00.000"), (5.0004, "0:05.000"), (65.25, "1:05.250"), (3661.5, "1:01:01.500")],
)
def test_a_clock_has_milliseconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (45, "45 s"), (90, "1.5 min"), (7200, "2 h"), (172800, "2 d")]
)
def test_a_moment_has_one_unit(seconds: float, text: str) -> None:
    assert moment(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.05, "50 ms"),
        (1.25, "1.25 s"),
        (65, "1 min 5 s"),
        (120, "2 min"),
        (3720, "1 h 2 min"),
        (7200, "2 h"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_length_has_at_most_two_units(seconds: float, text: str) -> None:
    assert length(seconds) == text
