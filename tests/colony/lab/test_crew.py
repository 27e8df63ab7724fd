"""Work for several processes: results, errors, and that the processes end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from colony.lab.crew import Crew, JobFailed, Way, way


def squared(number: int) -> int:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number * number


def own_pid(_: int) -> int:
    return os.getpid()


def dying(_: int) -> int:
    os._exit(7)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def until_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < deadline, "the workers live on"
        time.sleep(0.02)


def test_every_job_has_its_result() -> None:
    with Crew(squared, 2) as crew:
        assert dict(crew.results(range(20))) == {number: number**2 for number in range(20)}
        assert dict(crew.results([5])) == {0: 25}, "and again, by the same processes"
        assert dict(crew.results([])) == {}


def test_a_job_that_fails_says_why() -> None:
    with Crew(squared, 1) as crew, pytest.raises(JobFailed, match="ValueError: -1 is negative"):
        list(crew.results([1, -1]))


def test_a_worker_that_is_gone_is_told_of() -> None:
    with Crew(dying, 1) as crew, pytest.raises(JobFailed, match="ended, with status 7"):
        list(crew.results([1]))


def test_its_processes_end_with_the_block() -> None:
    with Crew(own_pid, 1) as crew:
        [(_, pid)] = crew.results([1])
        assert alive(pid)
    until_gone([pid])


def test_a_fork_is_for_those_who_are_alone() -> None:
    """Within a thread of its own, so that there are two."""
    ways: list[Way] = []
    other = threading.Thread(target=lambda: ways.append(way()))
    other.start()
    other.join()
    assert ways == ["spawn"]


PROGRAM = """
import sys, threading, time
from colony.lab.crew import Crew, way
from tests.colony.lab.test_crew import own_pid, lasting

if __name__ == "__main__":
    if sys.argv[1] == "spawn":
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    assert way() == sys.argv[1], way()
    with Crew(own_pid, 1) as pids, Crew(lasting, 2) as crew:
        print(*[pid for _, pid in pids.results([1])], flush=True)
        for _, pid in crew.results([0, 0]):
            print(pid, flush=True)
        list(crew.results([60, 60]))
"""


def lasting(seconds: int) -> int:
    time.sleep(seconds)
    return os.getpid()


@pytest.mark.parametrize("how", ["fork", "spawn"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_its_processes_end_with_their_owner(
    number: signal.Signals, how: Way, tmp_path: Path
) -> None:
    """At Ctrl-C, which goes to all of them, and without a word of theirs; and at a kill."""
    program = tmp_path / "owner.py"
    program.write_text(PROGRAM)
    root = Path(__file__).parents[3]
    owner = subprocess.Popen(
        [sys.executable, str(program), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(root)},
        process_group=0,
        text=True,
    )
    assert owner.stdout is not None
    pids = [int(owner.stdout.readline()) for _ in range(3)]
    assert len(set(pids)) >= 2
    if number is signal.SIGINT:
        os.killpg(owner.pid, number)
    else:
        owner.kill()
    _, errors = owner.communicate(timeout=60)
    until_gone(pids)
    assert owner.returncode == -number
    assert errors.count("Traceback") == (1 if number is signal.SIGINT else 0), errors
    if number is signal.SIGINT:
        assert errors.rstrip().endswith("KeyboardInterrupt")


UNHEARD = """
import signal, threading, time
from colony.lab.crew import Crew
from tests.colony.lab.test_crew import lasting

def interrupt() -> None:
    begun.wait()
    time.sleep(0.2)  # the other one waits by now, and no signal wakes it that this one gets
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

if __name__ == "__main__":
    begun = threading.Event()
    threading.Thread(target=interrupt, daemon=True).start()
    with Crew(lasting, 1) as crew:
        list(crew.results([0]))
        begun.set()
        list(crew.results([600]))
"""


def test_ctrl_c_that_does_not_wake_the_one_who_waits_is_heeded(tmp_path: Path) -> None:
    program = tmp_path / "owner.py"
    program.write_text(UNHEARD)
    owner = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
        text=True,
        timeout=60,
        check=False,
    )
    assert owner.stderr.rstrip().endswith("KeyboardInterrupt")
    assert owner.returncode == -signal.SIGINT
