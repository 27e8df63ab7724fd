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
    pasta = "" if shutil.which("pasta") is None else _version_of("pasta")
    return usable(shutil.which("slirp4netns") is not None, pasta)


def _version_of(program: str) -> str:
    """What it says of its version to a terminal: the pasta of Debian 13 ends without having written
    it to anything else."""
    screen, terminal = os.openpty()
    try:
        with suppress(OSError, subprocess.SubprocessError):
            told = [program, "--version"]
            subprocess.run(told, stdout=terminal, stderr=subprocess.DEVNULL, timeout=5)
        os.set_blocking(screen, False)
        with suppress(BlockingIOError):
            return os.read(screen, 4096).decode(errors="replace")
        return ""
    finally:
        os.close(terminal)
        os.close(screen)


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
