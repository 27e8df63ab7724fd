"""The limit of open files: raised here, given back to those that are started."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import resource, subprocess, sys
from netns import limits
resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
limits.give_back(child.pid)
print(resource.prlimit(child.pid, resource.RLIMIT_NOFILE))
print(limits.raise_open_files(), limits.raise_open_files())
print(resource.getrlimit(resource.RLIMIT_NOFILE))
other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
print(resource.prlimit(other.pid, resource.RLIMIT_NOFILE))
limits.give_back(other.pid)
print(resource.prlimit(other.pid, resource.RLIMIT_NOFILE))
for each in (child, other):
    each.communicate()
limits.give_back(other.pid)
"""


def test_it_is_raised_here_and_given_back_to_who_is_started() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "(100, 300)",
        "300 300",
        "(300, 300)",
        "(300, 300)",
        "(100, 300)",
    ]
