"""A real `colony run` in a test's hands: started, read by lines, signalled, and looked after.

    def test_something(shop: Shop) -> None:
        file = shop.colony(web=page("hello"))
        run = shop.run(file)
        run.expect("ready on port")
        assert get(run.http_port, run.host()).text.startswith("hello")

Law: every test ends by the same question. Whatever it did, `Shop.close` stops what still runs and
then finds nothing on this machine that one of the test's own instances made. Only those are asked
about, so that other Colonies at work on the machine do not disturb.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, TypeVar

import anyio
import pytest

from netns import userns
from netns.instance import dead_instances
from netns.reap import reap
from netns.sweep import find, kill_all_blocking, with_variable
from netns.thread import NetworkThread
from tests.netns.support import traces

T = TypeVar("T")

PATIENCE: Final = 60.0
"""Seconds after which a test gives up waiting; nothing is asserted about how long it took."""

PAUSE: Final = 0.01

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = Path(__file__).parent / "programs"
MARK: Final = "COLONY_TEST_MARK"

UNWANTED: Final = frozenset({"NO_COLOR", "FORCE_COLOR", "PYTHONUNBUFFERED"})
"""Variables that a machine for tests may have and a person has not."""

PORT: Final = 4001
EMBEDDED: Final = ("--proxy", "embedded", "--dns", "embedded")

root_only: Final = pytest.mark.skipif(
    os.geteuid() != 0 and not userns.entered(), reason="makes network namespaces: root"
)

both_doors: Final = pytest.mark.parametrize(
    "door", [pytest.param((), id="caddy"), pytest.param(EMBEDDED, id="embedded")]
)
"""The test runs with real Caddy and dnsmasq, and with the embedded stand-ins."""


# -- what a colony.toml says -------------------------------------------------------------------


def program(name: str, *arguments: object) -> list[str]:
    """The command of a service that is one of the tests' programs."""
    return [sys.executable, "-I", str(PROGRAMS / f"{name}.py"), *map(str, arguments)]


def page(text: str, port: int = PORT, address: str = "0.0.0.0", **more: Any) -> dict[str, Any]:
    """A service that answers with `text` and its process's number."""
    return {"command": program("page", port, text, address), "port": port, **more}


def as_toml(tables: Mapping[str, Mapping[str, Any]]) -> str:
    """Tables of plain values as TOML, whose strings, numbers and arrays are JSON's here."""
    lines: list[str] = []
    for table, entries in tables.items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {_value(value)}" for key, value in entries.items()]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{json.dumps(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inside} }}"
    return json.dumps(value)


class Colony(NamedTuple):
    """A colony.toml that was written for a test."""

    name: str
    file: Path


def host(colony: Colony, port: int = PORT, suffix: str = "colony.local") -> str:
    """The Host header that leads to a service."""
    return f"{colony.name}-{port}.{suffix}"


# -- over real sockets -------------------------------------------------------------------------


class Response(NamedTuple):
    status: int
    text: str

    @property
    def pid(self) -> int:
        """Whose answer it is, of a service made by `page`."""
        return int(self.text.split()[-1])


