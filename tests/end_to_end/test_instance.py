"""One instance, many `colony run`s: who joins, who leaves, and what the others see of it."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from colony.client import Address, Client, path_of
from colony.run import ECHO
from tests.end_to_end.colonies import Run, Shop, alive, eventually, page, root_only

pytestmark = root_only


def client(shop: Shop) -> Client:
    return Client(Address(shop.runtime / "colony.sock"))


def names(shop: Shop) -> list[str]:
    return [each["name"] for each in client(shop).get("/api/colonies")]


def first(shop: Shop) -> Run:
    run = shop.run(shop.colony({"web": page("first")}))
    run.ready()
    return run


def test_a_second_run_joins_shows_its_lines_and_stops_only_its_own(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    two.expect(r"^✓ namespace")
    two.expect(r"^web \| second listens")
    assert not two.out.find("caddy", 1)
    assert names(shop) == [one.colonies[0].name, two.colonies[0].name]
    assert not one.out.find(two.colonies[0].name, 1)
    assert two.stop() == 130
    two.expect(rf"^■ {two.colonies[0].name} stopping")
    two.expect(r"^✓ namespace .* removed")
    assert names(shop) == [one.colonies[0].name]
    assert one.stop() == 130


def test_a_colony_is_shown_and_stopped_though_its_folder_was_removed(shop: Shop) -> None:
    made = shop.colony({"job": {"command": ["sleep", "1000"]}})
    folder = made.file.parent
    run = shop.run(made._replace(file=Path(made.file.name)), prefix=("env", "-C", str(folder)))
    run.ready("job")
    shutil.rmtree(folder)
    path = path_of("colonies", made.name)
    found = client(shop).get(path)
    assert (found["path"], found["state"]) == (str(made.file), "running")
    # A client in that folder finds no file, and says why.
    shell = f"mkdir gone; cd gone; rmdir ../gone; exec {sys.executable} -m colony ps"
    told = subprocess.run(
        ["sh", "-c", shell], capture_output=True, cwd=shop.folder, env=shop.environment()
    )
    assert told.returncode == 2
    assert told.stderr.decode() == (
        "error: the folder that you are in has been removed\n  = help: go to another one: cd\n"
    )
    assert client(shop).delete(path)["state"] == "stopped"
    assert run.wait() == 0


def test_the_host_stays_for_those_who_joined_until_it_is_told_again(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    one.send(signal.SIGINT)
    one.expect(rf"still here for {two.colonies[0].name}")
    pid = two.service_pid()
    assert two.stop(signal.SIGTERM) == 143
    assert one.wait() == 130
    assert not alive(pid)


def test_a_colony_that_joined_and_gives_up_says_why(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"bad": {"command": "echo because; exit 3"}}))
    assert two.wait() == 1
    two.expect_error(rf"^error: colony {two.colonies[0].name} gave up: bad needed more than")
    two.expect_error(r"^  bad \| because")
    assert one.stop() == 130


def test_when_the_instance_is_killed_the_joined_say_so_in_one_line_and_exit_4(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    one.send(signal.SIGKILL)
    one.wait()
    assert two.wait() == 4
    assert [line for line in two.err.all() if line] == [
        f"error: the instance at {shop.runtime}/colony.sock has gone, and its colonies with it"
    ]
    # The next one finds the dead one's socket, takes its place and cleans up.
    three = first(shop)
    assert three.stop() == 130


def test_one_that_joined_does_not_wait_for_an_instance_that_ctrl_z_has_stopped(
    shop: Shop,
) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    one.send(signal.SIGSTOP)
    two.send(signal.SIGINT)
    assert two.wait() == 4
    two.expect_error(f"^error: the instance, pid {one.pid}, has been stopped by a signal")
    # What was asked for is done as soon as it can be.
    one.send(signal.SIGCONT)
    assert eventually(lambda: names(shop) == [one.colonies[0].name])
    assert one.stop() == 130


def test_when_the_host_stops_all_in_order_the_joined_end_in_order(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    one.send(signal.SIGINT)
    one.expect("still here for")
    time.sleep(ECHO)  # within which a second signal is taken for an echo of the first
    one.send(signal.SIGINT)
    assert (one.wait(), two.wait()) == (130, 0)
    two.expect(rf"^· {two.colonies[0].name} was stopped, with the instance$")
    assert two.err.all() == []


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [("exit 7", 7, "exit code 7"), ("kill -KILL $$", 137, "killed by SIGKILL")],
)
def test_one_that_joined_ends_with_the_code_of_the_service_that_ends_it(
    shop: Shop, end: str, code: int, words: str
) -> None:
    one = first(shop)
    job = {"command": f"sleep 0.3; {end}", "exit_colony": True, "restart": "temporary"}
    two = shop.run(shop.colony({"web": page("second"), "job": job}))
    assert two.wait() == code
    two.expect(rf"job, with which it ends, has ended: {words}")
    assert two.err.all() == []
    assert one.stop() == 130


def test_one_that_joined_follows_its_colony_over_a_restart_of_the_whole(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    pid = two.service_pid()
    client(shop).post(path_of("colonies", two.colonies[0].name, "restart"))
    two.ready(nth=2)
    assert two.service_pid(nth=2) != pid
    assert two.stop() == 130
    assert one.stop() == 130


def known_to(pid: int) -> list[str]:
    """The processes that a process has descriptors of; -1 for each that is no more."""
    found = []
    for fd in Path(f"/proc/{pid}/fdinfo").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += re.findall(r"^Pid:\t(.*)$", fd.read_text(), re.MULTILINE)
    return found


def sleepers(shop: Shop) -> int:
    """How many of this test's processes sleep."""
    return sum(Path(f"/proc/{pid}/comm").read_text() == "sleep\n" for pid in shop.processes())


