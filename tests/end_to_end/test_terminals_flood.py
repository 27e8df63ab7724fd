"""A flood beside viewers that have stopped reading: what that costs the instance."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from colony.client import Address, Client, path_of
from colony.terminals.connection import Connection
from colony.terminals.frames import BINARY
from tests.end_to_end.attaching import patient, running
from tests.end_to_end.colonies import Shop, root_only

pytestmark = root_only

VOLUME = 160 * 1024 * 1024
"""Bytes of `yes`: more than it writes to a terminal in half a minute, written faster."""

GROWN = 2 * 1024 * 1024
"""Bytes by which the instance may have grown then, with what the session keeps (`CAPACITY`)."""

MANY = 8
EACH = 256 * 1024
"""Viewers who join then and read nothing, and bytes that each of them may cost."""


def memory(pid: int) -> int:
    """Bytes of memory that a process has of its own now: not the files that it has in view, more
    of which the kernel shows it at any time."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"RssAnon:\s+(\d+) kB", status)[0]) * 1024


@pytest.mark.parametrize("read_only", [False, True], ids=["who types", "who looks"])
def test_a_stopped_viewer_of_a_flood_costs_less_than_two_megabytes(
    shop: Shop, read_only: bool
) -> None:
    """One reads nothing; another has every byte, and the first catches up."""
    colony, run = running(shop, prefix=patient(5.0))
    address = Address(shop.runtime / "colony.sock")
    client, path = Client(address), path_of("colonies", colony.name, "terminals")
    with Connection(address, f"{path}/terminal/attach") as one:  # what is made once is made
        one.send(b"exec sh -c 'stty raw -echo; yes | head -c 2000000; printf END; exec cat'\n")
        until(one, b"END")
        before = memory(run.pid)
        script = f"stty raw -echo; read x; yes | head -c {VOLUME}; echo END; exec cat"
        client.post(path, {"argv": ["/bin/bash", "-c", script]})
        stopped = Connection(address, f"{path}/1/attach", {"read_only": read_only})
        reading = Connection(address, f"{path}/1/attach")
        reading.send(b"\n")
        count, last = 0, b""
        while not last.endswith(b"END\n"):
            for kind, data in reading.receive():
                if kind == BINARY:
                    count += data.count(b"y")
                    last = (last + data)[-4:]
        assert count == VOLUME // 2
        grown = memory(run.pid) - before
        assert grown < GROWN
        more = [Connection(address, f"{path}/1/attach") for _ in range(MANY)]
        client.get(path)  # asked after them, answered after them
        each = (memory(run.pid) - before - grown) / MANY
        assert each < EACH
        reading.send(b"still")
        assert "resync" in until(stopped, b"still")
        for connection in (stopped, reading, *more):
            connection.close()


def until(connection: Connection, end: bytes) -> list[str]:
    """Reads up to these bytes; what was told meanwhile."""
    told, last = [], b""
    while not last.endswith(end):
        for kind, data in connection.receive():
            if kind == BINARY:
                last = (last + data)[-len(end) :]
            else:
                told.append(str(json.loads(data)["t"]))
    return told
