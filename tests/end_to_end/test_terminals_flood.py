"""A flood beside viewers that have stopped reading: what that costs the instance."""

from __future__ import annotations

import json
import os
from pathlib import Path

from colony.client import Address, Client, path_of
from colony.terminals.connection import Connection
from colony.terminals.frames import BINARY
from tests.end_to_end.attaching import running
from tests.end_to_end.colonies import Shop, root_only

pytestmark = root_only

VOLUME = 160 * 1024 * 1024
"""Bytes of `yes`: more than it writes to a terminal in half a minute, written faster."""

GROWN = 2 * 1024 * 1024
"""Bytes by which the instance may have grown then, its session's own megabyte included."""


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_stopped_viewers_of_a_flood_cost_less_than_two_megabytes(shop: Shop) -> None:
    """One who types and one who looks read nothing; a third has every byte, and both catch up."""
    colony, run = running(shop)
    address = Address(shop.runtime / "colony.sock")
    client, path = Client(address), path_of("colonies", colony.name, "terminals")
    with Connection(address, f"{path}/terminal/attach"):  # what is made once is made
        before = resident(run.pid)
        script = f"stty raw -echo; read x; yes | head -c {VOLUME}; echo END; exec cat"
        client.post(path, {"argv": ["/bin/bash", "-c", script]})
        stopped = [
            Connection(address, f"{path}/1/attach", {"read_only": read_only})
            for read_only in (False, True)
        ]
        reading = Connection(address, f"{path}/1/attach")
        reading.send(b"\n")
        count, last = 0, b""
        while not last.endswith(b"END\n"):
            for kind, data in reading.receive():
                if kind == BINARY:
                    count += data.count(b"y")
                    last = (last + data)[-4:]
        assert count == VOLUME // 2
        assert resident(run.pid) - before < GROWN
        reading.send(b"still")
        for each in stopped:
            assert "resync" in until(each, b"still")
            each.close()
        reading.close()


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
