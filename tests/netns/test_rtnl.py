"""pyroute2 is not paid for: what is loaded of it, and that the real one is left for others."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import sys
import netns
print("pyroute2" in sys.modules, "pyroute2.ndb" in sys.modules, "pyroute2.netlink" in sys.modules)
import pyroute2
print(pyroute2.IPRoute.__name__)
from netns.rtnl import rtmsg
print(rtmsg is sys.modules["pyroute2.netlink.rtnl.rtmsg"].rtmsg)
"""


def test_the_message_classes_come_without_the_package_which_others_may_still_import() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["False", "False", "True", "IPRoute", "True"]
