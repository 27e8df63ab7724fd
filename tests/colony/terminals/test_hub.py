"""What a viewer is given, and in which order."""

from __future__ import annotations

from colony.terminals.hub import Hello, Hub, Resync, Viewer, Viewers


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


async def given(viewer: Viewer) -> tuple[Hello, bytes]:
    """The greeting, and all bytes that are there."""
    hello, shown = await viewer.take(), b""
    assert isinstance(hello, Hello)
    while (item := viewer.take_nowait()) is not None:
        shown += item if isinstance(item, bytes) else b""
    return hello, shown


async def test_what_a_young_program_has_asked_is_asked_of_the_first_who_types() -> None:
    hub = Hub()
    hub.feed(b"\x1b[?1049h\x1b[c>")
    _, shown = await given(hub.join(read_only=True, young=True))
    assert b"\x1b[c" not in shown
    hello, shown = await given(hub.join(young=True))
    assert (hello.offset, len(shown)) == (0, hello.replay + hub.ring.end)
    assert shown.endswith(b"\x1b[?1049h\x1b[c>")
    _, shown = await given(hub.join(young=True))
    assert b"\x1b[c" not in shown


async def test_what_was_asked_long_ago_is_asked_of_nobody() -> None:
    hub = Hub()
    hub.feed(b"\x1b[c>")
    hello, shown = await given(hub.join())
    assert hello.offset == hub.ring.end
    assert b"\x1b[c" not in shown
