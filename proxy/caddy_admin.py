"""A client of Caddy's admin API, over a unix socket or TCP, the same under asyncio and trio.

One connection per request: Caddy closes those that are idle whenever its configuration changes,
which is what most requests are for. The standard library's client does it in a worker thread; a
request takes a third of a millisecond, or as long as Caddy takes to reload.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import msgspec

from proxy.errors import CaddyError, CaddyUnreachable

_SECONDS: Final = 30.0
"""How long one request may take. A reload of a thousand routes takes 50 ms."""

_ATTEMPTS: Final = 5
_AGAIN_SECONDS: Final = 0.01
_NEVER_READ: Final = (ConnectionError, FileNotFoundError)
"""How a connection ends that came while Caddy put a new admin server in the place of the old one,
as it does after each change. The old one finishes what it has begun to read, so what ended like
this was not read and may be sent again."""

_CUT_SECONDS: Final = 1.0
_CUT_POLL_SECONDS: Final = 0.001
"""How long a cancelled request is waited for at most, and how often it is looked at."""

_NO_PARENT: Final = "invalid traversal path"
"""What Caddy says, with 400, of a path below something that is not there."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self.sock = sock


class _Exchange:
    """One request in a worker thread: `run` there, `end` by whoever waits for it.

    A caller who is cancelled cuts the connection, and then stays until the thread has closed it.
    Only for one that still is on its way to a distant host he does not wait.
    """

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._begun = self._over = False
        self._ended = threading.Event()

    def run(self, method: str, path: str, payload: bytes | None) -> tuple[int, bytes]:
        """The status and the body; nothing that is of use if the caller was cancelled."""
        connection, self._begun = self._connection, True
        headers = {"Content-Type": "application/json"} if payload is not None else {}
        try:
            if not self._over:
                connection.connect()
            if self._over:  # and had no connection to cut
                return 0, b""
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
            self._ended.set()

    async def end(self) -> None:
        """Not cut short by cancel. At once if it has ended."""
        self._over = True
        sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        with anyio.move_on_after(_CUT_SECONDS, shield=True):
            while self._begun and not self._ended.is_set():  # noqa: ASYNC110
                await anyio.sleep(_CUT_POLL_SECONDS)


class CaddyAdmin:
    """The admin API at `address`: `unix//path`, `host:port` or `http://host:port`.

    Raises `ValueError` for any other form. Every request raises `CaddyError` when Caddy refuses it
    and `CaddyUnreachable` when nobody answers. Cancelling one closes its connection; whether Caddy
    then did what was asked is not known.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.unix_path, self.host, self.tcp_port = _parse(address)

    def __repr__(self) -> str:
        return f"<CaddyAdmin {self.address}>"

    @property
    def listen(self) -> str:
        """The address as Caddy's configuration writes it."""
        if self.unix_path:
            return f"unix/{self.unix_path}"
        return f"{self.host}:{self.tcp_port}"

    async def get(self, path: str) -> Any:
        """The configuration at `path`; None where there is none."""
        return await self._request("GET", path)

    async def put(self, path: str, body: object) -> None:
        """Creates what must not be there yet, with its parents."""
        await self._request("PUT", path, body)

    async def patch(self, path: str, body: object) -> None:
        """Replaces what must be there."""
        await self._request("PATCH", path, body)

    async def post(self, path: str, body: object) -> None:
        """Replaces, or appends to a list."""
        await self._request("POST", path, body)

    async def delete(self, path: str) -> None:
        """Removes what must be there."""
        await self._request("DELETE", path)

    async def send(self, method: str, path: str, body: object) -> None:
        """Any request that changes something."""
        await self._request(method, path, body)

    async def _request(self, method: str, path: str, body: object = None) -> Any:
        payload = None if body is None else msgspec.json.encode(body)
        for again in range(_ATTEMPTS - 1, -1, -1):
            try:
                status, answer = await self._exchange(method, path, payload)
                break
            except (OSError, http.client.HTTPException) as error:
                if not again or not isinstance(error, _NEVER_READ):
                    raise CaddyUnreachable(self.address, error) from error
            await anyio.sleep(_AGAIN_SECONDS)
        if status >= 400:
            detail = _detail(answer)
            if method == "GET" and (status == 404 or _NO_PARENT in detail):
                return None
            raise CaddyError(method, path, status, detail)
        return msgspec.json.decode(answer) if answer.strip() else None

    async def _exchange(self, method: str, path: str, payload: bytes | None) -> tuple[int, bytes]:
        exchange = _Exchange(self._connection())
        try:
            return await anyio.to_thread.run_sync(
                exchange.run, method, path, payload, abandon_on_cancel=True
            )
        finally:
            await exchange.end()

    def _connection(self) -> http.client.HTTPConnection:
        if self.unix_path:
            return _UnixConnection(self.unix_path, _SECONDS)
        return http.client.HTTPConnection(self.host, self.tcp_port, timeout=_SECONDS)


def _parse(address: str) -> tuple[str, str, int]:
    if address.startswith("unix/"):
        path = address.removeprefix("unix/")
        if path.startswith("/"):
            return path, "", 0
    else:
        with contextlib.suppress(ValueError):
            url = urlsplit(address if "://" in address else f"http://{address}")
            if url.scheme == "http" and url.hostname and url.port and url.path in ("", "/"):
                return "", url.hostname, url.port
    raise ValueError(
        f"a Caddy admin address is host:port, http://host:port or unix//path, got: {address!r}"
    )


def _detail(answer: bytes) -> str:
    """Caddy's own words, which it wraps in `{"error": …}`."""
    with contextlib.suppress(msgspec.DecodeError):
        wrapped = msgspec.json.decode(answer)
        if isinstance(wrapped, dict) and "error" in wrapped:
            return str(wrapped["error"])
    return answer.decode(errors="replace").strip()
