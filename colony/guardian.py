"""The guardian: a small process that outlives Colony by a moment, to end what it leaves.

Nothing that Colony does by itself helps when Colony is killed (`kill -9`, out of memory): its
services are children of init then, hold their ports, and write into pipes that nobody reads. The
guardian hangs on a pipe whose other end only Colony has; see `guardian_program`. What even that
misses (namespaces, packet rules) the next start reaps.

It is not the instance's own in the sense of a sweep: its environment has none of the marks, it
stands on the host's network, in a session of its own, and ignores what a terminal sends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import anyio

from actors import Actor, ActorDown, Call, Cast, Event, Ignore, Reason, on
from netns import NetworkThread, Process, spawn
from netns.actors import (
    GetNamespace,
    NamespaceGone,
    NamespaceMade,
    NamespaceOwner,
    WayOutOpened,
    namespace_name,
)
from netns.uplink import WayOut
from proxy.errors import ProcessDied

GUARDIAN: Final = "guardian"
"""The guardian's name in its system."""

PROGRAM: Final = Path(__file__).with_name("guardian_program.py")

PARTING: Final = 2.0
"""Seconds that it has to go once it is told to."""


class Guard(Cast["Guardian"], frozen=True):
    """A colony's namespace has been made."""

    colony: str


class Release(Cast["Guardian"], frozen=True):
    """A colony's namespace is gone."""

    colony: str


class GuardProcess(Cast["Guardian"], frozen=True):
    """A process that does not show whose it is, for it has more rights than the guardian."""

    pid: int


class GuardianPid(Call["Guardian", int], frozen=True):
    """Its process."""


class Guardian(Actor):
    """Owns the guardian process of an instance.

    instance
        Whose processes are ended.
    thread
        The network thread, from which processes are started.
    inodes
        The namespaces of the colonies, filled in here; given so that they outlive the actor.
    way_out
        Rootless, the colonies' way out.
    """

    def __init__(
        self,
        instance: str,
        thread: NetworkThread,
        inodes: dict[str, int],
        way_out: WayOut | None = None,
    ) -> None:
        self.way_out = way_out
        self.instance = instance
        self.thread = thread
        self.inodes = inodes
        self._pid = 0
        self._pipe = -1
        self._leave: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<Guardian of {self.instance} pid={self._pid}>"

    async def start(self) -> Ignore | None:
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            process = await spawn(
                self.thread,
                [sys.executable, "-I", "-S", str(PROGRAM), self.instance],
                # Not empty: every sweep would look at that twice, to see whether it stays so.
                env={"COLONY_GUARDIAN": self.instance},
                cwd="/",
                stdin=read,
                session=True,
            )
        except BaseException:
            os.close(write)
            raise
        finally:
            os.close(read)
        self._pid, self._pipe = process.pid, write
        self.ctx.run(self._hold, process)
        for inode in self.inodes.values():
            self._tell(f"+{inode}")
        if self.way_out is not None and self.way_out.pid:
            self._tell(f"!{self.way_out.pid}")
        kinds = (NamespaceMade, NamespaceGone, WayOutOpened)
        self._leave = self.ctx.system.events.listen(self._note, *kinds)
        return None

    async def stopping(self, reason: Reason) -> None:
        self._leave()

    async def _hold(self, process: Process) -> None:
        """Waits for a process that is not to end; tells it to when we do."""
        try:
            status = await process.wait()
            code = -status.signal if status.signal is not None else status.code
            raise ProcessDied("the guardian process", status=code or 0, tail="")
        finally:
            self._tell("bye")
            os.close(self._pipe)
            with anyio.CancelScope(shield=True), anyio.move_on_after(PARTING):
                await process.wait()
            await process.aclose()

    def _note(self, event: Event) -> None:
        if isinstance(event, NamespaceMade):
            self.ctx.ref.tell(Guard(event.colony))
        elif isinstance(event, NamespaceGone):
            self.ctx.ref.tell(Release(event.colony))
        elif isinstance(event, WayOutOpened):
            self.ctx.ref.tell(GuardProcess(event.pid))

    @on(Guard)
    async def _guard(self, msg: Guard) -> None:
        with suppress(ActorDown):
            owner = self.ctx.system.named(namespace_name(msg.colony), NamespaceOwner)
            space = await owner.call(GetNamespace())
            self.inodes[msg.colony] = space.inode
            self._tell(f"+{space.inode}")

    @on(Release)
    def _release(self, msg: Release) -> None:
        inode = self.inodes.pop(msg.colony, None)
        if inode is not None:
            self._tell(f"-{inode}")

    @on(GuardProcess)
    def _guard_process(self, msg: GuardProcess) -> None:
        self._tell(f"!{msg.pid}")

    @on(GuardianPid)
    def _get_pid(self, _msg: GuardianPid) -> int:
        return self._pid

    def _tell(self, line: str) -> None:
        with suppress(BrokenPipeError):  # it has just been killed; `_hold` sees that
            os.write(self._pipe, f"{line}\n".encode())
