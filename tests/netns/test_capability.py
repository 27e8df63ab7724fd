from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from netns import capability
from netns.capability import Capability, probe
from tests.netns.support import open_descriptors, output

PROBE = """
import os, sys
from netns import capability
os.setgroups([]); os.setgid(65534); os.setuid(65534)
print(capability.probe())
"""


def test_here_namespaces_can_be_made_and_nothing_is_left() -> None:
    probe()
    before, threads = open_descriptors(), set(threading.enumerate())
    links = output("ip", "link")
    assert probe() == Capability(namespaces=True, redirect=True, ipv6=True)
    assert str(probe()) == "network namespaces"
    assert open_descriptors() <= before
    assert set(threading.enumerate()) <= threads  # idle ones of an event loop's may have gone
    assert "probe" not in output("ip", "link")
    assert "probe" not in links


def test_the_directory_of_the_pins_may_come_and_go_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does with the first instance on a machine and the last."""
    place = tmp_path / "netns"
    monkeypatch.setattr(capability, "PIN_DIRECTORY", str(place))
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            place.mkdir()
            while place.exists():
                with contextlib.suppress(OSError):  # not empty at this moment
                    place.rmdir()

    other = threading.Thread(target=come_and_go)
    other.start()
    try:
        for _ in range(300):
            capability._try_pins()
    finally:
        over.set()
        other.join()


def test_without_the_right_it_says_why_and_what_to_do() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "no network namespaces: user 65534 lacks CAP_SYS_ADMIN and CAP_NET_ADMIN here; "
        "run Colony as root (sudo colony …), or go on with --network host\n"
    )


def test_what_is_lacking_is_said() -> None:
    assert str(Capability(True, redirect=False, ipv6=True)).startswith(
        "network namespaces, but libnftables.so.1 is not on this machine"
    )
    assert str(Capability(True, redirect=True)) == (
        "network namespaces, but this kernel has no IPv6"
    )


def test_a_read_only_proc_is_found() -> None:
    """As in a container that has the right to make networks, but not to change their settings."""
    script = 'mount --bind -o ro /proc/sys /proc/sys && exec "$@"'
    ask = "from netns import capability; print(capability.probe())"
    found = output(*("unshare", "--mount", "sh", "-ec", script, "sh"), *(sys.executable, "-c", ask))
    assert found == (
        "no network namespaces: this process cannot change the network's settings in "
        "/proc/sys/net/ipv4/ip_forward: Read-only file system; start the machine or container "
        "with that right, or use --network host\n"
    )