def test_the_colony_of_one_that_joined_and_is_killed_is_stopped_by_the_instance(
    shop: Shop,
) -> None:
    one = first(shop)
    stray = {"command": "setsid sleep 600 & exec sleep 601"}
    two = shop.run(shop.colony({"web": page("second"), "stray": stray}))
    two.ready()
    pid = two.service_pid()
    eventually(lambda: sleepers(shop) == 2)
    assert known_to(one.pid).count(str(two.pid)) == 1
    assert two.stop(signal.SIGKILL) == 128 + signal.SIGKILL
    name = two.colonies[0].name
    one.expect(f"the run of {name}, pid {two.pid}, is gone: its colony is stopped$")
    eventually(lambda: names(shop) == [one.colonies[0].name])
    assert not alive(pid)
    eventually(lambda: sleepers(shop) == 0)
    eventually(lambda: not {str(two.pid), "-1"} & set(known_to(one.pid)))
    assert alive(one.service_pid())
    assert one.stop() == 130


def test_a_restart_of_the_whole_leaves_a_colony_bound_to_the_run_that_joined(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    client(shop).post(path_of("colonies", two.colonies[0].name, "restart"))
    two.ready(nth=2)
    pid = two.service_pid(nth=2)
    two.stop(signal.SIGKILL)
    eventually(lambda: names(shop) == [one.colonies[0].name])
    assert not alive(pid)
    assert one.stop() == 130


def test_the_host_does_not_stay_for_one_that_joined_and_was_killed(shop: Shop) -> None:
    one = first(shop)
    two = shop.run(shop.colony({"web": page("second")}))
    two.ready()
    pid = two.service_pid()
    one.send(signal.SIGINT)
    one.expect(rf"still here for {two.colonies[0].name}")
    two.stop(signal.SIGKILL)
    assert one.wait() == 130
    assert not alive(pid)


def test_a_follower_of_logs_notices_the_end_of_the_instance(shop: Shop) -> None:
    one = first(shop)
    command = [sys.executable, "-m", "colony", "logs", "-f", "-c", one.colonies[0].name]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=shop.environment(),
        cwd=shop.folder,
        text=True,
    ) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline().startswith("first listens")
        one.send(signal.SIGKILL)
        one.wait()
        _, error = follower.communicate()
        assert follower.returncode == 4
        assert error.startswith("error: the instance at ")
        assert len(error.splitlines()) == 1
    assert first(shop).stop() == 130


def test_the_same_colony_again_is_followed_and_left_running(shop: Shop) -> None:
    one = first(shop)
    again = shop.run(one.colonies[0])
    again.expect(r"runs already; following it \(Ctrl-C leaves it running\)")
    assert again.stop() == 130
    assert names(shop) == [one.colonies[0].name]
    assert one.stop() == 130


def test_a_thousand_clients_follow_one_colonys_logs(shop: Shop) -> None:
    script = "sleep 1; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done"
    few = (
        "prlimit",
        "--nofile=256:4096",
    )  # as a shell gives it that has 256 files and may have more
    one = shop.run(shop.colony({"talk": {"command": script}}), prefix=few)
    one.expect(r"^✓ talk +pid")
    name, asks = one.colonies[0].name, client(shop)
    path, query = path_of("colonies", name, "logs"), {"follow": True, "tail": 0}
    streams = [asks.stream(path, query) for _ in range(1000)]
    try:
        assert asks.get("/api/health")["subscribers"] == 1000
        for stream in streams:
            assert any(line for line in stream.lines())
    finally:
        for stream in streams:
            stream.close()
    eventually(lambda: asks.get("/api/health")["subscribers"] == 0)
    assert one.stop() == 130


def test_services_and_commands_have_the_limit_of_open_files_that_the_shell_gave(shop: Shop) -> None:
    # It is given back right after the start: a shell that asks first of all may be quicker.
    wait = 'until [ "$(ulimit -Sn)" = 256 ]; do sleep 0.01; done; ulimit -Sn; '
    says = {"command": f"{wait} ulimit -Hn; exec sleep 1000"}
    one = shop.run(shop.colony({"says": says}), prefix=("prlimit", "--nofile=256:4096"))
    one.expect(r"^says \| 256$")
    one.expect(r"^says \| 4096$")
    done = client(shop).post(
        path_of("colonies", one.colonies[0].name, "exec"),
        {"argv": ["sh", "-c", wait]},
    )
    assert done["stdout"] == "256\n"
    limits = Path(f"/proc/{one.pid}/limits").read_text()
    assert re.search(r"^Max open files +4096 +4096 ", limits, re.MULTILINE)
    assert one.stop() == 130


def test_up_starts_an_instance_in_the_background_and_stop_ends_it(
    shop: Shop, tmp_path: Path
) -> None:
    colony = shop.colony({"web": page("hello")})
    env = shop.environment() | {"COLONY_HOME": str(tmp_path / "home")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "colony", *words],
            capture_output=True,
            text=True,
            env=env,
            cwd=colony.file.parent,
        )

    up = run("up", "-d", "--wait")
    shop.note_instances()
    assert (up.returncode, "an instance was started in the background" in up.stderr) == (0, True)
    assert run("down").stdout == f"{colony.name}  ■ stopped\n"
    stopped = run("daemon", "stop")
    assert (stopped.returncode, stopped.stdout) == (0, "stopped\n")
    assert run("daemon", "status").returncode == 4
