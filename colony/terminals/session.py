"""The session's actor: owns one program and its terminal, from start to the end of either.

    start ── opens a terminal, spawns ──▶ viewers join and leave ──▶ the program ends: `SessionOver`
                                             └── told to stop: SIGHUP, SIGTERM, SIGKILL ──▶ gone

Scrollback outlives every viewer, since it is here; the session outlives no colony, since it is
under its supervisor. A program that ends by itself ends the session, as soon as somebody has seen
it, and is not started again.
"""

from __future__ import annotations

import signal
from typing import Final

import anyio
import msgspec

from actors import Actor, Call, Cast, OwnedTask, Reason, Stop, on
from colony.services.ending import ask_to_end, lingering
from colony.terminals.hub import Exit, Hub, Viewer
from colony.terminals.plan import TERMINAL_VARIABLE, SessionOver, SessionPlan
from colony.terminals.pty import Pty, closed, opened
from colony.terminals.sizes import Size
from netns import ExitStatus, Namespace, NetworkThread, Process, spawn, sweep
from netns.actors import GetNamespace, NamespaceOwner, namespace_name
from netns.names import COLONY_VARIABLE, INSTANCE_VARIABLE
from netns.sweep import Belongs, in_namespace, with_variable

HANGUP: Final = 1.0
GRACE: Final = 2.0
"""Seconds after SIGHUP until SIGTERM, and after that until SIGKILL."""

AWAITED: Final = 10.0
"""Seconds for which an ended session waits for its first viewer: whoever has started it is on the
way, however short its program was, and is to see what it wrote and how it ended."""

YOUNG: Final = 5.0
"""Seconds after its start in which what a program has asked its terminal is still to be answered:
shells ask before anybody can have joined, and wait. Later, an answer would be typed into whatever
runs by then."""

_PAUSE: Final = 0.02


class SessionInfo(msgspec.Struct, frozen=True):
    """How a session is."""

    colony: str
    name: str
    command: tuple[str, ...]
    pid: int
    rows: int
    columns: int
    viewers: int
    title: str
    bytes: int
    """That it has written so far."""
    service: str = ""
    """The service whose terminal it is; "" for a session."""


class Join(Call["Session", "tuple[Viewer, Session]"], frozen=True):
    """A new viewer, and the session itself, which it types into: not by messages, for one key
    is not to wait in a mailbox behind another's paste. Whoever asks has the viewer leave."""

    read_only: bool = False
    size: Size | None = None
    since: int | None = None
    clear: bool = True


class Describe(Call["Session", SessionInfo], frozen=True):
    """How it is now."""


class Type(Call["Session", None], frozen=True):
    """Types into it, as nobody's viewer."""

    data: bytes


class Look(Call["Session", Hub], frozen=True):
    """Its output, to be read here and now."""


class ProgramEnded(Cast["Session"], frozen=True):
    """The program has ended, and its output is read."""


class NobodyCame(Cast["Session"], frozen=True):
    """The program has ended a while ago, and nobody has seen it."""


class Left(Cast["Session"], frozen=True):
    """The last viewer of a session that does not linger has left."""


