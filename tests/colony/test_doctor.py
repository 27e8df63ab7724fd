"""What a machine has and lacks, asked of false machines: other programs on PATH, other folders."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from colony import doctor
from colony.doctor import Finding, examine, fix, remedy
from netns.instance import DeadInstance
from tests.colony.cli.support import Ran, invoke
from tests.netns.support import in_own_network

CLAIM = """
import os, pathlib, signal, sys
from netns.instance import Instance
Instance.claim(pathlib.Path(sys.argv[1]))
os.kill(os.getpid(), signal.SIGKILL)
"""


LISTEN = """
import os, signal, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
os.kill(os.getpid(), signal.SIGSTOP)
"""


def program(folder: Path, name: str, script: str) -> None:
    """A program of this name in a folder."""
    folder.mkdir(exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Leaves just these checks."""
    checks = [check for check in doctor.CHECKS if check.__name__.strip("_") in names]
    assert len(checks) == len(names)
    monkeypatch.setattr(doctor, "CHECKS", tuple(checks))


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("COLONY_RUNTIME_DIR", str(tmp_path / "run"))
    return folder


@pytest.mark.parametrize(
    ("script", "level", "words"),
    [
        ("echo 2.6.2", "ok", "2.6.2: --caddy-routes is dynamic"),
        ("echo v2.6.2 h1:x", "ok", "2.6.2: --caddy-routes is dynamic"),
        ("echo v2.10.0 h1:x", "ok", "/bin/caddy"),
        ("echo nonsense", "ok", "unknown: --caddy-routes is dynamic"),
    ],
)
def test_caddy_by_its_version(
    shelf: Path, monkeypatch: pytest.MonkeyPatch, script: str, level: str, words: str
) -> None:
    only(monkeypatch, "caddy")
    program(shelf, "caddy", script)
    [found] = examine()
    assert (found.name, found.level) == ("caddy", level)
    assert words in found.text


def test_what_is_not_installed_can_be(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "caddy")
    [found] = examine()
    assert found.level == "note"
    assert found.command == ("apt-get", "install", "-y", "caddy")
    assert remedy(found) == "run `apt-get install -y caddy`"
    assert not fix(found._replace(command=("/bin/false",)))


