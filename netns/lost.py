"""Instances that died and whose runtime directory has gone as well, so that no start meets them.

Law: dead is who holds no lock, and that is seen, not concluded: an instance has its lock file open
for as long as it lives, whatever becomes of the file's name, and we look into every process for it.
Where we do not see every process (another world of process numbers, too few rights) nobody is lost.

What such an instance may have left bears its id (`names`), and the machine's record (`hostwide`)
names it with its lock file, as everybody is recorded there before he makes anything.
"""

from __future__ import annotations

import os
import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from netns import hostwide, linux, userns
from netns.instance import DeadInstance
from netns.names import INSTANCE_ID

_LOCK: Final = re.compile(r".*/instances/([0-9a-f]{6})/lock(?: \(deleted\))?")
_FIRST_WORLD: Final = 0xEFFFFFFC  # the inode of the machine's own world of process numbers
_NOWHERE: Final = Path("/nonexistent")
_LOOKS: Final = 2  # who was handed the lock while we looked is met by the second


def lost_instances(record: Path = hostwide.RECORD) -> list[DeadInstance]:
    """Them, for `reap.reap`. Blocks for a moment, and for longer where there is a suspicion."""
    if userns.entered() or not _sees_everybody():
        return []
    suspects = {
        id
        for id, lock in hostwide.locks_of(record).items()
        if INSTANCE_ID.fullmatch(id) and not os.path.exists(lock)
    }
    for _ in range(_LOOKS):
        if suspects:
            found, whole = living()
            suspects = suspects - found if whole else set()
    return [dead for id in sorted(suspects) if (dead := _take(id))]


def _take(id: str) -> DeadInstance | None:
    """It, unless another takes it away just now. There is no file of its own to lock: so a name,
    which the kernel lets go of with whoever has it."""
    name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        name.bind(f"\0colony-lost-{id}")
    except OSError:
        name.close()
        return None
    return DeadInstance(id, _NOWHERE, name.detach())


def living() -> tuple[set[str], bool]:
    """The instances whose lock a process has open; and whether every process let itself be looked
    at, but the machine's first, which is none of Colony's."""
    found: set[str] = set()
    whole = True
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found |= _locks_of(pid)
        except PermissionError:
            whole = whole and pid == "1"
        except OSError:
            pass  # it has ended
    return found, whole


def _locks_of(pid: str) -> set[str]:
    found = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed
            match = _LOCK.fullmatch(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
            if match:
                found.add(match[1])
    return found


def _sees_everybody() -> bool:
    wanted = 1 << linux.CAP_SYS_PTRACE | 1 << linux.CAP_SYS_ADMIN
    if linux.effective_capabilities() & wanted != wanted:
        return False
    return os.stat("/proc/self/ns/pid").st_ino == _FIRST_WORLD
