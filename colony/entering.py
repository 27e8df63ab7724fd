"""Entering a user namespace before anything else: how a plain user gets networks without root.

    colony run, colony daemon    enter by themselves, where the user has no rights and wants some
    a program of your own        calls `colony.enter()` at its beginning, before its first thread

What instances of this user have left by dying is looked for first: from inside, their processes
cannot be told from anybody's.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from colony.paths import runtime_directory

ENTERS: Final = ("auto", "rootless")
"""The wishes for a network (`--network`) with which one enters."""


def enter(wish: str = "auto", runtime: Path | None = None) -> bool:
    """Makes this process rootless, if it has no rights of its own; whether it is now.

    wish
        `--network` as for `Wishes`: "rootless" enters with rights, too; "namespace" and "host" do
        not.
    runtime
        The directory of running instances; default as `paths.runtime_directory` says.

    For the whole process and for good: programs that it starts cannot become root by sudo. To be
    called before the first thread and the first event loop. Where it cannot be, nothing is
    changed; an instance then runs on the host's network, and says why. Blocks for some 10 ms.
    """
    from netns import capability, rootless, userns

    if userns.entered():
        return True
    if wish not in ENTERS or (wish == "auto" and capability.missing_rights() is None):
        return False
    _end_what_the_dead_left(runtime or runtime_directory())
    with suppress(rootless.Forbidden):  # an instance asks for it (`rootless.refusal`)
        rootless.enter()
    return userns.entered()


def _end_what_the_dead_left(runtime: Path) -> None:
    """Their processes alone: all else is the instance's to remove, which knows them still."""
    from netns import sweep
    from netns.instance import dead_instances

    if not os.access(runtime, os.W_OK):
        return
    for dead in dead_instances(runtime):
        try:
            sweep.kill_all_blocking(sweep.marked(dead.id))
        finally:
            dead.bury(remove=False)
