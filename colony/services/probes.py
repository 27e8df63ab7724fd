"""Asking a service whether it is well: one attempt of each kind.

Every connection is made inside the colony, so that a server on 127.0.0.1 or ::1 alone is reached
like one on 0.0.0.0.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import anyio

from colony.escapes import one_line
from colony.services.plan import Probe, ServicePlan
from netns import Namespace, NetworkThread, spawn
from netns.errors import SpawnError, ThreadClosed

FIRST_PROBE: Final = 0.005
SLOWEST_PROBE: Final = 0.25
PROBE_FACTOR: Final = 1.5
"""Seconds between two looks whether a service is ready: short at first, then longer."""

LATE: Final = 1.15
LONGEST_HEAD_START: Final = 0.05
"""One that took some time to be ready will take about as long again. The first look comes a little
later, after so many seconds at most: those before would be in vain, and take the processor from the
one that is starting; and one in that very moment would come between it and its first visitor."""

SHRINKS: Final = 0.98
"""What is left of that expectation if the look was good: maybe it had been ready for long."""

LONGEST_WORDS: Final = 200
"""Letters of what a probe has written that are quoted."""

_PIPE: Final = 64 * 1024
_KEPT: Final = 4096
_HEAD: Final = 4096  # bytes of an answer in which its status line must end
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")
_INTERIM: Final = re.compile(rb"HTTP/1\.[01] 1(?!01)\d\d")
_INTERIM_HEADS: Final = re.compile(rb"(?:HTTP/1\.[01] 1(?!01)\d\d.*?\n\r?\n)+", re.DOTALL)
"""What may come before the answer, such as 103 Early Hints."""
_LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))


def pauses(probe: Probe, took: float = 0.0) -> Iterator[float]:
    """Seconds before each look whether a service is ready, without end.

    took
        Seconds from its start until it was ready, the last time. Default: it was not yet.
    """
    if probe.interval is not None:
        yield 0.0
        while True:
            yield probe.interval
    yield max(FIRST_PROBE, min(LATE * took, LONGEST_HEAD_START))
    pause = FIRST_PROBE
    while True:
        yield pause
        pause = min(pause * PROBE_FACTOR, SLOWEST_PROBE)


def expected(took: float, looks: int, pause: float) -> float:
    """How long it will take the next time: `took` of `pauses`.

    took, looks, pause
        Seconds until a look was good, how many looks that took, and the seconds before the last.
    """
    return pause / LATE * SHRINKS if looks == 1 else took


class Prober:
    """Asks one service. `env` is its environment, for probes that are programs."""

    def __init__(
        self, plan: ServicePlan, thread: NetworkThread, place: Namespace | None, env: dict[str, str]
    ) -> None:
        self.plan = plan
        self.thread = thread
        self.place = place
        self.env = env

    def __repr__(self) -> str:
        return f"<Prober of {self.plan.colony}/{self.plan.service}>"

    async def attempt(self, probe: Probe) -> str:
        """Why it is not well, in words; "" if it is. Cancelling leaves nothing behind."""
        with anyio.move_on_after(probe.timeout):
            try:
                match probe.kind:
                    case "tcp":
                        return await self._tcp(probe.port)
                    case "http":
                        return await self._http(probe.port, probe.path)
                    case "exec":
                        return await self._exec(probe)
                    case _:
                        return ""
            except OSError as error:
                said = error.strerror or str(error)
                return said if str(probe) in said else f"{probe}: {said}"
            except (SpawnError, ThreadClosed) as error:  # the network's owner comes back
                return str(error)
        return f"{probe}: no answer within {probe.timeout:g} s"

    async def _tcp(self, port: int) -> str:
        (await self._connect(port)).close()
        return ""

    async def _http(self, port: int, path: str) -> str:
        with contextlib.closing(await self._connect(port)) as connection:
            host = f"localhost:{port}"
            request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
            connection.send(request.encode())  # a fresh socket's buffer takes it whole
            head = b""
            while (b"\n" not in head or _INTERIM.match(head)) and len(head) < _HEAD:
                await anyio.wait_readable(connection)
                data = connection.recv(_HEAD)
                if not data:
                    break
                head = _without_interim(head + data)
        found = _STATUS.match(head)
        if found is None:
            return f"GET {path} on port {port}: no HTTP answer"
        status = int(found[1])
        return "" if 200 <= status < 400 else f"GET {path} on port {port} answers {status}"

    async def _exec(self, probe: Probe) -> str:
        why = await self.run(probe.argv, self.env)
        return f"{str(probe)!r}: {why}" if why else ""

    async def run(self, argv: Sequence[str], env: Mapping[str, str]) -> str:
        """Runs a program where the service runs: how it failed, and the last line that it wrote; ""
        if it did not. Raises `SpawnError`. Cancelling ends it."""
        with Words() as words:
            process = await spawn(
                self.thread,
                argv,
                namespace=self.place,
                instance=self.plan.instance,
                cwd=self.plan.cwd,
                env=env,
                stdout=words.theirs,
                stderr=words.theirs,
            )
            async with process, anyio.create_task_group() as beside:
                beside.start_soon(words.listen)
                status = await process.wait()
                beside.cancel_scope.cancel()
            said = words.last()
        return "" if status.ok else f"{status}{said and f': {said}'}"

    async def _connect(self, port: int) -> socket.socket:
        """A connection to the service, wherever it listens. Raises `OSError`."""
        if self.place is not None:
            return await self.thread.connect(self.place, port, self.place.address.v4)
        error: OSError | None = None
        for family, address in _LOOPBACK:
            try:
                return await _connect(family, address, port)
            except OSError as refused:
                error = error or refused
        assert error is not None
        raise error


class Words:
    """A pipe for what a program says, of which the end is kept. A context that closes it.

    theirs
        What the program is to write to.
    """

    def __init__(self) -> None:
        self._ours, self.theirs = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._ours, False)  # the other end blocks: most programs expect that
        self._kept = b""

    def __repr__(self) -> str:
        return f"<Words {self._kept!r}>"

    def __enter__(self) -> Words:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._ours)
        os.close(self.theirs)

    async def listen(self) -> None:
        """Takes what comes, so that the program need not wait, until cancelled."""
        while True:
            await anyio.wait_readable(self._ours)
            self._take()

    def last(self) -> str:
        """Its last line, shortened; "" if it has said nothing."""
        self._take()
        return one_line(self._kept.decode("utf-8", "replace"), LONGEST_WORDS)

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._kept = (self._kept + os.read(self._ours, _PIPE))[-_KEPT:]


def _without_interim(head: bytes) -> bytes:
    """What has come of an answer, without the informational ones before it that are complete."""
    found = _INTERIM_HEADS.match(head)
    return head[found.end() :] if found else head


async def _connect(family: int, address: str, port: int) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(BlockingIOError):
            connection.connect((address, port))
        await anyio.wait_writable(connection)
        number = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise ConnectionRefusedError(number, f"nothing listens on port {port}")
    except BaseException:
        connection.close()
        raise
    return connection
