"""The API's client for the command line: standard library alone, over the instance's socket.

    client = Client.find()                      # $COLONY_HOST, else the runtime directory's socket
    for colony in client.get("/api/colonies"):
        print(colony["name"], colony["state"])

Values are as JSON has them. Four things go wrong, each with an error of its own: nobody answers
(`Unreachable`), nor can while the instance is stopped by a signal (`Paused`), the instance says no
(`Problem`), it goes away while it answers (`Gone`).
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlencode

from colony.http1 import Body, Broken, Head, ResponseParser, request
from colony.paths import home_directory, socket_path

CONNECT_TIMEOUT: Final = 5.0
"""Seconds in which the instance has to take a connection."""

SILENCE: Final = 1.0
"""Seconds without an answer after which it is looked whether the instance is stopped by a signal.
There is no other limit: a service may take its time to end."""

_PIECE: Final = 64 * 1024
_CREDENTIALS: Final = struct.Struct("=iII")  # struct ucred: the number of a process, user, group

Query = Mapping[str, object]


class ClientError(Exception):
    """The base of what goes wrong between a client and an instance. One line, for the user."""


class Unreachable(ClientError):
    """Nobody answers at the address."""


class Paused(ClientError):
    """The instance is there, and cannot answer before somebody lets it go on."""


class Gone(ClientError):
    """The instance went away in the midst of an answer."""


class Problem(ClientError):
    """The instance says no: `data` is the problem as the API gives it."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data
        super().__init__(str(data.get("detail") or data.get("title") or "an unknown problem"))

    @property
    def status(self) -> int:
        return int(self.data.get("status", 0))

    @property
    def code(self) -> str:
        """The kind of problem, as `not_found`."""
        return str(self.data.get("code", ""))

    @property
    def help(self) -> str:
        """What to do; "" for nothing."""
        return str(self.data.get("help", ""))


class Address:
    """Where an instance is: a unix socket, or a TCP address with a token."""

    def __init__(self, path: Path | None, host: str = "", port: int = 0, token: str = "") -> None:
        self.path = path
        self.host = host
        self.port = port
        self.token = token

    def __repr__(self) -> str:
        return f"<Address {self}>"

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else f"http://{self.authority}"

    @property
    def authority(self) -> str:
        """What stands in the Host header."""
        if self.path is not None:
            return "colony"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What every request has."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    @classmethod
    def find(cls, wanted: str | None = None) -> Address:
        """`unix:///path`, `/path` or `http://host:port`; default $COLONY_HOST, else our own socket.

        Over TCP the token is $COLONY_TOKEN, else the one in $COLONY_HOME. Raises `ValueError`.
        """
        wanted = wanted or os.environ.get("COLONY_HOST") or None
        if wanted is None:
            return cls(socket_path())
        if wanted.startswith("/"):
            return cls(Path(wanted))
        if wanted.startswith("unix://"):
            return cls(Path(wanted.removeprefix("unix://")))
        scheme, _, rest = wanted.rstrip("/").rpartition("://")
        host, _, port = rest.rpartition(":")
        if scheme not in ("", "http") or not host or not port.isdigit() or "/" in host:
            raise ValueError(
                f"an instance's address is unix:///PATH or http://HOST:PORT, got: {wanted}"
            )
        return cls(None, host.strip("[]"), int(port), token())


def token() -> str:
    """The token for TCP: $COLONY_TOKEN, else what $COLONY_HOME holds, else ""."""
    if os.environ.get("COLONY_TOKEN"):
        return os.environ["COLONY_TOKEN"]
    try:
        return (home_directory() / "token").read_text().strip()
    except OSError:
        return ""


class Client:
    """Asks one instance. A connection for each request; `close` is not needed."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def __repr__(self) -> str:
        return f"<Client of {self.address}>"

    @classmethod
    def find(cls, wanted: str | None = None) -> Client:
        """The client of the instance at an address, as for `Address.find`."""
        return cls(Address.find(wanted))

    def get(self, path: str, query: Query | None = None) -> Any:
        """The answer to a GET."""
        return self.ask("GET", path, query)

    def post(self, path: str, body: Any = None, query: Query | None = None) -> Any:
        """The answer to a POST."""
        return self.ask("POST", path, query, body)

    def delete(self, path: str, query: Query | None = None) -> Any:
        """The answer to a DELETE."""
        return self.ask("DELETE", path, query)

    def ask(self, method: str, path: str, query: Query | None = None, body: Any = None) -> Any:
        """One request and its answer. Raises `Unreachable`, `Paused`, `Problem` or `Gone`."""
        stream = Stream(self.address, method, path, query, body)
        with stream:
            return json.loads(b"".join(stream) or b"null")

    def stream(
        self, path: str, query: Query | None = None, *, method: str = "GET", body: Any = None
    ) -> Stream:
        """An answer that goes on. Raises as `ask` does; `Gone` also while it is read."""
        return Stream(self.address, method, path, query, body)

    def events(self, query: Query | None = None) -> Iterator[dict[str, Any]]:
        """What happens, as the API's events; `type` "gap" where some were lost."""
        with self.stream("/api/events", query) as stream:
            yield from parsed_events(stream.lines())

    def answers(self) -> bool:
        """Whether an instance is there. Raises `Paused`."""
        try:
            self.get("/api/version")
        except (Unreachable, Gone):
            return False
        return True


