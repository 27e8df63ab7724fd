"""What the tests of running supervisors share: children that do as they are told, and a log."""

from __future__ import annotations

from typing import Any

import anyio

from actors import (
    IGNORE,
    Abnormal,
    Actor,
    Cast,
    ChildSpec,
    Event,
    Ignore,
    Reason,
    Ref,
    Stop,
    Supervisor,
    System,
    WhichChildren,
    events,
    on,
)
from actors.testing import settle

BOOM = Abnormal("boom")
NO = Abnormal("no")


class Script:
    """How the lives of one child turn out, shared by all of them.

    `starts` is used up one start after the other: "ok", "ignore", or a reason to fail with; "ok"
    when it is empty. `stop_after` is how many seconds its stop takes (None: until it is killed),
    `stop_reason` what it then ends with instead of the reason that it was given.
    """

    def __init__(
        self,
        *starts: Any,
        stop_after: float | None = 0.0,
        stop_reason: Reason | None = None,
    ) -> None:
        self.starts = list(starts)
        self.stop_after = stop_after
        self.stop_reason = stop_reason


class Die(Cast["Child"], frozen=True):
    """End by yourself."""

    reason: Reason = BOOM


class Unlink(Cast["Child"], frozen=True):
    """Undo the link to this actor."""

    other: Ref[Any]


class Child(Actor):
    """A child that follows a script."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()

    async def start(self) -> Ignore | None:
        turn: Any = self.script.starts.pop(0) if self.script.starts else "ok"
        if turn == "ignore":
            return IGNORE
        if turn != "ok":
            raise Stop(turn)
        return None

    @on(Die)
    def die(self, msg: Die) -> None:
        self.script = Script()
        raise Stop(msg.reason)

    @on(Unlink)
    def unlink(self, msg: Unlink) -> None:
        self.ctx.unlink(msg.other)

    async def stopping(self, reason: Reason) -> None:
        script = self.script
        if script.stop_after != 0.0:
            await anyio.sleep(float("inf") if script.stop_after is None else script.stop_after)
        if script.stop_reason is not None:
            raise Stop(script.stop_reason)


def child(id: str, script: Script | None = None, **options: Any) -> ChildSpec[Child]:
    """A child spec."""
    return Child.spec(script).options(id=id, **options)


class Log:
    """Everything that happens in a system, in short words, since it was last read."""

    def __init__(self, system: System) -> None:
        self._lines: list[str] = []
        system.events.listen(self._note)

    def read(self) -> list[str]:
        """What happened since the last time."""
        lines, self._lines = self._lines, []
        return lines

    def _note(self, event: Event) -> None:
        match event:
            case events.Started(actor=path):
                line = f"started {path}"
            case events.StartFailed(actor=path, reason=reason):
                line = f"start failed {path}: {reason}"
            case events.StartIgnored(actor=path):
                line = f"ignored {path}"
            case events.Exited(actor=path, reason=reason):
                line = f"exited {path}: {reason}"
            case events.LimitReached(supervisor=path, child=id):
                line = f"limit {path}: {id}"
            case events.StopFailed(supervisor=path, child=id, reason=reason):
                line = f"stop failed {path}/{id}: {reason}"
            case events.DeadLetter(actor=path):
                line = f"dead letter {path}"
            case _:
                return
        self._lines.append(line)


async def status(top: Ref[Any]) -> dict[str, str]:
    """What every child of a supervisor is doing."""
    return {info.id: info.status.value for info in await top.call(WhichChildren())}


async def ref_of(top: Ref[Any], id: str) -> Ref[Any]:
    """The ref of a living child."""
    [ref] = [info.ref for info in await top.call(WhichChildren()) if info.id == id]
    assert ref is not None, f"{id} does not run"
    return ref


async def die(top: Ref[Any], id: str, reason: Reason = BOOM) -> None:
    """Lets a child end by itself and waits for all that follows."""
    (await ref_of(top, id)).tell(Die(reason))
    await settle()


async def kill(system: System, top: Ref[Any], id: str) -> None:
    """Kills a child and waits for all that follows."""
    system.kill(await ref_of(top, id))
    await settle()


def lives(system: System, *paths: str) -> list[int]:
    """How many lives the places have had, those included that are over."""
    refs = [system.at(path) for path in paths]
    return [0 if ref is None else ref.incarnation for ref in refs]


def top_of(*specs: ChildSpec[Any], **flags: Any) -> ChildSpec[Supervisor]:
    """The spec of a supervisor "top"."""
    return Supervisor.spec(specs, **flags).options(id="top")
