from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from netns import locks
from netns.instance import Instance, dead_instances, hidden_of_others, is_living

CLAIM = """
import signal, sys
from netns.instance import Instance
instance = Instance.claim(sys.argv[1])
print(instance.id, flush=True)
signal.pause()
"""


def claim_and_die(runtime: Path) -> str:
    """The id of an instance whose process was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", CLAIM, str(runtime)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        id = process.stdout.readline().strip()
        assert is_living(runtime, id)
        process.send_signal(signal.SIGKILL)
    return id


def test_an_instance_lives_while_it_holds_its_lock(tmp_path: Path) -> None:
    with Instance.claim(tmp_path) as instance:
        assert is_living(tmp_path, instance.id)
        assert dead_instances(tmp_path) == []
        assert instance.number == int(instance.id, 16)
        assert instance.files_of("a") == tmp_path / "instances" / instance.id / "colonies" / "a"
        assert repr(instance) == f"<Instance {instance.id} claimed>"
    instance.release()
    assert repr(instance) == f"<Instance {instance.id} released>"
    assert not is_living(tmp_path, instance.id)
    assert list(tmp_path.iterdir()) == []


def test_two_instances_are_two(tmp_path: Path) -> None:
    with Instance.claim(tmp_path) as one, Instance.claim(tmp_path) as two:
        assert one.id != two.id
        one.release()
        assert is_living(tmp_path, two.id)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_instance_is_dead_and_found_by_one_reaper(tmp_path: Path) -> None:
    id = claim_and_die(tmp_path)
    with Instance.claim(tmp_path) as living:
        (dead,) = dead_instances(tmp_path)
        assert dead.id == id
        assert repr(dead) == f"<DeadInstance {id}>"
        assert dead_instances(tmp_path) == []  # somebody has it
        dead.bury(remove=False)
        (again,) = dead_instances(tmp_path)
        again.bury(remove=True)
        again.bury(remove=True)
        assert dead_instances(tmp_path) == []
        assert is_living(tmp_path, living.id)


def test_a_claim_that_died_halfway_is_dead(tmp_path: Path) -> None:
    (tmp_path / "instances" / "a1b2c3").mkdir(parents=True)
    (tmp_path / "instances" / "not-an-instance").mkdir()
    (dead,) = dead_instances(tmp_path)
    assert dead.id == "a1b2c3"
    dead.bury(remove=True)
    assert (tmp_path / "instances" / "not-an-instance").exists()


def test_no_runtime_directory_no_dead(tmp_path: Path) -> None:
    assert dead_instances(tmp_path / "none") == []


def test_the_directory_is_for_nobody_else(tmp_path: Path) -> None:
    with Instance.claim(tmp_path / "run") as instance:
        assert instance.directory.stat().st_mode & 0o777 == 0o700
        assert (tmp_path / "run" / "instances").stat().st_mode & 0o777 == 0o700


def test_a_lock_excludes_within_one_process_too(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    fd = locks.hold(path)
    assert fd is not None
    assert locks.hold(path) is None
    assert locks.is_held(path)
    os.close(fd)
    assert not locks.is_held(path)


def test_who_asks_whether_a_lock_is_held_holds_up_nobody(tmp_path: Path) -> None:
    """Or a dead instance is passed over by its reaper, while another looks whether it lives."""
    path = tmp_path / "lock"
    fd = locks.hold(path)
    assert fd is not None
    os.close(fd)
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            locks.is_held(path)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        for _ in range(500):
            fd = locks.hold(path)
            assert fd is not None
            assert locks.is_held(path)
            os.close(fd)
    finally:
        over.set()
        for asker in askers:
            asker.join()


def test_a_colony_of_before_and_ours_know_of_each_other(tmp_path: Path) -> None:
    """It has `flock` only."""
    theirs = os.open(tmp_path / "theirs", os.O_RDWR | os.O_CREAT)
    fcntl.flock(theirs, fcntl.LOCK_EX)
    assert locks.is_held(tmp_path / "theirs")
    assert locks.hold(tmp_path / "theirs") is None
    ours = locks.hold(tmp_path / "ours")
    assert ours is not None
    with open(tmp_path / "ours") as seen, pytest.raises(BlockingIOError):
        fcntl.flock(seen, fcntl.LOCK_SH | fcntl.LOCK_NB)
    os.close(theirs)
    os.close(ours)
    assert not locks.is_held(tmp_path / "theirs")
    assert not locks.is_held(tmp_path / "ours")


def test_a_lock_file_may_be_removed_by_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "lock"
    with locks.locked(path):
        path.unlink()
        with locks.locked(path):  # another file: no deadlock, no exclusion with the removed one
            path.unlink()
    assert not path.exists()


def test_a_lock_file_may_be_removed_with_its_directory(tmp_path: Path) -> None:
    """As the last instance does; others who come at that moment make it again."""
    path = tmp_path / "deep" / "lock"
    errors: list[Exception] = []

    def come_and_go() -> None:
        try:
            for _ in range(200):
                with locks.locked(path), contextlib.suppress(OSError):
                    path.unlink()
                    path.parent.rmdir()  # unless another is there already
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.parametrize("kind", ["a file", "a link to nowhere"])
def test_a_lock_below_what_is_no_directory_is_an_error(tmp_path: Path, kind: str) -> None:
    if kind == "a file":
        (tmp_path / "flat").touch()
    else:
        (tmp_path / "flat").symlink_to("nowhere")
    with pytest.raises(FileExistsError), locks.locked(tmp_path / "flat" / "lock"):
        raise AssertionError("it was locked")


def test_sockets_of_instances_in_any_directory_are_hidden(tmp_path: Path) -> None:
    """A path of a socket is short, so it has a folder of its own."""
    own = tmp_path / "run" / "instances" / "0a0b0c" / "own"
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as bound:
        other = Path(folder, "r", "instances", f"{secrets.randbelow(1 << 24):06x}", "own")
        other.mkdir(parents=True)
        assert str(other) not in hidden_of_others(own)
        (other / "caddy").mkdir()
        bound.bind(str(other / "caddy" / "admin.sock"))
        assert str(other) in hidden_of_others(own)
        assert str(other) not in hidden_of_others(other)
    assert str(other) not in hidden_of_others(own)
