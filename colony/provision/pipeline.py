"""Runs the stages one after the other; takes back what was done when one fails.

    for each stage:  prepare ─▶ journal: begun, with its undo ─▶ do ─▶ journal: done
    on failure:      the undos of the begun and done steps, the last first ─▶ journal: undone

Cancellation counts as a failure: what was begun is taken back, shielded, before it goes on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import msgspec

from colony.provision.journal import UNFINISHED, Busy, Journal
from colony.provision.undo import Undo, take_back
from colony.provision.work import OFF_LOOP, Action, Stage, StepFailed, Work


class Progress(msgspec.Struct, frozen=True):
    """What happens to a step: state is begun, running, done, skipped, failed or undone.

    Running comes as often as its command says anew how far it is, in `percent`.
    """

    step: str
    state: str
    detail: str = ""
    seconds: float | None = None
    percent: int | None = None


Report = Callable[[Progress], None]


class ProvisionFailed(Exception):
    """A step failed. `step` is its name, `cause` says why, `undone` whether all is as before."""

    def __init__(self, colony: str, step: str, cause: StepFailed, *, undone: bool) -> None:
        self.colony = colony
        self.step = step
        self.cause = cause
        self.undone = undone
        after = "all is as it was before" if undone else "what was made is kept"
        super().__init__(f"colony {colony} was not provisioned: {step}: {cause}; {after}")

    @property
    def last_lines(self) -> tuple[str, ...]:
        """The last that the command wrote which failed; empty if it was none."""
        return self.cause.last_lines


class Provisioning:
    """One run of a pipeline, from its beginning until it is kept or taken back."""

    def __init__(self, work: Work, run: int, report: Report) -> None:
        self.work = work
        self.journal = work.journal
        self.run = run
        self.report = report

    def __repr__(self) -> str:
        return f"<Provisioning {self.run} of {self.work.name}>"

    async def go(self, stages: Sequence[Stage], done: frozenset[str] = frozenset()) -> None:
        """Does the stages, except those that an earlier attempt has `done`. Raises `_Failed`."""
        for stage in stages:
            try:
                await self._stage(stage, again=stage.name not in done)
            except StepFailed as error:
                self.report(Progress(stage.name, "failed", str(error)))
                raise _Failed(stage.name, error) from error
            except OSError as error:
                failed = StepFailed(_in_words(error))
                self.report(Progress(stage.name, "failed", str(failed)))
                raise _Failed(stage.name, failed) from error

    async def _stage(self, stage: Stage, *, again: bool) -> None:
        began = time.monotonic()
        found = await stage.prepare(self.work)
        if not isinstance(found, Action):
            if found.why:
                self.report(Progress(stage.name, "skipped", found.why))
            return
        if not again:
            self.report(Progress(stage.name, "skipped", "done before"))
            return
        number = await OFF_LOOP(self.journal.begin_step, self.run, stage.name, found.undo)
        self.report(Progress(stage.name, "begun", found.detail))

        def advance(percent: int) -> None:
            self.report(Progress(stage.name, "running", found.detail, percent=percent))

        self.work.advance = advance
        await found.do()
        await OFF_LOOP(self.journal.mark_step, self.run, number, "done")
        self.report(Progress(stage.name, "done", found.detail, time.monotonic() - began))

    async def undo(self, reason: str) -> None:
        """Takes back all that was begun, the last first; cancelling does not interrupt it."""
        with anyio.CancelScope(shield=True):
            for step in await OFF_LOOP(undo_run, self.journal, self.run, reason):
                self.report(Progress(step, "undone"))

    async def keep(self, state: str, reason: str = "") -> None:
        """Leaves all as it is: `done`, or `kept` after a failure."""
        with anyio.CancelScope(shield=True):
            await OFF_LOOP(self.journal.mark, self.run, state, reason)


class _Failed(Exception):
    def __init__(self, step: str, cause: StepFailed) -> None:
        self.step = step
        self.cause = cause


@asynccontextmanager
async def provisioning(
    work: Work,
    stages: Sequence[Stage],
    report: Report,
    *,
    keep: bool = False,
    resume: bool = False,
) -> AsyncIterator[None]:
    """Does the stages, and holds on to what was done for the block: an error or a cancellation in
    it takes everything back as one in a stage does.

    `keep` leaves the debris of a failure where it is; `resume` goes on with such a run at the step
    that failed. Raises `ProvisionFailed`, and `Busy` if the colony is being provisioned already.
    """
    with work.journal.lock(work.name):
        await OFF_LOOP(recover, work.journal, work.name)
        run, done = await OFF_LOOP(_begin, work, resume)
        going = Provisioning(work, run, report)
        try:
            await going.go(stages, done)
            yield
        except _Failed as failed:
            if keep:
                await going.keep("kept", f"{failed.step}: {failed.cause}")
            else:
                await going.undo(f"{failed.step}: {failed.cause}")
            raise ProvisionFailed(
                work.name, failed.step, failed.cause, undone=not keep
            ) from failed.cause
        except BaseException as error:
            if keep:
                await going.keep("kept", repr(error))
            else:
                await going.undo(repr(error))
            raise
        await going.keep("done")


def _begin(work: Work, resume: bool) -> tuple[int, frozenset[str]]:
    """The run's number, and the steps of it that are done."""
    journal = work.journal
    kept = journal.runs("kept", colony=work.name)
    if resume and kept:
        run = kept[-1].id
        journal.mark(run, "running")
        return run, frozenset(step.name for step in journal.steps(run) if step.state == "done")
    return journal.begin(work.name, str(work.workspace)), frozenset()


# -- taking back, also for a process that died -----------------------------------------------------


def undo_run(journal: Journal, run: int, reason: str) -> list[str]:
    """Takes a run back; the names of the steps in the order in which they were. Blocks.

    One undo that fails does not keep the others from being done; the run then stays `undoing`,
    and the next start tries again.
    """
    journal.mark(run, "undoing", reason)
    this = journal.run(run)
    undone: list[str] = []
    stuck = False
    for step in reversed(journal.steps(run)):
        if step.state == "undone":
            continue
        # A list first: every one is tried, also after one that failed.
        results = [_taken_back(undo) for undo in reversed(step.undo)]
        if all(results):
            journal.unmake_step(this, step)
            undone.append(step.name)
        else:
            stuck = True
    if not stuck:
        journal.mark(run, "undone", reason)
    return undone


def _taken_back(undo: Undo) -> bool:
    try:
        take_back(undo)
    except OSError:
        return False
    return True


def recover(journal: Journal, held: str | None = None) -> list[str]:
    """Takes back the runs of processes that died; the names of their colonies. Blocks.

    `held` is a colony whose lock the caller has.
    """
    found: list[str] = []
    if not journal.path.exists():
        return found
    for run in journal.runs(*UNFINISHED):
        if run.colony == held:
            undo_run(journal, run.id, run.reason or "the process that provisioned it died")
            found.append(run.colony)
            continue
        with suppress(Busy), journal.lock(run.colony):
            # It may have ended between the look and the lock.
            if any(each.id == run.id for each in journal.runs(*UNFINISHED, colony=run.colony)):
                undo_run(journal, run.id, run.reason or "the process that provisioned it died")
                found.append(run.colony)
    return found


def _in_words(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def nothing(_: Any) -> None:
    """A report that nobody reads."""
