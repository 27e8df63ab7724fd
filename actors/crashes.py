"""One report for each crash: what ended, at which message, where in whose code, what comes of it.

    class Halve(Cast["Divider"], frozen=True):
        n: int

    class Divider(Actor):
        @on(Halve)
        def halve(self, msg: Halve) -> None:
            1 // msg.n

    from actors import crashes

    async with System(log_crashes=False) as system:
        top = await system.start(Supervisor.spec([Divider.spec()]))
        [child] = await top.call(WhichChildren())
        with system.events.subscribe() as stream:
            child.ref.tell(Halve(0))
            await settle()
        [report] = [event async for event in stream if isinstance(event, CrashReport)]
    assert report.message == Halve(0)
    assert (report.decision, report.count, report.intensity) == ("restarted", 1, 1)
    assert crashes.line(report) == (
        "supervisor/divider crashed handling Halve: "
        "ZeroDivisionError: integer division or modulo by zero; restarted at once, 1 of 1 in 5 s"
    )

Erlang tells of a crash three times: the process says how it died, its supervisor that a child has,
and what it does about it. Those events are here, too (`Exited`, `ChildTerminated`, `Restarting`).
Who wants to be told once, and all of it, takes the `CrashReport`:

  a cell's end makes the report, without a decision
   ├─ no supervisor ────────────────────────────────▶ published
   └─ its supervisor's ledger ──▶ step ──▶ decide ──▶ published

A supervisor's ledger holds the reports of its children whose end it has not heard of yet, or whose
restart has failed and not been decided on again. When it ends itself, they are published as they
are ("abandoned"). So each abnormal end is reported exactly once, and after its decision.

An end is abnormal if its reason is not orderly. It is no crash if the owner has killed it because
its spec says so, or because whoever was starting it has given up.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec

from actors import dialogue
from actors.events import CrashReport, Decision, LimitReached, Restarting
from actors.reasons import Crashed, Killed, Reason
from actors.supervision import Child, Ending, State, Status

if TYPE_CHECKING:
    from actors.cell import Cell

LOG: Final = logging.getLogger("actors")

_HERE: Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MESSAGE_LENGTH: Final = 200


# -- making a report -------------------------------------------------------------------------------


def note(cell: Cell, reason: Reason, *, starting: bool) -> None:
    """A cell has just ended with a reason that is not orderly."""
    ties, parent = cell.ties, cell.parent
    if ties is not None and ties.expected and reason == Killed():
        return
    cause, task = (None, None) if ties is None else (ties.cause, ties.failed_task)
    ledger = None if parent is None or parent.ties is None else parent.ties.ledger
    report = CrashReport(
        at=cell.system.now(),
        actor=cell.path,
        kind=cell.slot.kind.__name__,
        incarnation=cell.incarnation,
        reason=reason,
        message=cell.handling()[0],
        task=task[0] if task is not None and task[1] is reason else None,
        cause=cause[0] if cause is not None and cause[1] is reason else None,
        starting=starting,
        decision="unsupervised",
    )
    if ledger is None or (ties is not None and ties.orphaned):
        cell.system.report_crash(report)
        return
    assert parent is not None
    report = msgspec.structs.replace(report, supervisor=parent.path)
    if parent.down is not None or (parent.ties is not None and parent.ties.ending):
        cell.system.report_crash(msgspec.structs.replace(report, decision="abandoned"))
    else:
        ledger[cell.serial] = report


def abandon(cell: Cell) -> None:
    """A supervisor ends without having decided on these."""
    ties = cell.ties
    if ties is None or not ties.ledger:
        return
    reports, ties.ledger = ties.ledger, {}
    for report in reports.values():
        cell.system.report_crash(
            msgspec.structs.replace(report, at=cell.system.now(), decision="abandoned")
        )


def decided(
    ledger: dict[int, CrashReport],
    state: State,
    event: Any,
    effects: list[dialogue.Effect],
    now: float,
) -> list[CrashReport]:
    """Takes out of the ledger, complete, the reports that a supervisor's step has decided on."""
    found: list[CrashReport] = []
    for life, report in tuple(ledger.items()):
        decision = decide(state, event, effects, report, life)
        if decision is not None:
            del ledger[life]
            found.append(msgspec.structs.replace(report, at=now, **decision))
    return found