def test_a_check_that_breaks_is_a_finding_and_stops_no_other(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def _broken() -> Finding:
        raise OSError("no such luck")

    monkeypatch.setattr(doctor, "CHECKS", (_broken, doctor._disk))
    broken, disk = examine()
    assert broken == Finding("broken", "problem", "cannot be told: no such luck")
    assert disk.name == "disk"


def test_a_full_disk_is_a_problem(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "disk")
    monkeypatch.setattr(doctor, "DISK_LEAST", 1 << 62)
    [found] = examine()
    assert (found.level, found.fix, remedy(found)) == ("problem", "make room", "")


def test_every_check_gives_a_finding_of_its_own() -> None:
    names = [found.name for found in examine()]
    assert len(set(names)) == len(doctor.CHECKS)


# -- the command -----------------------------------------------------------------------------------


def run(shelf: Path, *words: str) -> Ran:
    runtime = shelf.parent / "run"
    return invoke("doctor", *words, runtime=runtime, env={"PATH": str(shelf)})


def test_notes_are_no_failure_and_problems_are(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "caddy", "disk")
    well = run(shelf)
    assert well.status == 0
    assert well.lines[0].startswith("· caddy      not installed")
    assert well.lines[1] == "             apt-get install caddy"
    monkeypatch.setattr(doctor, "DISK_LEAST", 1 << 62)
    ill = run(shelf, "--json")
    assert ill.status == 1
    assert [each["level"] for each in ill.json] == ["note", "problem"]
    assert set(ill.json[0]) == {"name", "level", "text", "fix", "command"}


def test_fix_runs_the_command_and_looks_again(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "caddy")
    script = f'echo "$@" >{shelf}/asked\nprintf "#!/bin/sh\\necho v2.8.4\\n" >{shelf}/caddy\n'
    program(shelf, "apt-get", f"{script}/bin/chmod +x {shelf}/caddy\necho installed")
    ran = run(shelf, "--fix", "--json")
    assert (shelf / "asked").read_text() == "install -y caddy\n"
    assert [(each["name"], each["level"]) for each in ran.json] == [("caddy", "ok")]
    assert ran.err.splitlines()[0] == "run `apt-get install -y caddy`"


def test_a_fix_that_fails_is_told(shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "caddy")
    program(shelf, "apt-get", "exit 100")
    ran = run(shelf, "--fix")
    assert (ran.status, ran.err.splitlines()[-1]) == (0, "caddy: that did not work")
    assert ran.out.count("caddy ") == 2


def test_what_a_dead_instance_left_is_found_and_removed(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "leftovers")
    for module in ("netns.lost", "netns.reap"):  # of the whole machine: other tests' as well
        monkeypatch.setattr(f"{module}.lost_instances", list)
    runtime = shelf.parent / "run"
    runtime.mkdir(mode=0o700)
    dead = subprocess.run([sys.executable, "-c", CLAIM, str(runtime)], env={**os.environ})
    assert dead.returncode == -signal.SIGKILL
    [folder] = (each for each in (runtime / "instances").iterdir() if each.is_dir())
    found = run(shelf, "--json")
    assert found.status == 1
    assert found.json[0]["text"] == f"of dead instances: {folder.name}"
    assert folder.is_dir()
    fixed = run(shelf, "--fix", "--json")
    assert (fixed.status, fixed.err) == (0, "remove the leftovers\n")
    assert json.loads(fixed.out)[0]["text"] == "nothing is left of instances that died"
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="changes packet rules, of a network of its own: root")
def test_whose_packet_rules_end_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "way_out")
    rules = Path(__file__).parents[1] / "end_to_end" / "rules" / "docker.nft"
    found: list[Finding] = []

    def look() -> None:
        found.extend(examine())
        subprocess.run(["nft", "-f", str(rules)], check=True)
        found.extend(examine())

    in_own_network(look)
    opens = " && ".join(f"iptables -I DOCKER-USER {way} vc+ -j ACCEPT" for way in ("-i", "-o"))
    told = "chain FORWARD of table ip filter drops what colonies send out (not what comes in)"
    assert found == [
        Finding("way out", "ok", "the host's own"),
        Finding("way out", "note", told, opens),
    ]


def test_who_is_named_of_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "audit")
    monkeypatch.setattr("netns.callers.reason_against", lambda: "")
    monkeypatch.setattr("netns.callers.reason_against_udp", lambda: "")
    [found] = examine()
    assert (found.name, found.level, found.fix) == ("audit", "ok", "")
    monkeypatch.setattr("netns.callers.reason_against_udp", lambda: "in a container")
    [found] = examine()
    assert (found.level, found.text) == (
        "note",
        "who sent by UDP and has ended is not named: in a container",
    )
    monkeypatch.setattr("netns.callers.reason_against", lambda: "Permission denied")
    [found] = examine()
    assert found.level == "note"
    assert found.text.endswith("no tracepoints (permission denied)")
    assert found.fix.startswith("run Colony as root")


def test_what_died_and_has_no_directory_any_more_is_listed(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "leftovers")
    read, write = os.pipe()
    os.close(write)
    lost = [DeadInstance("a1b2c3", Path("/nonexistent"), read)]
    monkeypatch.setattr("netns.lost.lost_instances", lambda: lost)
    [found] = examine()
    assert (found.level, found.text) == ("problem", "of dead instances: a1b2c3")
    assert "colony doctor --fix removes it" in found.fix


def test_an_instance_that_a_signal_has_stopped_is_a_problem(
    shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "instance")
    assert run(shelf, "--json").status == 0
    runtime = shelf.parent / "run"
    runtime.mkdir(mode=0o700, exist_ok=True)
    argv = [sys.executable, "-I", "-c", LISTEN, str(runtime / "colony.sock")]
    with subprocess.Popen(argv) as instance:
        os.waitid(os.P_PID, instance.pid, os.WSTOPPED)
        found = run(shelf)
        instance.kill()
    assert (found.status, found.lines) == (
        1,
        [
            f"✗ instance   the instance, pid {instance.pid}, has been stopped by a signal, as "
            "Ctrl-Z sends one, and cannot answer",
            f"             let it go on: fg in its terminal, or kill -CONT {instance.pid}",
        ],
    )
