"""The command line's client, and an instance that cannot answer at the moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from colony import client
from colony.client import Address, Client, Paused

LATE_ANSWER = """
import socket, sys, time
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
print("listens", flush=True)
while True:
    asker, _ = listener.accept()
    asker.recv(4096)
    time.sleep(0.5)
    asker.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 6\\r\\n\\r\\n\\"late\\"")
    asker.close()
"""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that answers late, at the socket `api.sock`."""
    argv = [sys.executable, "-I", "-c", LATE_ANSWER, str(tmp_path / "api.sock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listens\n"
        yield process
        process.kill()


def test_an_instance_that_was_stopped_by_a_signal_is_not_waited_for(
    instance: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    asks = Client(Address(tmp_path / "api.sock"))
    instance.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, instance.pid, os.WSTOPPED)
    for ask in (lambda: asks.get("/api/version"), asks.answers):
        with pytest.raises(Paused) as raised:
            ask()
        assert str(raised.value) == (
            f"the instance, pid {instance.pid}, has been stopped by a signal, as Ctrl-Z sends one, "
            f"and cannot answer; let it go on: fg in its terminal, or kill -CONT {instance.pid}"
        )


def test_an_instance_that_takes_its_time_is_waited_for(
    instance: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SILENCE", 0.01)
    assert Client(Address(tmp_path / "api.sock")).get("/api/version") == "late"