def decide(
    state: State, event: Any, effects: list[dialogue.Effect], report: CrashReport, life: int
) -> dict[str, Any] | None:
    """What a step says of one crash, as fields of its report; None if nothing yet. Pure."""
    id = report.actor.rpartition("/")[2]
    period = state.flags.period
    for effect in effects:
        match effect:
            case Restarting(child=who, delay=delay) if who == id:
                word: Decision = "delayed" if delay > 0 else "restarted"
                numbers = {"count": effect.count, "intensity": effect.intensity, "period": period}
                return {"decision": word, "delay": delay, **numbers}
            case LimitReached(child=who, intensity=intensity) if who == id:
                numbers = {"count": intensity + 1, "intensity": intensity, "period": period}
                return {"decision": "gave_up", **numbers}
            case dialogue.Refuse(id=who) if who == id and report.starting:
                return {"decision": "refused"}
    child = state.children.get(id)
    if child is not None and _is_undecided(child, report, life):
        return None
    return {"decision": _other(state, event, effects, id, life)}


def _is_undecided(child: Child, report: CrashReport, life: int) -> bool:
    """Whether the supervisor has not heard of it yet, or is going to try again."""
    if report.starting:
        return child.status is Status.RESTARTING and child.due is None
    return child.status is Status.RUNNING and child.life == life


def _other(
    state: State, event: Any, effects: list[dialogue.Effect], id: str, life: int
) -> Decision:
    ends = isinstance(state.goal, Ending)
    ends = ends or any(isinstance(effect, dialogue.Exit) for effect in effects)
    if isinstance(event, dialogue.Exited) and event.id == id and event.life == life:
        return "escalated" if ends else "temporary"
    if isinstance(event, dialogue.StartFailed) and event.id == id and ends:
        return "escalated"
    again = dialogue.Start(id)
    return "group" if again in effects or again in state.plan else "stopped"


# -- as text ---------------------------------------------------------------------------------------


def _times(report: CrashReport) -> str:
    return f"{report.count} of {report.intensity} in {report.period:g} s"


_WORDS: Final[dict[Decision, Callable[[CrashReport], str]]] = {
    "restarted": lambda r: f"restarted at once, {_times(r)}",
    "delayed": lambda r: f"restarted in {r.delay:.2g} s, {_times(r)}",
    "group": lambda r: "restarted with its group",
    "temporary": lambda r: "not restarted: it is temporary",
    "stopped": lambda r: "not restarted: it was being stopped",
    "gave_up": lambda r: (
        f"not restarted: {r.supervisor} gave up, as more than {r.intensity} in {r.period:g} s"
        " are too many"
    ),
    "escalated": lambda r: f"not restarted: {r.supervisor} ends with it",
    "refused": lambda r: "not restarted: whoever started it has been told",
    "abandoned": lambda r: f"not restarted: {r.supervisor} has ended, too",
    "unsupervised": lambda r: "not restarted: no supervisor has it",
}


def words(report: CrashReport) -> str:
    """The decision in words."""
    return _WORDS[report.decision](report)


def line(report: CrashReport) -> str:
    """All of it in one line; of the message only its class."""
    where = ""
    if report.starting:
        where = " as it started"
    elif report.task is not None:
        where = f" in its task {report.task}"
    elif report.message is not None:
        where = f" handling {type(report.message).__name__}"
    what = "crashed" if isinstance(report.reason, Crashed) else "ended"
    cause = "" if report.cause is None else f" (with {report.cause})"
    reason = " ".join(str(report.reason).split())
    return f"{report.actor} {what}{where}: {reason}{cause}; {words(report)}"


def text(report: CrashReport) -> str:
    """The line, then the message itself, cut short, and the traceback; lines end with "\\n"."""
    said = line(report) + "\n"
    if report.message is not None:
        message = _repr(report.message)
        if len(message) > _MESSAGE_LENGTH:
            message = message[:_MESSAGE_LENGTH] + "…"
        said += f"  message: {message}\n"
    return said + report.traceback


def _repr(value: Any) -> str:
    """A report does not fail because what it shows does."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"


def log(report: CrashReport) -> None:
    """What a system does with a report unless it is told not to.

    Of those who went with another only that one is logged, and nothing of a failed start that an
    exception tells its starter of.
    """
    told = report.starting and report.decision in ("refused", "unsupervised")
    if report.cause is None and not told and LOG.isEnabledFor(logging.ERROR):
        LOG.error("%s", text(report).rstrip("\n"))


def traceback_of(error: BaseException) -> str:
    """The traceback without the kernel's own frames; of a group, that of each error in it."""
    leaves = list(_leaves(error))
    if len(leaves) == 1:
        return _trimmed(leaves[0])
    return "".join(
        f"error {n} of {len(leaves)}:\n{_trimmed(leaf)}" for n, leaf in enumerate(leaves, 1)
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error


def _trimmed(error: BaseException) -> str:
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    seen: set[int] = set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        users = [frame for frame in part.stack if not frame.filename.startswith(_HERE)]
        if users:
            part.stack = traceback.StackSummary.from_list(users)
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "".join(whole.format())
