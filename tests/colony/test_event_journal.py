"""The event journal: what is kept of what happens, how it is written, and how it is read."""

from __future__ import annotations

import fcntl
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from actors import Abnormal, Event, Shutdown, System
from actors import events as kernel
from colony.chronicle import Chronicle, ChronicleOwner, InstanceStarted, is_kept
from colony.chronicle_file import EventFiles
from colony.events import (
    Notice,
    ServiceExited,
    ServiceOutput,
    ServiceReady,
    ServiceStarted,
)
from colony.records import (
    Record,
    colonies_in,
    decoded,
    encoder,
    parse_since,
    ran_at,
    read,
    runs_of,
)
from colony.services.supervisor import ServicesSupervisor

TREE = "system/colonies/my-app"


def started(at: float, life: int = 1, service: str = "web", colony: str = "my-app") -> Event:
    return ServiceStarted(at=at, colony=colony, service=service, pid=4711, incarnation=life)


def supervisor_exited(at: float, actor: str = TREE) -> Event:
    return kernel.Exited(
        at=at, actor=actor, kind="Supervisor", incarnation=1, reason=Shutdown("stopped")
    )


def lines_of(folder: Path) -> list[bytes]:
    return list(EventFiles(folder).lines())


# -- what is kept --------------------------------------------------------------------------------


def test_output_is_not_kept() -> None:
    output = ServiceOutput(at=1.0, colony="my-app", service="web", stream="stdout", data=b"x")
    assert not is_kept(output)


def test_notices_are_not_kept() -> None:
    assert not is_kept(Notice(at=1.0, colony="my-app", text="something"))


def test_lives_of_services_are_kept() -> None:
    assert is_kept(started(1.0))


def test_of_actors_supervisors_and_crashes_are_kept() -> None:
    def exited(kind: str, reason: Shutdown | Abnormal) -> Event:
        return kernel.Exited(at=1.0, actor="system/door", kind=kind, incarnation=1, reason=reason)

    assert is_kept(exited("Supervisor", Shutdown()))
    assert is_kept(exited(ServicesSupervisor.__name__, Shutdown()))
    assert is_kept(exited("DoorOwner", Abnormal("gone")))
    assert not is_kept(exited("DoorOwner", Shutdown()))


# -- files ---------------------------------------------------------------------------------------


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "events")
    files.append([b"1", b"2"])
    files.append([b"3"])
    assert list(files.lines()) == [b"1", b"2", b"3"]


def test_no_files_have_no_lines(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "never") == []
    assert read(tmp_path / "never") == []


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    files = EventFiles(tmp_path / "events")
    files.append([b"1"])
    assert stat.S_IMODE(files.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.path.parent.stat().st_mode) == 0o700


def test_a_full_file_is_renamed_and_the_oldest_is_lost(tmp_path: Path) -> None:
    files = EventFiles(tmp_path, size=10, kept=3)
    for number in range(10, 18):
        files.append([b"%d--" % number, b"%d--" % number])
    assert list(files.lines()) == [b"%d--" % n for n in (15, 15, 16, 16, 17, 17)]
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["events.jsonl", "events.jsonl.1", "events.jsonl.2", "lock"]