class Session(Actor):
    """Owns one session. `start` fails with `SpawnError` if the command cannot be executed."""

    def __init__(self, plan: SessionPlan, thread: NetworkThread) -> None:
        self.plan = plan
        self.thread = thread
        self.process: Process | None = None
        self.status: ExitStatus | None = None
        self.ended = anyio.Event()
        self.seen = False
        """Whether it has had a viewer."""
        self.painting: OwnedTask | None = None

    def __repr__(self) -> str:
        return f"<Session {self.plan.colony}/{self.plan.name} {self.process!r}>"

    async def start(self) -> None:
        plan = self.plan
        place: Namespace | None = None
        if plan.isolated:
            owner = self.ctx.system.named(namespace_name(plan.colony), NamespaceOwner)
            place = await owner.call(GetNamespace())
        self.strays = strays_of(plan, place)
        self.hub = Hub(plan.size, resized=self._resize, repaint=self._repaint)
        ends = await self.thread.on_host.run(opened, undo=closed)
        self.pty = Pty(plan.size, ends)
        try:
            self.process = await spawn(
                self.thread,
                plan.argv,
                namespace=place,
                instance=plan.instance,
                cwd=plan.cwd,
                env=plan.env,
                session=True,
                controlling_tty=self.pty.path,
            )
        except BaseException:
            await self.pty.aclose()
            raise
        self.pty.started()
        self.began = anyio.current_time()
        self.ctx.run(self._hold, self.process)

    async def _hold(self, process: Process) -> None:
        """Reads, waits for the program, and sees to it that nothing is left, whoever ends first."""
        try:
            async with anyio.create_task_group() as reading:
                reading.start_soon(self._read)
                status = self.status = await process.wait()
                self.pty.ended()
            self.hub.end(Exit(status.code, status.signal, str(status)))
            self.ended.set()
            self.ctx.ref.tell(ProgramEnded())
            await anyio.sleep_forever()
        finally:
            process.signal_group(signal.SIGKILL)
            await process.aclose()
            if not self.ended.is_set():
                self.status = process.poll()
                self.hub.end(Exit(None, signal.SIGKILL, "ended"))
            await self.pty.aclose()

    async def _read(self) -> None:
        await self.pty.read_into(self.hub)

    # -- the size ------------------------------------------------------------------------------

    def _resize(self, size: Size) -> None:
        self.pty.resize(size)

    def _repaint(self) -> None:
        if self.painting is not None:
            self.painting.cancel()
        self.painting = self.ctx.run(self.pty.repaint, self.hub)

    # -- as viewers use it ---------------------------------------------------------------------

    async def write(self, data: bytes) -> None:
        """Types. Waits while the program takes nothing."""
        await self.pty.write(data)

    def left(self) -> None:
        """A viewer has left."""
        if not self.hub.viewers and not self.plan.lingers:
            self.ctx.ref.tell(Left())

    # -- the ends ------------------------------------------------------------------------------

    @on(ProgramEnded)
    def _program_ended(self, _msg: ProgramEnded) -> None:
        if not self.seen:
            self.ctx.run(self._await_viewer)
            return
        assert self.status is not None
        raise Stop(SessionOver(self.status))

    async def _await_viewer(self) -> None:
        await anyio.sleep(AWAITED)
        self.ctx.ref.tell(NobodyCame())

    @on(NobodyCame)
    def _nobody_came(self, _msg: NobodyCame) -> None:
        assert self.status is not None
        raise Stop(SessionOver(self.status))

    @on(Left)
    def _left(self, _msg: Left) -> None:
        if not self.plan.lingers and not self.hub.viewers:
            raise Stop()

    async def stopping(self, reason: Reason) -> None:
        """Hangs up, as when a window is closed; then as for services."""
        process = self.process
        if process is None or self.ended.is_set():
            return
        for number, patience in ((signal.SIGHUP, HANGUP), (signal.SIGTERM, GRACE)):
            with anyio.move_on_after(patience):
                await ask_to_end(process, self.strays, number)
                await self._all_ended()
                return
        process.signal_group(signal.SIGKILL)
        await sweep.kill_all(self.strays)

    async def _all_ended(self) -> None:
        await self.ended.wait()
        while await lingering(self.strays):  # noqa: ASYNC110 - nobody tells us
            await anyio.sleep(_PAUSE)

    # -- what is asked -------------------------------------------------------------------------

    @on(Join)
    def _join(self, msg: Join) -> tuple[Viewer, Session]:
        young = anyio.current_time() - self.began < YOUNG and not self.ended.is_set()
        viewer = self.hub.join(
            read_only=msg.read_only, size=msg.size, since=msg.since, clear=msg.clear, young=young
        )
        self.seen = True
        if self.ended.is_set():
            self.ctx.ref.tell(ProgramEnded())
        return viewer, self

    @on(Look)
    def _look(self, _msg: Look) -> Hub:
        return self.hub

    @on(Type)
    def _type(self, msg: Type) -> None:
        self.ctx.run(self.pty.write, msg.data)

    @on(Describe)
    def _describe(self, _msg: Describe) -> SessionInfo:
        plan, hub = self.plan, self.hub
        return SessionInfo(
            plan.colony,
            plan.name,
            plan.argv,
            self.process.pid if self.process is not None and not self.ended.is_set() else 0,
            hub.size.rows,
            hub.size.columns,
            len(hub.viewers),
            hub.modes.title,
            hub.ring.end,
        )


def strays_of(plan: SessionPlan, place: Namespace | None) -> Belongs:
    """The rule for processes of a session, whoever their parent is now."""
    mine = with_variable(TERMINAL_VARIABLE, plan.name)
    if place is not None:
        inside = in_namespace(place.inode)
        return lambda pid: inside(pid) and mine(pid)
    rules = (
        mine,
        with_variable(COLONY_VARIABLE, plan.colony),
        with_variable(INSTANCE_VARIABLE, plan.instance),
    )
    return lambda pid: all(rule(pid) for rule in rules)
