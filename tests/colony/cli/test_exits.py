"""Every exit status that `colony --help` lists, from a real process. One test a row of `ROWS`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from colony.daemon import LOG
from colony.exits import MEANINGS, Exit
from tests.colony.api.support import PATIENCE, toml, unique
from tests.colony.cli.support import CLEAN, invoke
from tests.ports import free_port

pytestmark = pytest.mark.real_time

HOST = ("--network", "host", "--proxy", "embedded", "--dns", "none")


class Place:
    """A folder with a colony.toml, and commands in it that share one instance."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "run"

    def write(self, command: str = "sleep 1000", folder: str = "one") -> str:
        """A colony.toml, by its path."""
        file = self.folder / folder / "colony.toml"
        file.parent.mkdir(exist_ok=True)
        file.write_text(toml(unique(), {"web": {"command": command}}))
        return str(file)

    def start(self, *words: str, path: str | None = None) -> subprocess.Popen[str]:
        """A command that runs."""
        env = {name: value for name, value in os.environ.items() if name not in CLEAN}
        env |= {"COLONY_RUNTIME_DIR": str(self.runtime), "COLONY_HOME": str(self.folder / "home")}
        return subprocess.Popen(
            [sys.executable, "-m", "colony", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self.folder,
            env=env | ({} if path is None else {"PATH": path}),
            text=True,
        )

    def status(self, *words: str, path: str | None = None) -> int:
        """A command's exit status."""
        with self.start(*words, path=path) as process:
            said, _ = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in said
        return process.returncode

    @contextmanager
    def running(self, *options: str, file: str | None = None) -> Iterator[subprocess.Popen[str]]:
        """A `colony run` whose service is up; told to end at the end, if it runs still."""
        with self.start("run", *options, file or self.write()) as process:
            try:
                assert process.stdout is not None
                for line in process.stdout:
                    if " pid " in line:
                        break
                yield process
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.communicate(timeout=PATIENCE)

    def hosting(self) -> tuple[str, ...]:
        return (*HOST, "--http-port", str(free_port()))

    def ended_by(self, number: signal.Signals) -> int:
        """The exit status of a run that a signal ends."""
        with self.running(*self.hosting()) as run:
            run.send_signal(number)
            run.communicate(timeout=PATIENCE)
        return run.returncode


def conflict(place: Place) -> int:
    file = place.write()
    with place.running(*place.hosting(), file=file):
        text = Path(file).read_text().replace("sleep 1000", "sleep 1001")
        Path(file).write_text(text)
        return place.status("-f", file, "up", "-d")


def not_found(place: Place) -> int:
    with place.running(*place.hosting()):
        return place.status("ps", "nope")


def timeout(place: Place) -> int:
    file = place.write()
    with place.running(*place.hosting(), file=file):
        return place.status("-f", file, "wait", "web", "--for", "log=never", "--timeout", "50ms")


def not_provided(place: Place) -> int:
    file = place.write()
    text = Path(file).read_text().replace("[colony]", '[colony]\nenvironment.setup = "exit 3"')
    Path(file).write_text(text)
    ended = place.status("run", *place.hosting(), file)
    with place.running(*place.hosting(), file=place.write(folder="two")):
        assert place.status("-f", file, "up", "-d") == ended
        assert place.status("run", file) == ended
    return ended


ROWS: dict[Exit, Callable[[Place], int]] = {
    Exit.OK: lambda p: p.status("version"),
    Exit.FAILED: lambda p: p.status("run", *p.hosting(), p.write("exit 3")),
    Exit.WRONG: lambda p: p.status("run", *p.hosting(), p.write("")),
    Exit.UNREACHABLE: lambda p: p.status("ls"),
    Exit.NOT_FOUND: not_found,
    Exit.CONFLICT: conflict,
    Exit.NOT_PROVIDED: not_provided,
    Exit.REFUSED: lambda p: p.status("run", "--proxy", "caddy", p.write(), path="/nowhere"),
    Exit.TIMEOUT: timeout,
    Exit.HANGUP: lambda p: p.ended_by(signal.SIGHUP),
    Exit.CTRL_C: lambda p: p.ended_by(signal.SIGINT),
    Exit.TERMINATED: lambda p: p.ended_by(signal.SIGTERM),
}


@pytest.mark.parametrize("code", ROWS, ids=lambda code: code.name)
def test_the_exit_status_is_what_the_help_says(tmp_path: Path, code: Exit) -> None:
    assert ROWS[code](Place(tmp_path)) == code


def test_the_help_lists_every_status_and_each_has_a_test() -> None:
    assert set(MEANINGS) == set(Exit) == set(ROWS)


def test_a_wish_that_cannot_be_met_says_what_to_do(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.start("run", "--proxy", "caddy", place.write(), path="/nowhere") as run:
        said, _ = run.communicate(timeout=PATIENCE)
    assert said == (
        "error: --proxy caddy: there is no caddy on this machine; install it "
        "(apt-get install caddy), or use --proxy embedded\n"
    )


def test_the_daemon_is_refused_likewise(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.status("daemon", "start", "--proxy", "caddy", path="/nowhere") == Exit.REFUSED


def test_a_run_that_joined_stops_its_own_when_its_terminal_is_closed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.running(*place.hosting()) as first:
        with place.running(file=place.write(folder="two")) as second:
            second.send_signal(signal.SIGHUP)
            second.communicate(timeout=PATIENCE)
        assert second.returncode == Exit.HANGUP
        with place.start("ls") as ls:
            listed, _ = ls.communicate(timeout=PATIENCE)
        assert [line.split()[0] for line in listed.splitlines()[1:]] == [
            name_of(place.folder / "one" / "colony.toml")
        ]
    assert first.returncode == Exit.CTRL_C


def name_of(file: Path) -> str:
    return file.read_text().split('name = "')[1].split('"')[0]


def test_a_hangup_that_is_ignored_stays_so(tmp_path: Path) -> None:
    """As under `nohup`."""
    place = Place(tmp_path)
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with place.running(*place.hosting()) as run:
            run.send_signal(signal.SIGHUP)
            assert place.status("ls") == 0
            run.send_signal(signal.SIGTERM)
            run.communicate(timeout=PATIENCE)
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert run.returncode == Exit.TERMINATED


def test_the_background_ends_in_order_at_a_hangup(tmp_path: Path) -> None:
    place = Place(tmp_path)
    options = (*place.hosting(), "--foreground")
    with place.start("daemon", "start", *options) as daemon:
        assert daemon.stdout is not None
        for line in daemon.stdout:
            if "the API is served" in line:
                break
        daemon.send_signal(signal.SIGHUP)
        said, _ = daemon.communicate(timeout=PATIENCE)
    assert daemon.returncode == 0
    assert "told to end by SIGHUP" in said
    assert not (place.runtime / "colony.sock").exists()


@pytest.mark.parametrize("words", [("up", "-d"), ("daemon", "start")])
@pytest.mark.parametrize(
    ("ended", "code"), [(8, Exit.REFUSED), (1, Exit.FAILED), (-9, Exit.FAILED)]
)
def test_an_instance_that_cannot_be_started_ends_the_command_as_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], ended: int, code: Exit
) -> None:
    """What stands for Python here ends at once, as an instance does that is impossible."""
    how = f"exit {ended}" if ended >= 0 else f"kill {ended} $$"
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho 'error: it is not to be' >&2\n{how}\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    file = Path(Place(tmp_path).write())
    ran = invoke("-f", str(file), *words, runtime=tmp_path / "run")
    said = "error: the instance ended at once: it is not to be\n"
    assert (ran.status, ran.err, ran.out) == (code, said, "")


def test_what_the_daemon_has_to_read_comes_as_json_too(tmp_path: Path) -> None:
    place = Place(tmp_path)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / LOG).write_text("one\ntwo\nthree\n")
    with place.start("daemon", "logs", "-n", "2", "--json") as logs:
        assert json.loads(logs.communicate(timeout=PATIENCE)[0]) == {"lines": ["two", "three"]}
    with place.start("daemon", "token") as plain:
        said = plain.communicate(timeout=PATIENCE)[0].strip()
    with place.start("daemon", "token", "--json") as token:
        assert json.loads(token.communicate(timeout=PATIENCE)[0]) == {"token": said}
