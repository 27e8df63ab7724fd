"""What a service of a plain user's colony may not do to its user's other processes: those outside,
and Colony itself. (Processes of one instance's colonies may trace each other: they are one user's
in one user namespace.)"""

from __future__ import annotations

import subprocess
import sys

from tests.end_to_end.colonies import Shop
from tests.end_to_end.plain import UID, as_a_user, run_as_a_user

pytestmark = as_a_user

TRY = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE = 0x4206
def look(pid):
    tries = {
        "root": lambda: os.listdir(f"/proc/{pid}/root"),
        "memory": lambda: open(f"/proc/{pid}/mem", "rb").close(),
        "environment": lambda: open(f"/proc/{pid}/environ", "rb").read(),
        "network": lambda: libc.setns(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY), 0) and 1 / 0,
        "mounts": lambda: libc.setns(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY), 0) and 1 / 0,
        "descriptors": lambda: [os.readlink(f"/proc/{pid}/fd/{n}") for n in (0, 1, 2)],
        "trace": lambda: libc.ptrace(PTRACE_SEIZE, pid, 0, 0) and 1 / 0,
    }
    for what, attempt in tries.items():
        try:
            attempt()
            yield what
        except (OSError, ZeroDivisionError):
            pass
for name, pid in (("itself", os.getpid()), ("colony", os.getppid()), ("outside", int(sys.argv[1]))):
    print(name, *look(pid), flush=True)
os.execvp("sleep", ["sleep", "600"])
"""


def test_processes_outside_are_out_of_reach(users: Shop) -> None:
    outside = subprocess.Popen(["sleep", "600"], user=UID, group=UID, extra_groups=[])
    try:
        colony = users.colony({"try": {"command": [sys.executable, "-Ic", TRY, str(outside.pid)]}})
        run = run_as_a_user(users, colony)
        run.expect(r"try +\| itself root memory environment descriptors$")
        run.expect(r"try +\| colony$")
        run.expect(r"try +\| outside$")
        assert run.stop() == 130
    finally:
        outside.kill()
        outside.wait()
