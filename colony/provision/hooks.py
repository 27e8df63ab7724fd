"""The setup commands of a workspace, and the consent that a stranger's need.

A repository that was cloned brings its own setup commands, and so does a branch of which a worktree
is made, which may be somebody's pull request: to get them must not run them unasked. The user's yes
is stored by the hash of where they are from and what they say, so that a change of either is asked
about anew. A folder in which the user starts a colony himself needs none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

from colony.provision.work import OFF_LOOP, Action, Skip, Stage, StepFailed, Work

Ask = Callable[[str, tuple[str, ...]], Awaitable[bool]]
"""Asks the user about the commands of a source; whether they may run."""


def hook_stage(ask: Ask) -> Stage:
    """The stage that runs `[colony.environment] setup`, once for each state of it."""

    async def prepare(work: Work) -> Action | Skip:
        return await _setup(work, ask)

    return Stage("setup", prepare)


async def refuse(source: str, commands: tuple[str, ...]) -> bool:
    """For whoever cannot ask: what was not allowed before is not allowed."""
    return False


async def allow(source: str, commands: tuple[str, ...]) -> bool:
    """For whoever has been told `--yes`."""
    return True


def fingerprint(source: str, commands: tuple[str, ...]) -> str:
    """By what a consent is known."""
    return hashlib.sha256("\0".join([source, *commands]).encode()).hexdigest()


async def _setup(work: Work, ask: Ask) -> Action | Skip:
    commands = work.config.colony.environment.setup
    if not commands:
        return Skip()
    journal, place = work.journal, str(work.workspace)
    source = await OFF_LOOP(journal.fact, place, "source")
    mark = fingerprint(source or place, commands)
    if await OFF_LOOP(journal.fact, place, "setup") == mark:
        return Skip("done before, and unchanged")
    if source is not None and not await OFF_LOOP(journal.consents_to, mark):
        if not await ask(source, commands):
            raise StepFailed(
                f"the setup commands of {source} have not been allowed: {'; '.join(commands)}",
                f"look at them, then allow them: colony new {source} --name {work.name} --yes",
            )
        await OFF_LOOP(journal.consent, mark)

    async def do() -> None:
        for command in commands:
            await work.run("/bin/sh", "-c", command, shell=True)
        await OFF_LOOP(journal.note, place, "setup", mark)

    return Action("; ".join(commands), do)
