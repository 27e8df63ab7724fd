"""The threads that read and write: real pipes, real files, on both backends."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from actors import Event
from colony.events import Notice, ServiceOutput
from colony.logs import Filter, Limits, Logs, store
from colony.logs.store import PENDING

pytestmark = pytest.mark.real_time

PATIENCE = 30.0


def pipe() -> tuple[int, int]:
    return os.pipe2(os.O_CLOEXEC)


def shown(published: list[Event]) -> bytes:
    return b"".join(event.data for event in published if isinstance(event, ServiceOutput))


async def eventually(look: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE):
        while not look():  # noqa: ASYNC110
            await anyio.sleep(0.005)


async def test_what_is_written_is_kept_shown_and_saved_and_its_end_is_told(tmp_path: Path) -> None:
    logs, published = Logs(tmp_path), list[Event]()
    await logs.start(published.append)
    out, err = pipe(), pipe()
    feeds = [
        logs.attach("app", "web", "stdout", out[0]),
        logs.attach("app", "web", "stderr", err[0]),
    ]
    os.write(out[1], b"one\ntwo\xff\n")
    await eventually(lambda: shown(published) == b"one\ntwo\xff\n")
    os.write(err[1], b"three\nunfinished")
    await eventually(lambda: len(logs.last_lines("app", "web", 9)) == 4)
    os.close(out[1])
    os.close(err[1])
    with anyio.fail_after(PATIENCE):
        for feed in feeds:
            await feed.ended.wait()
    page = logs.page("app", [], Filter())
    assert [(line.number, line.stream, line.data) for line in page.lines] == [
        (1, "stdout", b"one"),
        (2, "stdout", b"two\xff"),
        (3, "stderr", b"three"),
        (4, "stderr", b"unfinished"),
    ]
    assert page.dropped == {}
    assert logs.page("app", [], Filter(after=page.next)).lines == ()
    await logs.close()
    saved = (tmp_path / "app" / "web.log").read_bytes().splitlines()
    assert [line.split(b" ", 1)[1] for line in saved] == [
        b"out one",
        b"out two\xff",
        b"err three",
        b"err unfinished",
    ]


async def test_a_flood_is_read_whatever_the_event_loop_does_and_what_it_missed_is_counted() -> None:
    logs, published = Logs(), list[Event]()
    await logs.start(published.append)
    read, write = pipe()
    size = 3 * PENDING
    process = subprocess.Popen(["sh", "-c", f"yes | head -c {size}"], stdout=write)  # noqa: ASYNC220
    os.close(write)
    feed = logs.attach("app", "web", "stdout", read)
    process.wait()  # the loop is held up, and the service is not
    with anyio.fail_after(PATIENCE):
        await feed.ended.wait()
    events = [event for event in published if isinstance(event, ServiceOutput)]
    assert len(shown(published)) + sum(event.dropped for event in events) == size
    assert sum(event.dropped for event in events) > 0
    [ring] = [logs.page("app", [], Filter(count=1))]
    assert ring.lines[0].number == size // 2
    assert ring.dropped["web"] > 0
    await logs.close()


async def test_whoever_is_shown_a_line_finds_it_kept() -> None:
    logs, found, over = Logs(), list[list[bytes]](), threading.Event()
    await logs.start(lambda event: None)
    read, write = pipe()

    def kept() -> list[bytes]:
        return [line.data for line in logs.page("app", ["web"], Filter()).lines]

    def watch(data: bytes) -> bool:
        found.append(kept())
        over.set()
        return True

    logs.attach("app", "web", "stdout", read, watch, lambda feed, data: found.append(kept()))
    os.write(write, b"ready\n")
    assert await anyio.to_thread.run_sync(over.wait, PATIENCE)
    os.close(write)
    await logs.close()
    assert found == [[b"ready"], [b"ready"]]


async def test_files_are_rotated_at_their_size(tmp_path: Path) -> None:
    logs = Logs(tmp_path, Limits(file_bytes=10_000))
    await logs.start(lambda event: None)
    read, write = pipe()
    logs.attach("app", "web", "stdout", read)
    for number in range(600):
        os.write(write, b"line %06d of many\n" % number)
        if number % 20 == 19:
            await eventually(lambda number=number: _count(logs) == number + 1)  # type: ignore[misc]
    os.close(write)
    await logs.close()
    now, before = (tmp_path / "app" / name for name in ("web.log", "web.log.1"))
    assert 0 < now.stat().st_size <= 10_000
    assert 0 < before.stat().st_size <= 10_000
    assert now.read_bytes().splitlines()[-1].endswith(b"out line 000599 of many")


async def test_that_a_file_cannot_be_written_is_said_once_and_hinders_nothing(
    tmp_path: Path,
) -> None:
    (tmp_path / "app").write_text("where a folder should be")
    published: list[Event] = []
    logs = Logs(tmp_path)
    await logs.start(published.append)
    read, write = pipe()
    logs.attach("app", "web", "stdout", read)
    for number in range(1, 4):
        os.write(write, b"line\n")
        await eventually(lambda: any(isinstance(event, Notice) for event in published))
        await eventually(lambda number=number: _count(logs) == number)  # type: ignore[misc]
    os.close(write)
    await logs.close()
    [notice] = [event for event in published if isinstance(event, Notice)]
    assert notice.text.startswith(f"what services write is not saved in {tmp_path}: ")


def _count(logs: Logs) -> int:
    lines = logs.page("app", [], Filter(count=1)).lines
    return lines[0].number if lines else 0


async def test_a_feed_that_is_closed_reads_no_more_and_forgetting_drops_what_was_kept() -> None:
    logs, published = Logs(), list[Event]()
    await logs.start(published.append)
    read, write = pipe()
    feed = logs.attach("app", "web", "stdout", read)
    os.write(write, b"one\n")
    await eventually(lambda: shown(published) == b"one\n")
    logs.close_feed(feed)
    logs.close_feed(feed)
    assert feed.ended.is_set()
    with pytest.raises(BrokenPipeError):
        os.write(write, b"two\n")
    os.close(write)
    logs.forget("app")
    assert logs.services("app") == []
    await logs.close()


async def test_what_was_kept_outlives_the_threads() -> None:
    logs, published = Logs(), list[Event]()
    read, write = pipe()
    await logs.start(published.append)
    logs.attach("app", "web", "stdout", read)
    os.write(write, b"one\n")
    await eventually(lambda: shown(published) == b"one\n")
    await logs.close()
    os.write(write, b"two\n")
    await logs.start(published.append)
    await eventually(lambda: shown(published) == b"one\ntwo\n")
    os.close(write)
    assert [line.data for line in logs.page("app", [], Filter()).lines] == [b"one", b"two"]
    await logs.close()


async def test_the_rest_of_a_stream_that_nobody_writes_to_is_read_at_once() -> None:
    logs, published = Logs(), list[Event]()
    await logs.start(published.append)
    pipes = {"stdout": pipe(), "stderr": pipe()}
    feeds = [logs.attach("app", "web", "stdout", pipes["stdout"][0])]
    feeds.append(logs.attach("app", "web", "stderr", pipes["stderr"][0]))
    os.write(pipes["stdout"][1], b"one\nunfinished")
    logs.finish([(feed, pipes[feed.stream][1]) for feed in feeds])
    assert [feed.ended.is_set() for feed in feeds] == [True, True]
    # Nothing was awaited: whoever hears of the service's end next has its last words.
    assert shown(published) == b"one\nunfinished"
    assert [line.data for line in logs.last_lines("app", "web", 9)] == [b"one", b"unfinished"]
    await logs.close()
    assert shown(published) == b"one\nunfinished"


async def test_a_stream_to_which_somebody_else_writes_goes_on() -> None:
    logs, published = Logs(), list[Event]()
    await logs.start(published.append)
    read, write = pipe()
    other = os.dup(write)
    feed = logs.attach("app", "web", "stdout", read)
    os.write(write, b"one\n")
    logs.finish([(feed, write)])
    assert not feed.ended.is_set()
    os.write(other, b"two\n")
    await eventually(lambda: shown(published) == b"one\ntwo\n")
    os.write(other, b"three\n")
    os.close(other)
    with anyio.fail_after(PATIENCE):
        await feed.ended.wait()
    assert shown(published) == b"one\ntwo\nthree\n"
    await logs.close()


async def test_what_is_set_aside_is_published_when_its_stream_is_finished_and_no_sooner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "SOON", 0.0)
    logs, published = Logs(), list[Event]()
    await logs.start(published.append)
    (read, write), other = pipe(), pipe()
    feed = logs.attach("app", "web", "stdout", read)
    logs.attach("app", "other", "stdout", other[0])
    logs.set_aside(feed)
    os.write(write, b"one\n")
    await eventually(lambda: len(logs.last_lines("app", "web", 9)) == 1)
    os.write(other[1], b"its own\n")
    await eventually(lambda: shown(published) == b"its own\n")
    os.write(write, b"two\n")
    logs.finish([(feed, write)])
    assert (feed.ended.is_set(), shown(published)) == (True, b"its own\none\ntwo\n")
    os.close(other[1])
    await logs.close()
    assert shown(published) == b"its own\none\ntwo\n"


async def test_what_is_set_aside_and_never_finished_is_published_at_the_end() -> None:
    logs, published = Logs(), list[Event]()
    await logs.start(published.append)
    read, write = pipe()
    feed = logs.attach("app", "web", "stdout", read)
    logs.set_aside(feed)
    os.write(write, b"one\n")
    await eventually(lambda: len(logs.last_lines("app", "web", 9)) == 1)
    await logs.close()
    assert shown(published) == b"one\n"
    logs.close_feed(feed)
    os.close(write)


async def test_what_waits_to_be_published_can_be_published_before_what_follows_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "SOON", 1000.0)
    logs, published = Logs(), list[Event]()
    await logs.start(published.append)
    read, write = pipe()
    feed = logs.attach("app", "web", "stdout", read)
    os.write(write, b"listening\n")
    await eventually(lambda: len(logs.last_lines("app", "web", 9)) == 1)
    assert shown(published) == b""
    logs.flush()
    assert shown(published) == b"listening\n"
    logs.close_feed(feed)
    os.close(write)
    await logs.close()


@pytest.mark.parametrize("watched", [False, True])
async def test_of_a_stream_that_has_ended_nothing_is_lost_however_much_is_left(
    watched: bool,
) -> None:
    logs, published = Logs(), list[Event]()
    seen, may_go_on = list[tuple[int, bytes]](), threading.Event()
    await logs.start(published.append)
    holding, read = pipe(), pipe()
    logs.attach("app", "web", "stderr", holding[0], lambda data: may_go_on.wait(PATIENCE))
    os.write(holding[1], b"the thread that reads has its hands full\n")

    def watch(data: bytes) -> bool:
        seen.append((threading.get_ident(), data))
        return False

    feed = logs.attach("app", "web", "stdout", read[0], watch if watched else None)
    os.set_blocking(read[1], False)
    line, written = b"x" * 1023 + b"\n", 0
    with contextlib.suppress(BlockingIOError):
        while True:
            written += os.write(read[1], line)
    logs.finish([(feed, read[1])])
    may_go_on.set()
    with anyio.fail_after(PATIENCE):
        await feed.ended.wait()
    os.close(holding[1])
    await logs.close()
    own = [e.data for e in published if isinstance(e, ServiceOutput) and e.stream == "stdout"]
    assert b"".join(own) == line * (written // len(line))
    if watched:
        assert b"".join(data for _, data in seen) == b"".join(own)
        assert threading.get_ident() not in {thread for thread, _ in seen}


async def test_a_stream_that_is_not_read_any_more_is_finished_by_closing_its_other_end() -> None:
    logs = Logs()
    await logs.start(lambda event: None)
    ends = [pipe(), pipe()]
    spare = [os.dup(read) for read, _ in ends]
    closed, held = (logs.attach("app", "web", "stdout", read) for read, _ in ends)
    logs.close_feed(closed)
    logs.hold(held)
    for feed, (_, write), read in zip((closed, held), ends, spare, strict=True):
        logs.finish([(feed, write)])
        assert os.read(read, 1) == b""
        os.close(read)
    assert not held.ended.is_set()
    logs.go_on(held)
    with anyio.fail_after(PATIENCE):
        await held.ended.wait()
    await logs.close()