def test_a_torn_last_line_is_skipped_and_the_next_line_stands_alone(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    files.append([b'{"whole": 1}'])
    with files.path.open("ab") as file:
        file.write(b'{"torn": ')
    assert list(files.lines()) == [b'{"whole": 1}']
    files.append([b'{"whole": 2}'])
    assert list(files.lines()) == [b'{"whole": 1}', b'{"torn": ', b'{"whole": 2}']


def test_two_writers_share_the_files(tmp_path: Path) -> None:
    def write(mark: bytes) -> None:
        files = EventFiles(tmp_path, size=400, kept=100)
        for number in range(50):
            files.append([b"%b %d" % (mark, number)])

    threads = [threading.Thread(target=write, args=(mark,)) for mark in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(EventFiles(tmp_path, kept=100).lines())
    for mark in (b"a", b"b"):
        mine = [line for line in found if line.startswith(mark)]
        assert mine == [b"%b %d" % (mark, number) for number in range(50)]


def test_whoever_does_not_get_the_lock_appends_and_renames_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("colony.chronicle_file.PATIENCE", 0.0)
    files = EventFiles(tmp_path, size=4, kept=3)
    files.append([b"first"])
    holder = os.open(tmp_path / "lock", os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        files.append([b"second"])
    finally:
        os.close(holder)
    assert files.path.read_bytes() == b"first\nsecond\n"


def test_a_file_that_is_renamed_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    files = EventFiles(tmp_path, size=4, kept=3)
    files.append([b"1111"])
    os.link(files.path, tmp_path / "events.jsonl.1")
    assert list(files.lines()) == [b"1111"]


# -- lines ---------------------------------------------------------------------------------------


def test_a_line_has_both_clocks_the_instance_and_the_event() -> None:
    line = encoder("a1b2c3")(1_796_000_000.5, started(12.25))
    assert json.loads(line) == {
        "ts": "2026-11-30T00:53:20.500Z",
        "at": 12.25,
        "instance": "a1b2c3",
        "type": "service.started",
        "colony": "my-app",
        "service": "web",
        "pid": 4711,
        "incarnation": 1,
    }


def test_a_line_comes_back_as_a_record() -> None:
    line = encoder("a1b2c3")(1_796_000_000.5, started(12.25))
    record = decoded(line)
    assert record == Record(
        1_796_000_000.5, 12.25, "a1b2c3", "service.started", "my-app", json.loads(line)
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"{}",
        b'{"ts": 5, "at": 1, "instance": "i", "type": "t", "colony": null}',
        b'{"ts": "no time", "at": 1, "instance": "i", "type": "t", "colony": null}',
        b'{"ts": "2026-11-30T01:33:20Z", "at": "x", "instance": "i", "type": "t", "colony": null}',
        b'{"ts": "2026-11-30T01:33:20Z", "at": 1, "instance": 7, "type": "t", "colony": null}',
    ],
)
def test_what_is_no_record_is_skipped(line: bytes, tmp_path: Path) -> None:
    assert decoded(line) is None
    files = EventFiles(tmp_path)
    files.append([line, encoder("i")(1000.0, started(1.0))])
    assert [record.at for record in read(tmp_path)] == [1.0]


# -- writing -------------------------------------------------------------------------------------


def test_what_waits_is_bounded_and_the_loss_is_told(tmp_path: Path) -> None:
    files = EventFiles(tmp_path)
    chronicle = Chronicle(files, encoder("i"), 1, waiting=2, clock=lambda: 1000.0)
    for number in range(5):
        chronicle.note(started(float(number), number))
    chronicle.start()
    chronicle.close()
    found = [(record.type, record.at) for record in read(tmp_path)]
    assert found == [("events.lost", 3.0), ("service.started", 3.0), ("service.started", 4.0)]
    assert read(tmp_path)[0].data["lost"] == 3


def test_a_disk_that_fails_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "events").write_text("in the way")
    chronicle = Chronicle(EventFiles(tmp_path / "events"), encoder("i"), 1)
    chronicle.note(started(1.0))
    chronicle.start()
    chronicle.close()
    assert isinstance(chronicle.failed, OSError)
    (tmp_path / "events").unlink()
    chronicle.start()
    chronicle.note(started(2.0))
    chronicle.close()
    assert chronicle.failed is None
    found = [(record.type, record.data.get("lost")) for record in read(tmp_path / "events")]
    assert found == [("events.lost", 1), ("service.started", None)]


@pytest.mark.real_time
async def test_its_owner_writes_the_beginning_and_the_end_of_the_instance(tmp_path: Path) -> None:
    chronicle = Chronicle(EventFiles(tmp_path), encoder("i"), 99)
    async with System() as system:
        system.events.listen(chronicle.note)
        owner = await system.start(ChronicleOwner.spec(chronicle))
        system.publish(started(1.0))
        await system.stop_actor(owner)
    assert [record.type for record in read(tmp_path)] == [
        "instance.started",
        "service.started",
        "instance.stopped",
    ]
    assert read(tmp_path)[0].data["pid"] == 99


# -- reading -------------------------------------------------------------------------------------


def wall(text: str) -> float:
    """A time of here."""
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("text", "then"),
    [
        ("90s", "2026-11-26T11:58:30"),
        ("30m", "2026-11-26T11:30"),
        ("2h", "2026-11-26T10:00"),
        ("1.5d", "2026-11-25T00:00"),
        ("1w", "2026-11-19T12:00"),
        ("today", "2026-11-26"),
        ("yesterday", "2026-11-25"),
        ("Yesterday ", "2026-11-25"),
        ("9:15", "2026-11-26T09:15"),
        ("22:30", "2026-11-25T22:30"),
        ("2026-11-20", "2026-11-20"),
        ("2026-11-20T03:00", "2026-11-20T03:00"),
        ("2026-11-20 03:00:10", "2026-11-20T03:00:10"),
        ("2026-11-20T03:00Z", "2026-11-20T03:00+00:00"),
    ],
)
def test_since_is_read_as_people_write_it(text: str, then: str) -> None:
    assert parse_since(text, wall("2026-11-26T12:00")) == wall(then)