class Held:
    """Owns a connection, as a context: what has one in common with the others."""

    _socket: socket.socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection, and at the other side what is only for us. Twice is no error."""
        self._socket.close()

    def fileno(self) -> int:
        """The connection's descriptor, to wait for it beside others."""
        return self._socket.fileno()


class Stream(Held):
    """The body of an answer, in pieces as they come. A context that ends the connection."""

    def __init__(
        self, address: Address, method: str, path: str, query: Query | None, body: Any
    ) -> None:
        self._address = address
        self._parser = ResponseParser(method)
        self._pieces: list[bytes] = []
        self._socket = connected(address)
        try:
            self._socket.sendall(encoded(address, method, path, query, body))
            self._begin()
        except (OSError, Broken) as error:
            self.close()
            raise self._gone(error) from None
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        return f"<Stream of {self._address}>"

    @property
    def waiting(self) -> bool:
        """Whether there is something to take without the connection's being readable."""
        return bool(self._pieces) or self._parser.complete

    def __iter__(self) -> Iterator[bytes]:
        """The pieces of the body. Raises `Gone` if the instance goes away before its end."""
        while True:
            pieces, self._pieces = self._pieces, []
            yield from pieces
            if self._parser.complete:
                return
            try:
                self._receive()
            except (OSError, Broken) as error:
                raise self._gone(error) from None

    def take(self) -> bytes | None:
        """What has come, waiting for it if nothing has; None at the end. Raises `Gone`."""
        if not self.waiting:
            try:
                self._receive()
            except (OSError, Broken) as error:
                raise self._gone(error) from None
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces) if pieces or not self._parser.complete else None

    def lines(self) -> Iterator[bytes]:
        """The lines of the body, without their ends."""
        rest = b""
        for piece in self:
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def _begin(self) -> None:
        head: Head | None = None
        self._socket.settimeout(SILENCE)
        while head is None:
            try:
                head = self._receive()
            except TimeoutError:
                refuse_paused(self._socket)
        self._socket.settimeout(None)
        if head.status >= 400:
            raise problem_of(head, b"".join(self))

    def _receive(self) -> Head | None:
        data = self._socket.recv(_PIECE)
        if not data:
            self._parser.end()
        head = None
        for event in self._parser.feed(data):
            if isinstance(event, Head):
                head = event
            elif isinstance(event, Body):
                self._pieces.append(event.data)
        return head

    def _gone(self, error: Exception) -> Gone:
        return Gone(f"the instance at {self._address} went away: {error}")


# -- pieces that the SDK uses as well --------------------------------------------------------------


def connected(address: Address) -> socket.socket:
    """A connection. Raises `Unreachable`, with what to do."""
    try:
        if address.path is None:
            sock = socket.create_connection((address.host, address.port), CONNECT_TIMEOUT)
        else:
            sock = _unix(address.path)
    except OSError as error:
        raise unreachable(address, error) from None
    sock.settimeout(None)
    return sock


def unreachable(address: Address, error: OSError) -> Unreachable:
    """In words, why nobody answers, and what to do."""
    if isinstance(error, PermissionError):
        return Unreachable(f"the instance at {address} is another user's")
    if address.path is not None and isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return Unreachable(f"no instance runs ({address}); start one: colony run, or colony up -d")
    return Unreachable(f"no instance answers at {address}: {error.strerror or error}")


def refuse_paused(connection: socket.socket) -> None:
    """Raises `Paused` if whoever is at the other end of a unix socket has been stopped."""
    if connection.family != socket.AF_UNIX:
        return
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = _CREDENTIALS.unpack(found)[0]
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2][:1]
    except OSError:
        return
    if state == b"T":
        raise Paused(
            f"the instance, pid {pid}, has been stopped by a signal, as Ctrl-Z sends one, and "
            f"cannot answer; let it go on: fg in its terminal, or kill -CONT {pid}"
        )


def _unix(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(CONNECT_TIMEOUT)
        # By its directory: an address takes 107 bytes, a path may be longer.
        directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{directory}/{path.name}")
        finally:
            os.close(directory)
    except BaseException:
        sock.close()
        raise
    return sock


def encoded(address: Address, method: str, path: str, query: Query | None, body: Any) -> bytes:
    """A request's bytes."""
    target = path + (f"?{_query(query)}" if query else "")
    headers = {**address.headers, "Connection": "close", "Accept": "*/*"}
    data = b""
    if body is not None:
        headers["Content-Type"] = "application/json"
        data = json.dumps(body).encode()
    return request(method, target, address.authority, headers, data)


def path_of(*parts: str) -> str:
    """`/api/…` with each part quoted: names come from the command line."""
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


def problem_of(head: Head, body: bytes) -> Problem:
    """The problem in an answer that is one."""
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        text = body[:200].decode("utf-8", "replace").strip()
        data = {"status": head.status, "detail": text or f"status {head.status}"}
    return Problem(data)


def parsed_events(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """Server-sent events as their data; `type` is the event's name where the data has none."""
    name, data = "", b""
    for line in lines:
        field, _, value = line.partition(b": ")
        if field == b"event":
            name = value.decode()
        elif field == b"data":
            data += value
        elif not line and data:
            yield {"type": name, **json.loads(data)}
            name, data = "", b""


def _query(query: Query) -> str:
    pairs: list[tuple[str, str]] = []
    for name, value in query.items():
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            pairs += [(name, str(each)) for each in value]
        elif value is not None:
            pairs.append((name, str(value)))
    return urlencode(pairs)