def get(port: int, host: str, path: str = "/", *, address: str = "127.0.0.1") -> Response:
    """One GET on a connection of its own."""
    connection = http.client.HTTPConnection(address, port, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return Response(response.status, response.read().decode())
    finally:
        connection.close()


def eventually(look: Callable[[], T]) -> T:
    """What `look` returns as soon as it is true of something; asks again until then.

    A refused or broken connection counts as not yet.
    """
    deadline = time.monotonic() + PATIENCE
    seen: object = None
    while time.monotonic() < deadline:
        try:
            seen = found = look()
            if found:
                return found
        except (OSError, http.client.HTTPException) as error:
            seen = error
        time.sleep(PAUSE)
    raise AssertionError(f"it never came to that; the last thing seen was {seen!r}")


def answers(port: int, host: str, text: str) -> Response:
    """The first 200 through the front door whose body begins with `text`."""

    def look() -> Response | None:
        response = get(port, host)
        return response if response.status == 200 and response.text.startswith(text) else None

    found = eventually(look)
    assert found is not None
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """The processes whose parent is this one, while others come and go."""
    found = []
    for other in map(int, filter(str.isdigit, os.listdir("/proc"))):
        with contextlib.suppress(OSError):
            state, parent, *_ = Path(f"/proc/{other}/stat").read_text().rpartition(")")[2].split()
            found += [other] if state != "Z" and parent == str(pid) else []
    return found


# -- a running `colony run` --------------------------------------------------------------------


class Lines:
    """What a process writes, line by line, read by a thread of its own."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._more = threading.Condition()
        self._ended = False
        self._enough = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._stream:
            with self._more:
                self._lines.append(line.decode(errors="replace").rstrip("\n"))
                self._more.notify_all()
                if self._enough:
                    break
        with self._more:
            self._ended = True
            self._more.notify_all()

    def all(self) -> list[str]:
        """The lines so far."""
        with self._more:
            return list(self._lines)

    def find(self, pattern: str, nth: int) -> re.Match[str] | None:
        """The `nth` line so far that matches."""
        matches = [found for line in self.all() if (found := re.search(pattern, line))]
        return matches[nth - 1] if len(matches) >= nth else None

    def wait(self) -> bool:
        """Waits a little for more; False once there will be none."""
        with self._more:
            if not self._ended:
                self._more.wait(PAUSE)
            return not self._ended

    def close_early(self) -> None:
        """Stops reading after the next line, and closes the pipe."""
        self._enough = True
        self.close()

    def close(self) -> None:
        self._thread.join(PATIENCE)
        self._stream.close()


class Run:
    """A `colony run` as a child of the test, in a process group of its own."""

    def __init__(self, shop: Shop, popen: subprocess.Popen[bytes], colonies: Sequence[Colony]):
        assert popen.stdout is not None
        assert popen.stderr is not None
        self.shop = shop
        self.popen = popen
        self.colonies = colonies
        self.out = Lines(popen.stdout)
        self.err = Lines(popen.stderr)

    @property
    def pid(self) -> int:
        return self.popen.pid

    # what it says

    def expect(self, pattern: str, nth: int = 1) -> re.Match[str]:
        """Waits for the `nth` line on stdout that matches."""
        return self._expect(self.out, pattern, nth)

    def expect_error(self, pattern: str, nth: int = 1) -> re.Match[str]:
        """The same on stderr."""
        return self._expect(self.err, pattern, nth)

    def _expect(self, lines: Lines, pattern: str, nth: int) -> re.Match[str]:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            self.shop.note_instances()
            more = lines.wait()
            found = lines.find(pattern, nth)
            if found is not None:
                return found
            if not more:
                break
        raise AssertionError(f"no line like {pattern!r} (number {nth}) in:\n{self.transcript()}")

    def transcript(self) -> str:
        """All that it wrote."""
        return "\n".join([*self.out.all(), "-- stderr --", *self.err.all()])

    def own_lines(self) -> list[str]:
        """Colony's own lines on stdout, without those of the services."""
        return [line for line in self.out.all() if line[:1] in "✓✗↻■·"]

    def ready(self, service: str = "web", nth: int = 1) -> None:
        """Waits until a service listens, for the `nth` time."""
        self.expect(rf"✓ \S*{service} +ready\b", nth)

    @property
    def http_port(self) -> int:
        """Where the front door is, as it says itself."""
        return int(self.expect(r"✓ (?:caddy|embedded) .*\[::1\] port (\d+)")[1])

    @property
    def dns_port(self) -> int:
        return int(self.expect(r"✓ (?:dnsmasq|embedded) .*\.colony\.local .*port (\d+)")[1])

    def service_pid(self, service: str = "web", nth: int = 1) -> int:
        """The process of a service's `nth` life."""
        return int(self.expect(rf"✓ \S*{service} +pid (\d+)", nth)[1])

    # what is done to it

    def send(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Its exit status, as a shell gives it."""
        deadline = time.monotonic() + PATIENCE
        while self.popen.poll() is None:
            self.shop.note_instances()
            if time.monotonic() > deadline:
                raise AssertionError(f"it does not end:\n{self.transcript()}")
            time.sleep(PAUSE)
        self.out.close()
        self.err.close()
        status = self.popen.returncode
        return status if status >= 0 else 128 - status

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ends it by a signal; its exit status."""
        self.send(number)
        return self.wait()


class Shop:
    """What one test needs and makes: a folder, a runtime directory, colonies, runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "run"
        self.mark = secrets.token_hex(8)
        self.names: list[str] = []
        self.runs: list[Run] = []
        self.instances: set[str] = set()

    # making

    def name(self) -> str:
        """A colony's name that nobody else has."""
        self.names.append(f"e2e-{secrets.token_hex(4)}")
        return self.names[-1]

    def colony(
        self, services: Mapping[str, Mapping[str, Any]], **tables: Mapping[str, Any]
    ) -> Colony:
        """Writes a colony.toml with these services into a folder of its own."""
        name = self.name()
        whole: dict[str, Mapping[str, Any]] = {"colony": {"name": name, **tables.pop("colony", {})}}
        whole |= {f"services.{service}": entries for service, entries in services.items()}
        return Colony(name, self.write(as_toml(whole | tables), name))

    def write(self, text: str, folder: str = "broken") -> Path:
        """Writes a colony.toml as it is given."""
        file = self.folder / folder / "colony.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def environment(self) -> dict[str, str]:
        """What `colony run` gets: the test's runtime directory, and a mark to find it by."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("COLONY_")}
        kept |= {"COLONY_RUNTIME_DIR": str(self.runtime), MARK: self.mark}
        kept |= {"COLONY_HOME": str(self.folder / "home")}
        return {key: value for key, value in kept.items() if key not in UNWANTED}

    def run(
        self,
        *colonies: Colony,
        options: Sequence[str] = (),
        prefix: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> Run:
        """Starts `colony run` with these files. `prefix` is what stands before the command."""
        files = [str(colony.file) for colony in colonies]
        popen = subprocess.Popen(
            [*prefix, sys.executable, "-m", "colony", "run", *options, *files],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=self.environment() | dict(env or {}),
            process_group=0,
        )
        run = Run(self, popen, colonies)
        self.runs.append(run)
        return run

    # looking

    def note_instances(self) -> None:
        """Remembers the ids of this test's instances while they live."""
        with contextlib.suppress(OSError):
            found = os.listdir(self.runtime / "instances")
            self.instances.update(name for name in found if re.fullmatch("[0-9a-f]{6}", name))

    def processes(self) -> list[int]:
        """The processes that this test's runs have started, themselves included."""
        rules = [with_variable(MARK, self.mark)]
        rules += [with_variable("COLONY_INSTANCE", instance) for instance in self.instances]
        found = {pid for rule in rules for pid in find(rule)}
        return sorted(pid for pid in found if alive(pid))

    def leftovers(self) -> list[str]:
        """What this test's instances made and is still there, in words."""
        self.note_instances()
        found = [f"process {pid} {_command(pid)}" for pid in self.processes()]
        for instance in self.instances or ["ffffff"]:
            found += traces(instance, self.runtime, *self.names)
        return sorted(set(found))

    # ending

    def close(self) -> None:
        """Stops what runs, looks for what is left, removes it, and then complains about it."""
        try:
            for run in self.runs:
                if run.popen.poll() is None:
                    status = run.stop()
                    assert status == 130, f"status {status} after SIGINT:\n{run.transcript()}"
            left = self.leftovers()
        finally:
            self._clear()
        assert left == []

    def _clear(self) -> None:
        self.note_instances()
        for run in self.runs:
            if run.popen.poll() is None:
                run.popen.kill()
            run.wait()
        kill_all_blocking(with_variable(MARK, self.mark))
        for instance in self.instances:
            kill_all_blocking(with_variable("COLONY_INSTANCE", instance))

        async def clean() -> None:
            async with NetworkThread() as thread:
                for dead in dead_instances(self.runtime):
                    await reap(thread, dead)

        if os.geteuid() == 0:
            anyio.run(clean)


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "?"
    return b" ".join(words).decode(errors="replace").strip()