@pytest.mark.parametrize("text", ["", "soon", "2 hours ago", "25:00", "-2h", "2026-13-01"])
def test_what_is_no_time_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="a time is like 2h, 30m, yesterday") as caught:
        parse_since(text, 0.0)
    assert str(caught.value).endswith(f"got: {text!r}")


def test_only_what_came_since_is_read(tmp_path: Path) -> None:
    encode = encoder("i")
    EventFiles(tmp_path).append([encode(at, started(at)) for at in (100.0, 200.0, 300.0)])
    assert [record.at for record in read(tmp_path, since=200.0)] == [200.0, 300.0]


Write = Callable[[str, float, Event], None]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes an event of an instance, whose clock is the time of day less 1000."""

    def put(instance: str, when: float, event: Event) -> None:
        EventFiles(tmp_path).append([encoder(instance)(when, event)])

    return put


def test_a_run_ends_with_its_supervisor(tmp_path: Path, write: Write) -> None:
    write("i", 1001.0, started(1.0))
    write("i", 1002.0, supervisor_exited(2.0, f"{TREE}/services"))
    write("i", 1003.0, supervisor_exited(3.0))
    write("i", 1004.0, started(4.0))
    runs = runs_of(read(tmp_path), "my-app")
    assert [([record.at for record in run.records], run.over) for run in runs] == [
        ([1.0, 2.0, 3.0], True),
        ([4.0], False),
    ]


def test_runs_are_of_one_colony_and_one_instance(tmp_path: Path, write: Write) -> None:
    write("i", 1001.0, started(1.0))
    write("k", 1002.0, started(500.0))
    write("i", 1003.0, started(3.0, colony="other"))
    write("i", 1004.0, started(4.0))
    runs = runs_of(read(tmp_path), "my-app")
    assert [[record.at for record in run.records] for run in runs] == [[1.0, 4.0], [500.0]]
    assert colonies_in(read(tmp_path)) == ["my-app", "other"]


def test_a_run_knows_its_services_its_crashes_and_its_end(tmp_path: Path, write: Write) -> None:
    def exited(at: float, orderly: bool) -> Event:
        return ServiceExited(
            at=at,
            colony="my-app",
            service="web",
            incarnation=1,
            status="exit code 1",
            seconds=1.0,
            orderly=orderly,
            code=1,
        )

    write("i", 1000.0, started(0.0, service="db"))
    write("i", 1001.0, started(1.0))
    ready = ServiceReady(
        at=2.0, colony="my-app", service="web", port=4001, incarnation=1, seconds=1.0
    )
    write("i", 1002.0, ready)
    write("i", 1003.0, exited(3.0, orderly=True))
    write("i", 9999.0, exited(4.0, orderly=False))
    [run] = runs_of(read(tmp_path), "my-app")
    assert run.services == ("db", "web")
    assert [record.at for record in run.crashes()] == [4.0]
    assert (run.began, run.ended) == (1000.0, 1004.0), "by the instance's clock"
    assert run.until(2000.0) == 1004.0, "nobody knows of its process"
    assert run.supervisor == f"{TREE}/services"


def test_a_run_whose_process_lives_goes_on_until_now(tmp_path: Path) -> None:
    chronicle = Chronicle(EventFiles(tmp_path), encoder("i"), os.getpid())
    chronicle.put(InstanceStarted(at=0.0, pid=os.getpid()))
    chronicle.note(started(1.0))
    chronicle.start()
    chronicle.close()
    [run] = runs_of(read(tmp_path), "my-app")
    assert run.until(run.began + 50.0) == run.began + 50.0


def test_a_process_that_began_later_is_another_one() -> None:
    now = time.time()
    assert ran_at(os.getpid(), now)
    assert not ran_at(os.getpid(), now - 10 * 365 * 86400)
    assert not ran_at(2**22 + 1, now), "there is no such number"
