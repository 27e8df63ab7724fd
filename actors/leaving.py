"""Stopping several children side by side, each once those that lean on it have ended.

    order = {"db": ["api", "jobs"], "api": ["web"]}     # `db` waits for these two, `api` for `web`

    web told ──▶ gone ──▶ api told ──▶ gone ──┐
    jobs told ─────▶ gone ────────────────────┴──▶ db told ──▶ gone

OTP stops the children of a supervisor one after the other, and so does `Supervisor`, unless its
class knows better who has to go before whom (`Supervisor.stop_order`). What is decided stays OTP's:
`supervision.step` asks for one stop after the other as ever, and hears what has become of each in
that order. Only the waiting is done here, for all of them at once.

Each has the time of its own spec from the moment at which it is told. Who ends by himself before he
is told has ended, too; whoever waits for him goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING

import anyio.lowlevel

from actors.reasons import Shutdown
from actors.spec import BRUTAL_KILL, INFINITY, ShutdownTime

if TYPE_CHECKING:
    from actors.cell import Cell
    from actors.system import System
    from actors.timers import Timer

StopOrder = Mapping[str, Collection[str]]
"""Who has to have ended before each is told to."""


class Countdown:
    """Whose turn it is to be told to end. Pure.

    ids
        Everybody, in the order in which they are told if it is the turn of several.
    order
        Who has to have ended before each. Whoever is not among `ids` does not count, nor does
        oneself. Who is not in it waits for nobody.

    If everybody waits for somebody else, the first is told: a circle ends nowhere else.
    """

    def __init__(self, ids: Iterable[str], order: StopOrder) -> None:
        everybody = dict.fromkeys(ids)
        self._waiting = {id: everybody.keys() & set(order.get(id, ())) - {id} for id in everybody}
        self._ending: set[str] = set()

    def __repr__(self) -> str:
        return f"<Countdown: {len(self._ending)} end, {len(self._waiting)} wait>"

    def due(self) -> list[str]:
        """Who is to be told now. Everybody is named once."""
        due = [id for id, others in self._waiting.items() if not others]
        if not due and not self._ending:
            due = list(self._waiting)[:1]
        for id in due:
            del self._waiting[id]
        self._ending.update(due)
        return due

    def ended(self, id: str) -> None:
        """It has ended, whether or not it was told."""
        self._ending.discard(id)
        self._waiting.pop(id, None)
        for others in self._waiting.values():
            others.discard(id)


async def leave(
    system: System,
    cells: Mapping[str, Cell],
    times: Mapping[str, ShutdownTime],
    order: StopOrder,
) -> None:
    """Stops these as a supervisor does (R94), in this order, and waits until all are gone.

    Cancelling leaves the requests standing, without the kill at the deadline.
    """
    countdown, left = Countdown(cells, order), dict(cells)
    deadlines: list[Timer] = []
    try:
        while left:
            for id in [id for id, cell in left.items() if cell.down is not None]:
                del left[id]
                countdown.ended(id)
            for id in countdown.due():
                deadlines += _tell(system, cells[id], times[id])
                await took_note()
            await _somebody_gone(system, left.values())
    finally:
        for deadline in deadlines:
            deadline.cancel()


def _tell(system: System, cell: Cell, time: ShutdownTime) -> list[Timer]:
    """Asks it to end; the timer of its deadline, if it has one."""
    if time == BRUTAL_KILL:
        cell.put_down()
        return []
    cell.tell_to_stop(Shutdown())
    return [] if time == INFINITY else [system.timers.after(float(time), cell.kill)]


async def took_note() -> None:
    """Lets whoever was told something come first, unless he is busy: so those who are told at one
    moment begin in their order.

    Twice, since trio runs those who can run at the same time in an order of its own.
    """
    await anyio.lowlevel.checkpoint()
    await anyio.lowlevel.checkpoint()


async def _somebody_gone(system: System, cells: Collection[Cell]) -> None:
    """Waits until one of these is down; not at all if one is, or if there are none."""
    if all(cell.down is None for cell in cells) and cells:
        first = system.backend.future()
        for cell in cells:
            cell.tie().waiting.append(first)
        await first
