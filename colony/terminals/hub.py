"""One output, any number of viewers, each at its own pace.

    program ──▶ feed ──▶ ring ◀── offset ── viewer ──▶ its connection
                          ◀── offset ── viewer ──▶ its connection

Law: a viewer is an offset into the ring and nothing more, so that no viewer costs memory by being
slow. Three cases:

    keeps up        gets every byte, in order. While one who types is more than `HIGH` bytes behind,
                    the program is not read, so that `cat` of a large file arrives whole
    is slower       the program waits for it `PATIENCE` seconds; if it has not come closer than
                    `LOW` by then it is left behind, and nobody waits for it until it has caught up
    is overtaken    the ring has lost what comes next for it: it is told so and goes on with the
                    last `TAIL` bytes, in the modes that hold now

Whoever only reads is never waited for. What a viewer is shown again when it joins is read from the
ring as well, as it takes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel
import msgspec

from colony.terminals.answers import Questions, Silence
from colony.terminals.modes import Modes, follows
from colony.terminals.replay import Replay, beginning, replay
from colony.terminals.ring import CAPACITY, Ring
from colony.terminals.sizes import DEFAULT, Size, agreed

HIGH: Final = 256 * 1024
LOW: Final = 128 * 1024
PATIENCE: Final = 0.25
TAIL: Final = 64 * 1024
PIECE: Final = 64 * 1024
"""Bytes that a viewer is given at once."""
STEP: Final = 8 * 1024
"""Bytes that are looked through at once, for modes or questions: to look takes its time."""


class News(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", tag=str.lower):
    """The base of what a viewer is told beside the bytes."""


class Hello(News, frozen=True):
    """The first word. `replay` bytes follow that show what was; those after them count from
    `offset` on. `truncated`: `since` was asked for, and is not kept any more."""

    offset: int
    replay: int
    rows: int
    columns: int
    read_only: bool = False
    truncated: bool = False
    title: str = ""


class Resync(News, frozen=True):
    """The viewer was overtaken, or has asked; `offset` and `replay` as in `Hello`."""

    offset: int
    replay: int


class Resized(News, frozen=True, tag="size"):
    """The terminal has another size now."""

    rows: int
    columns: int


class Viewers(News, frozen=True):
    """How many look at it now."""

    count: int


class Exit(News, frozen=True):
    """The program has ended: with a code or by a signal. Nothing follows."""

    code: int | None = None
    signal: int | None = None
    reason: str = ""


class Hub:
    """The output of one terminal, and those who look at it.

    alone
        The size that it has while nobody looks. Default: as the last one left it.
    resized
        Called with the size that the viewers agree on, whenever it changes.
    repaint
        Called when a viewer needs what a full-screen program shows.
    """

    def __init__(
        self,
        size: Size = DEFAULT,
        *,
        capacity: int = CAPACITY,
        alone: Size | None = None,
        resized: Callable[[Size], None] = lambda _: None,
        repaint: Callable[[], None] = lambda: None,
    ) -> None:
        self.size = size
        self.ring = Ring(capacity)
        self.modes = Modes()
        self.viewers: list[Viewer] = []
        self.exit: Exit | None = None
        self._typed_into = False
        """Whether it has had a viewer who types."""
        self._questions: Questions | None = None
        """What the program asks, while several would answer."""
        self._before = Modes()
        """The modes at the ring's start."""
        self._alone = alone
        self._resized = resized
        self._repaint = repaint
        self._progress = anyio.Event()

    def __repr__(self) -> str:
        return f"<Hub {self.size} {self.ring!r} {len(self.viewers)} viewers>"

    # -- the program's side --------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Takes what the program wrote."""
        self._before.feed(self.ring.append(data))
        self.modes.feed(data)
        if self._questions is not None:
            self._questions.note(data, anyio.current_time())
        for viewer in self.viewers:
            viewer.wake()

    async def take_in(self, data: bytes) -> None:
        """The same, with a turn for others while there is much in it to look through. Cancelled,
        it has taken all."""
        step = STEP if follows(data) else max(len(data), 1)
        with anyio.CancelScope(shield=True):
            for start in range(0, len(data), step):
                if start:
                    await anyio.lowlevel.checkpoint()
                self.feed(data[start : start + step])

    async def room(self) -> None:
        """Waits until the program may write more: see the table above."""
        if not any(viewer.holds(HIGH) for viewer in self.viewers):
            return
        with anyio.move_on_after(PATIENCE):
            while any(viewer.holds(LOW) for viewer in self.viewers):
                self._progress = anyio.Event()
                await self._progress.wait()
        for viewer in self.viewers:
            viewer.left_behind = viewer.left_behind or viewer.holds(LOW)

    @property
    def followed(self) -> bool:
        """Whether anybody keeps up with what comes out."""
        return any(viewer.keeps_up for viewer in self.viewers)

    def end(self, exit: Exit) -> None:
        """The program has ended; its viewers hear of it after the last byte."""
        self.exit = exit
        self._progress.set()
        for viewer in self.viewers:
            viewer.wake()

    # -- the viewers' side ---------------------------------------------------------------------

    def join(
        self,
        *,
        read_only: bool = False,
        size: Size | None = None,
        since: int | None = None,
        clear: bool = True,
        young: bool = False,
    ) -> Viewer:
        """A new viewer, who `leave`s at the end.

        since
            The offset up to which it knows the output; default: nothing is known, and all that is
            kept is shown.
        clear
            Whether its screen is cleared before that; if not, it is on its main one.
        young
            Whether the program has just begun, and waits for what a terminal answers to it: the
            first who types is given its output as it was written.
        """
        first = young and since is None and not (read_only or self._typed_into or self.ring.start)
        since = 0 if first else since
        self._typed_into = self._typed_into or not read_only
        viewer = Viewer(self, read_only, size, clear)
        self.viewers.append(viewer)
        self._agree()
        viewer.forget_news()  # the first word says it all
        self._greet(viewer, since, beginning(clear) if first else b"")
        return viewer

    def _greet(self, viewer: Viewer, since: int | None, begun: bytes) -> None:
        """It is shown what there is; who knows it up to `since`, `begun` alone. All hear."""
        known = since is not None and self.ring.start <= since <= self.ring.end
        if known and since is not None:
            shown = Replay(begun, since, since, b"", since)
        else:
            shown = self._replay(viewer.clear)
        end = shown.then
        hello = Hello(
            end,
            shown.size,
            self.size.rows,
            self.size.columns,
            viewer.read_only,
            truncated=since is not None and not known,
            title=self.modes.title,
        )
        viewer.greet(hello, shown, end)
        self._tell(Viewers(len(self.viewers)))
        if self.modes.alternate and not known:
            self._repaint()

    def leave(self, viewer: Viewer) -> None:
        """It looks no more. Leaving twice is no error."""
        if viewer in self.viewers:
            self.viewers.remove(viewer)
            self._progress.set()
            viewer.wake()
            self._agree()
            self._tell(Viewers(len(self.viewers)))

    def typed(self, data: bytes) -> bytes:
        """What goes to the program of that which a viewer types: all but what another one's
        terminal has answered already."""
        if self._questions is None:
            return data
        return self._questions.answered(data, anyio.current_time())

    def resize(self, viewer: Viewer, size: Size | None) -> None:
        """A viewer's window has another size."""
        viewer.size = size
        self._agree()

    def progressed(self) -> None:
        """A viewer has taken something."""
        self._progress.set()

    def resync(self, viewer: Viewer, clear: bool = True) -> None:
        """Sends an overtaken viewer on to the present."""
        shown = self._replay(clear, TAIL)
        viewer.greet(Resync(shown.then, shown.size), shown, shown.then)
        if self.modes.alternate:
            self._repaint()

    def refresh(self, viewer: Viewer) -> None:
        """Shows a viewer again what it shows: its terminal has lost it. Of no effect while that is
        on its way."""
        if not viewer.is_being_greeted:
            self.resync(viewer, viewer.clear)
            viewer.wake()

    def _replay(self, clear: bool, most: int | None = None) -> Replay:
        return replay(self.ring, self._before, self.modes, most, clear=clear)

    def _agree(self) -> None:
        if sum(not viewer.read_only for viewer in self.viewers) < 2:
            self._questions = None
        elif self._questions is None:
            self._questions = Questions(anyio.current_time())
        size = agreed(
            [viewer.size for viewer in self.viewers if not viewer.read_only],
            [viewer.size for viewer in self.viewers if viewer.read_only],
        )
        if not self.viewers:
            size = self._alone
        if size is not None and size != self.size:
            self.size = size
            self._resized(size)
            self._tell(Resized(size.rows, size.columns))

    def _tell(self, news: News) -> None:
        for viewer in self.viewers:
            viewer.tell(news)


