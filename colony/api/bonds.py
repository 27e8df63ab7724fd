"""Colonies that end with the process that asked for them: those of a `colony run` that joined.

    run joins ──▶ its request, `bound` ──▶ `Caller`: a pidfd of who is at the socket's other end
                                              │
    the colony, with its successors ◀── a bond ──▶ the process is gone: the colony is stopped

Law: a bond is over with its colony, whoever stops it, or with its process; then its descriptor is
closed. A colony that an operator restarts is its predecessor's successor, and as bound. Bonds
outlive the API's actor, which waits for them: its next life goes on with those that it finds.

A process is known by a pidfd, as its number may be another's by the time it is looked at. That the
number was still its own when the pidfd was opened is known by its connection, open after that.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING, Any

import anyio
import anyio.abc

from colony.events import Notice

if TYPE_CHECKING:
    from colony.host import Host
    from colony.running import RunningColony


class Caller:
    """The process that makes a request, by a pidfd that is whoever's that takes it."""

    def __init__(self, pid: int, pidfd: int) -> None:
        self.pid = pid
        self._pidfd = [pidfd]

    def __repr__(self) -> str:
        return f"<Caller {self.pid}>"

    def take(self) -> int:
        """The descriptor; from now on it is the taker's to close. Once, in any thread."""
        return self._pidfd.pop()

    def close(self, _: object = None) -> None:
        """Closes it, unless it has been taken. Also as what is called at a task's end."""
        while self._pidfd:
            os.close(self._pidfd.pop())


def caller_at(sock: Any, pid: int) -> Caller | None:
    """The process at the other end of a unix socket; None if it has hung up.

    `pid` is what the socket says of its peer. Raises `OSError`.
    """
    try:
        caller = Caller(pid, os.pidfd_open(pid))
    except ProcessLookupError:
        return None
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    if poll.poll(0):
        caller.close()
        return None
    return caller


class Bond:
    """A colony, and the process that it ends with."""

    def __init__(self, colony: RunningColony, pid: int, pidfd: int) -> None:
        self.colony = colony
        self.pid = pid
        self.pidfd = pidfd

    def __repr__(self) -> str:
        return f"<Bond {self.colony.name} with pid {self.pid}>"


class Bonds:
    """All bonds of an instance. It owns their descriptors; `keep` is what acts on them."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._bonds: list[Bond] = []
        self._tasks: anyio.abc.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Bonds {self._bonds}>"

    def __len__(self) -> int:
        return len(self._bonds)

    def bind(self, colony: RunningColony, caller: Caller) -> None:
        """From now on the colony, which may still be starting, ends with that process."""
        bond = Bond(colony, caller.pid, caller.take())
        self._bonds.append(bond)
        if self._tasks is not None:
            self._tasks.start_soon(self._keep, bond)

    async def keep(self) -> None:
        """Sees to every bond, until cancelled. Those that there are then stay for the next call."""
        try:
            async with anyio.create_task_group() as self._tasks:
                for bond in self._bonds:
                    self._tasks.start_soon(self._keep, bond)
                await anyio.sleep_forever()
        finally:
            self._tasks = None

    def close(self) -> None:
        """Forgets them all. Nobody may be keeping them."""
        for bond in tuple(self._bonds):
            self._drop(bond)

    def _drop(self, bond: Bond) -> None:
        self._bonds.remove(bond)
        os.close(bond.pidfd)

    async def _keep(self, bond: Bond) -> None:
        """One bond, to its end."""
        gone = False

        async def until_over() -> None:
            await self._over(bond)
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(until_over)
            await anyio.wait_readable(bond.pidfd)
            gone = True
            tasks.cancel_scope.cancel()
        if gone:
            await self._end(bond)
        self._drop(bond)

    async def _over(self, bond: Bond) -> None:
        """Waits for the end of the colony, over the lives that an operator gives it."""
        while True:
            await bond.colony.prepared.wait()
            if not bond.colony.started:
                return
            await bond.colony.stopped()
            successor = await bond.colony.successor()
            if successor is None:
                return
            bond.colony = successor

    async def _end(self, bond: Bond) -> None:
        """The process is gone: so is its colony, then."""
        colonies, name = self._host.colonies, bond.colony.name
        colony: RunningColony | None = bond.colony
        if not (bond.colony.ended or bond.colony.stopping):
            text = f"the run of {name}, pid {bond.pid}, is gone: its colony is stopped"
            notice = Notice(at=self._host.system.now(), colony="", text=text)
            self._host.system.publish(notice)
        while colony is not None:
            ours = colonies.get(name) is colony and not colony.ended
            if ours:
                await colony.stop()
            successor = await colony.successor()
            if ours and successor is None and colonies.get(name) is colony:
                del colonies[name]
            colony = successor
