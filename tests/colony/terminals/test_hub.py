"""What a viewer is given, and in which order."""

from __future__ import annotations

from colony.terminals.hub import Hello, Hub, Resync, Viewers


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