class Viewer:
    """One who looks, from `Hub.join` to `leave`. `take` is for one task."""

    def __init__(self, hub: Hub, read_only: bool, size: Size | None, clear: bool = True) -> None:
        self.hub = hub
        self.clear = clear
        self.read_only = read_only
        self.size = size
        self.left_behind = False
        self.offset = hub.ring.end
        """Up to where it was given the output."""
        self._taken = self.offset
        self._news: deque[News] = deque()
        self._begun = b""
        """What comes before the bytes from `offset` on."""
        self._old: tuple[Replay, int] | None = None
        """What is shown again from there on, and where it goes on then."""
        self._silence = Silence()
        self._at_once = False
        """Whether it was given something without having to wait."""
        self._wake: anyio.Event | None = None
        self._over = False

    def __repr__(self) -> str:
        kind = "reads" if self.read_only else "types"
        return f"<Viewer {kind}, {self.hub.ring.end - self._taken} bytes behind>"

    def greet(self, news: News, shown: Replay, end: int) -> None:
        """It is given this next, then what is shown again, then what begins at `end`."""
        self._news.appendleft(news)
        self.offset = self._taken = shown.start
        self._begun, self._old, self._silence = shown.begun, (shown, end), Silence()

    def forget_news(self) -> None:
        self._news.clear()

    @property
    def is_being_greeted(self) -> bool:
        """Whether what shows it everything is still to be given to it."""
        return any(isinstance(news, Hello | Resync) for news in self._news)

    def tell(self, news: News) -> None:
        """Gives it news, which come in turn; only the last of a kind matters."""
        for told in self._news:
            if type(told) is type(news):
                self._news.remove(told)
                break
        self._news.append(news)
        self.wake()

    def holds(self, distance: int) -> bool:
        """Whether the program is to wait for it."""
        waited_for = not self.read_only and not self.left_behind
        return waited_for and self.hub.ring.end - self._taken > distance

    @property
    def keeps_up(self) -> bool:
        """Whether it is near the end, and not merely waiting to be overtaken."""
        return not self.left_behind and self.hub.ring.end - self._taken <= HIGH

    def wake(self) -> None:
        if self._wake is not None:
            self._wake.set()

    async def take(self) -> bytes | News | None:
        """What comes next: bytes, or news; None after the program's end, or after leaving.

        By asking for more the viewer says that it is done with what it was given before.
        """
        self._note_progress()
        if self._at_once:  # one who is far behind is not to keep the loop until it has caught up
            await anyio.lowlevel.checkpoint()
        self._at_once = True
        while True:
            found = self._next()
            if found is not None or self._over or self not in self.hub.viewers:
                return found
            self._at_once = False
            self._wake = anyio.Event()
            try:
                await self._wake.wait()
            finally:
                self._wake = None

    def take_nowait(self) -> bytes | News | None:
        """The same, without waiting; None if there is nothing yet."""
        self._note_progress()
        return self._next()

    def _note_progress(self) -> None:
        if self._taken != self.offset:
            self._taken = self.offset
            self.hub.progressed()
        if self.left_behind and self._taken == self.hub.ring.end:
            self.left_behind = False

    def _next(self) -> bytes | News | None:
        ring = self.hub.ring
        if self._news and isinstance(self._news[0], Hello | Resync):
            return self._news.popleft()
        overtaken = self.offset < ring.start
        if not overtaken and self._old is not None and (piece := self._again(*self._old)):
            return piece
        if self._news:
            return self._news.popleft()
        if overtaken:
            self.hub.resync(self)
            return self._news.popleft()
        if self.offset < ring.end:
            piece = ring.read(self.offset, PIECE)
            self.offset += len(piece)
            return piece
        if self.hub.exit is not None and not self._over:
            self._over = True
            return self.hub.exit
        return None

    def _again(self, shown: Replay, end: int) -> bytes:
        """A piece of what is shown again; b"" if that was nothing."""
        begun, self._begun = self._begun, b""
        left = shown.end - self.offset
        piece = self.hub.ring.read(self.offset, min(PIECE, left))
        piece = self._silence.take(piece, len(piece) == left) if piece else b""
        self.offset += len(piece)
        piece = begun + piece
        if self.offset == shown.end:
            self._old, self.offset = None, end
            piece += shown.after
        return piece
