"""What a viewer is given, and in which order."""

from __future__ import annotations

import tracemalloc

import anyio
import anyio.lowlevel
from hypothesis import given
from hypothesis import strategies as st

from colony.terminals.hub import PIECE, STEP, TAIL, Hello, Hub, Resized, Resync, Viewer, Viewers
from colony.terminals.modes import Modes
from colony.terminals.pty import repaint
from colony.terminals.replay import CLEAR, REST
from colony.terminals.ring import CAPACITY
from colony.terminals.screen import EMULATED, emulated, recent
from colony.terminals.sizes import Size


def given_now(viewer: Viewer) -> tuple[list[object], bytes]:
    """What a viewer is told and shown, until there is nothing more now."""
    told: list[object] = []
    shown = []
    while (item := viewer.take_nowait()) is not None:
        if isinstance(item, bytes):
            assert 0 < len(item) <= PIECE + 1024
            shown.append(item)
        else:
            told.append(item)
    return told, b"".join(shown)


def full(line: bytes = b"\x1b[32mcoloured\x1b[m\r\n") -> Hub:
    """A hub with a full ring."""
    hub = Hub()
    for _ in range(18):
        hub.feed(line * (PIECE // len(line)))
    assert hub.ring.start > 0
    return hub


async def test_a_refresh_shows_everything_again_and_nothing_twice() -> None:
    painted: list[int] = []
    hub = Hub(repaint=lambda: painted.append(1))
    hub.feed(b"one\r\n")
    viewer = hub.join()
    hub.refresh(viewer)  # it is being shown everything as it is
    hello = await viewer.take()
    assert isinstance(hello, Hello)
    shown = await viewer.take()
    assert isinstance(shown, bytes)
    assert (len(shown), shown.count(b"one\r\n")) == (hello.replay, 1)
    assert await viewer.take() == Viewers(1)
    hub.feed(b"\x1b[?1049hfull")
    assert await viewer.take() == b"\x1b[?1049hfull"
    hub.refresh(viewer)
    resync = await viewer.take()
    shown = await viewer.take()
    assert isinstance(shown, bytes)
    assert resync == Resync(hub.ring.end, len(shown))
    assert b"\x1b[?1049h" in shown
    assert painted == [1]
    hub.feed(b"more")
    assert await viewer.take() == b"more"


async def greeted(viewer: Viewer) -> tuple[Hello, bytes]:
    """The greeting, and all bytes that are there."""
    hello, shown = await viewer.take(), b""
    assert isinstance(hello, Hello)
    while (item := viewer.take_nowait()) is not None:
        shown += item if isinstance(item, bytes) else b""
    return hello, shown


async def test_what_a_young_program_has_asked_is_asked_of_the_first_who_types() -> None:
    hub = Hub()
    hub.feed(b"\x1b[?1049h\x1b[c>")
    _, shown = await greeted(hub.join(read_only=True, young=True))
    assert b"\x1b[c" not in shown
    hello, shown = await greeted(hub.join(young=True))
    assert (hello.offset, len(shown)) == (0, hello.replay + hub.ring.end)
    assert shown.endswith(b"\x1b[?1049h\x1b[c>")
    _, shown = await greeted(hub.join(young=True))
    assert b"\x1b[c" not in shown


async def test_what_was_asked_long_ago_is_asked_of_nobody() -> None:
    hub = Hub()
    hub.feed(b"\x1b[c>")
    hello, shown = await greeted(hub.join())
    assert hello.offset == hub.ring.end
    assert b"\x1b[c" not in shown


async def test_who_has_asked_for_everything_and_stops_reading_costs_next_to_nothing() -> None:
    hub, viewers = full(), []
    tracemalloc.start()
    try:
        for number in range(50):
            viewer = hub.join(read_only=number % 2 == 1)
            hello = viewer.take_nowait()
            assert isinstance(hello, Hello)
            assert hello.replay > CAPACITY - PIECE
            viewers.append(viewer)
        hub.feed(b"more\r\n")
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 50 * 4096
    for viewer in viewers:
        assert given_now(viewer)[1].endswith(b"more\r\n")
        hub.leave(viewer)


def test_what_is_shown_again_has_as_many_bytes_as_was_said() -> None:
    hub = full()
    viewer = hub.join()
    (hello, news), shown = given_now(viewer)
    assert (hello, news) == (Hello(hub.ring.end, len(shown), *hub.size), Viewers(1))
    assert shown.endswith(hub.ring.read(hub.ring.end - 2 * STEP, 2 * STEP))
    hub.feed(b"new")
    assert given_now(viewer) == ([], b"new")


@given(st.integers(0, 12), st.sampled_from([b"\x1b[6n", b"\x1b]11;?\x1b\\", b"\x1bP+q544e\x1b\\"]))
def test_a_question_is_found_wherever_a_piece_ends(before: int, question: bytes) -> None:
    hub = Hub()
    filled = b"\x1b[m" + b"x" * (STEP - 3 - before)
    hub.feed((filled + question) * 3)
    hello, shown = hub.join(), b""
    told, shown = given_now(hello)
    assert told[0] == Hello(hub.ring.end, len(shown), *hub.size)
    assert shown.endswith((filled + bytes(len(question))) * 3)


COPIED = b"\x1b]52;c;" + b"QUJD\r\n" * 5000 + b"\x07"
"""A string to copy of 30 kB."""


def test_what_was_copied_is_copied_by_no_replay() -> None:
    hub = Hub()
    hub.feed(b"before" + COPIED + b"after")
    told, shown = given_now(hub.join())
    assert told[0] == Hello(hub.ring.end, len(shown), *hub.size)
    assert shown.endswith(b"before" + bytes(len(COPIED)) + b"after")


@given(st.integers(5, len(COPIED) - 1))
def test_nothing_of_a_string_is_shown_where_the_ring_begins_in_it(lost: int) -> None:
    hub = Hub(capacity=len(COPIED))
    hub.feed(b"\n" + COPIED)
    hub.feed(b"x" * (lost - 5))
    hub.feed(b"after")
    told, shown = given_now(hub.join())
    assert told[0] == Hello(hub.ring.end, len(shown), *hub.size)
    assert b"QUJD" not in shown
    assert shown.endswith(b"after")
    assert b"\x07" not in shown


def test_a_string_that_is_being_written_is_new_and_whole() -> None:
    hub = Hub()
    hub.feed(b"before" + COPIED[:20_000])
    told, shown = given_now(hub.join())
    hello = told[0]
    assert isinstance(hello, Hello)
    assert (hello.offset, shown[hello.replay :]) == (6, COPIED[:20_000])
    hub = Hub()
    hub.feed(b"\x1b[?1049hbefore" + COPIED[:20_000])
    viewer = hub.join()
    told, shown = given_now(viewer)
    assert shown.endswith(COPIED[:20_000])
    hub.feed(COPIED[20_000:])
    assert given_now(viewer)[1] == COPIED[20_000:]


def test_the_rest_of_a_string_whose_beginning_is_lost_is_no_text() -> None:
    hub = Hub(capacity=4096)
    hub.feed(COPIED[:20_000])
    viewer = hub.join()
    told, shown = given_now(viewer)
    assert told[0] == Hello(hub.ring.end, len(shown), *hub.size)
    assert shown.endswith(REST)
    assert b"QUJD" not in shown
    hub.feed(COPIED[-1000:])
    assert given_now(viewer)[1] == COPIED[-1000:]


def test_who_is_sent_on_into_a_long_string_sees_what_follows_it() -> None:
    hub = Hub()
    viewer = hub.join()
    given_now(viewer)
    string = b"\x1b]52;c;" + b"QUJD\r\n" * 15_000 + b"\x07"
    for start in range(0, len(string), STEP):
        hub.feed(string[start : start + STEP])
    hub.feed(b"after")
    given_now(viewer)
    hub.refresh(viewer)
    told, shown = given_now(viewer)
    assert told == [Resync(hub.ring.end, len(shown))]
    assert b"QUJD" not in shown
    assert b"after" in shown


def test_a_screen_shows_nothing_of_a_long_string() -> None:
    hub = Hub()
    string = b"\x1b]52;c;" + b"QUJD\r\n" * (EMULATED // 3) + b"\x07"
    for start in range(0, len(string), STEP):
        hub.feed(string[start : start + STEP])
    hub.feed(b"after")
    assert emulated(recent(hub.ring, hub.modes), hub.size, hub.modes).text == "after"


def test_who_is_overtaken_while_it_is_shown_everything_goes_on_with_the_present() -> None:
    hub = full()
    viewer = hub.join()
    assert isinstance(viewer.take_nowait(), Hello)
    assert isinstance(viewer.take_nowait(), bytes)
    hub.feed(b"new\r\n" * (2 * PIECE // 5))
    told, shown = given_now(viewer)
    assert told == [Viewers(1), Resync(hub.ring.end, len(shown))]
    assert TAIL - 8 <= shown.count(b"new\r\n") * 5 <= TAIL


async def test_beneath_a_full_screen_program_is_what_the_main_screen_shows() -> None:
    beneath, entered = Modes(), b"\x1b[?1049h\x1b[?2004h" + CLEAR
    beneath.feed(b"\x1b[?25l\x1b[?2004h")
    hub = full(b"line\r\n")
    hub.feed(b"\x1b[?25ltext\x1b[?2004;1049hfull\x1b[?25hscreen" * 1000)
    viewer = hub.join()
    told, shown = given_now(viewer)
    assert told[0] == Hello(hub.ring.end, len(shown), *hub.size)
    assert shown.endswith(b"line\r\n\x1b[?25ltext" + beneath.leave() + entered)
    hub.feed(b"new")
    assert given_now(viewer) == ([], b"new")
    hub.feed(b"x" * CAPACITY)  # nothing of the main screen is kept
    told, shown = given_now(hub.join())
    assert told[0] == Hello(hub.ring.end, len(shown), *hub.size)
    assert shown.endswith(entered)
    assert len(shown) < 1024


async def test_of_news_the_last_of_each_kind_is_kept() -> None:
    hub = Hub()
    stopped = hub.join()
    for rows in range(10, 40):
        hub.leave(hub.join(size=Size(rows, 80)))
    assert len(stopped._news) == 3
    told, _ = given_now(stopped)
    assert told[1:] == [Resized(39, 80), Viewers(1)]


async def test_what_is_looked_through_leaves_turns_for_others() -> None:
    hub, seen = Hub(), set[int]()
    fed = b"\x1b[?25h\x1b[?25l" * (4 * STEP // 12)

    async def count() -> None:
        while hub.ring.end < len(fed):
            seen.add(hub.ring.end)
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        await hub.take_in(fed)
    assert seen & set(range(1, len(fed)))
    assert hub.ring.end == len(fed)


async def test_what_is_typed_while_a_program_is_to_paint_comes_after_that() -> None:
    hub, typing, happened = Hub(), anyio.Lock(), list[object]()

    async def type_a_key() -> None:
        async with typing:
            happened.append("key")

    def resized(size: Size) -> None:
        happened.append(size)
        if len(happened) == 1:
            tasks.start_soon(type_a_key)

    for answers in (True, False):
        happened.clear()
        began = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(repaint, resized, hub, typing)
            await anyio.sleep(0.04)
            assert happened == [Size(23, 80), Size(24, 80)]
            if answers:
                hub.feed(b"painted")
        assert happened == [Size(23, 80), Size(24, 80), "key"]
        assert anyio.current_time() - began < (0.05 if answers else 0.1)


async def test_who_types_into_a_program_that_takes_nothing_is_not_waited_for() -> None:
    hub, typing, happened = Hub(), anyio.Lock(), list[object]()
    async with typing, anyio.create_task_group() as tasks:
        tasks.start_soon(repaint, happened.append, hub, typing)
    assert happened == [Size(23, 80), Size(24, 80)]
