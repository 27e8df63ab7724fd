"""What this machine has for Colony, found out by looking. Blocks for some milliseconds."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import suppress

from colony.modes import Machine
from netns import probe, rootless, userns
from netns.uplink import TUN, usable


def ways_out() -> tuple[str, ...]:
    """The programs by which rootless colonies could go out. Blocks for some milliseconds."""
    pasta = ""
    if shutil.which("pasta") is not None:
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(["pasta", "--version"], capture_output=True, text=True, timeout=5)
            pasta = done.stdout
    return usable(shutil.which("slirp4netns") is not None, pasta)


def may_open_tun() -> bool:
    """Whether this user may open the device that a way out needs."""
    return os.access(TUN, os.R_OK | os.W_OK)


def look_at_machine() -> Machine:
    """What this machine has. Blocks for some milliseconds."""
    capability = probe()
    why_not = "" if capability.namespaces else f"{capability.reason}; {capability.remedy}"
    return Machine(
        why_not=why_not,
        rootless=userns.entered(),
        why_not_rootless=rootless.refusal(),
        ways_out=ways_out(),
        tun=may_open_tun(),
        caddy=shutil.which("caddy") is not None,
        dnsmasq=shutil.which("dnsmasq") is not None or os.path.exists("/usr/sbin/dnsmasq"),
    )
