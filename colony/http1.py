"""An HTTP/1.1 client without a socket: requests as bytes, responses from bytes. Pure.

    parser = ResponseParser()
    for event in parser.feed(data):     # Head, then Body any number of times, then End
        ...
    parser.end()                        # the peer has closed: End, or `Broken`

It serves the command line over a unix socket, the SDK on both event loops, and requests to a
service through its namespace. The law: a response ends where its framing says (RFC 9112 §6.3), and
one that ends before that is `Broken`, never taken for whole. So a follower knows an instance that
was killed from a log that is over.

Own code, and not `http.client`, whose import (`email`, `ssl`) is half of what `colony ls` may take,
and which only blocks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

HEAD_MAX: Final = 64 * 1024
"""The longest head in bytes that is read."""

LINE_MAX: Final = 4096
"""The longest chunk-size or trailer line in bytes."""

_CHUNKED: Final = -1
_UNTIL_CLOSE: Final = -2
_BODILESS: Final = frozenset({204, 304})


class Broken(Exception):
    """The response ended before its end, or is none."""


class Head(NamedTuple):
    """A response's status and its header fields, their names in lower case."""

    status: int
    headers: dict[str, str]


class Body(NamedTuple):
    """A piece of the body; pieces have nothing to do with lines."""

    data: bytes


class End(NamedTuple):
    """The response is complete."""


Event = Head | Body | End


def request(
    method: str, target: str, host: str, headers: Mapping[str, str], body: bytes = b""
) -> bytes:
    """A whole request. Raises `ValueError` if a part of it would break the framing."""
    fields = {"Host": host, **headers}
    if body or method in ("POST", "PUT", "PATCH"):
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    for line in lines:
        if "\r" in line or "\n" in line or "\0" in line:
            raise ValueError(f"a line end cannot stand in a request's head, got: {line!r}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class ResponseParser:
    """Reads one response. `method` is the request's: the answer to HEAD has no body."""

    def __init__(self, method: str = "GET") -> None:
        self._method = method
        self._data = b""
        self._left: int | None = None
        """Bytes of the body or of its current chunk to come; None while in the head."""
        self._chunked = False
        self._trailers = False
        self.complete = False

    def __repr__(self) -> str:
        return f"<ResponseParser {'complete' if self.complete else 'reading'}>"

    def feed(self, data: bytes) -> Iterator[Event]:
        """What `data` completes, in order. Raises `Broken`."""
        self._data += data
        if self._left is None:
            head = self._head()
            if head is None:
                return
            yield head
        while not self.complete:
            event = self._body_event()
            if event is None:
                return
            yield event

    def end(self) -> None:
        """The peer has closed the connection. Raises `Broken` unless that is a proper end."""
        if not self.complete and self._left != _UNTIL_CLOSE:
            raise Broken("the connection was closed in the midst of the answer")
        self.complete = True

    def _head(self) -> Head | None:
        while True:
            raw, found, rest = self._data.partition(b"\r\n\r\n")
            if not found:
                if len(self._data) > HEAD_MAX:
                    raise Broken(f"the answer's head is longer than {HEAD_MAX // 1024} KiB")
                return None
            self._data = rest
            head = _read_head(raw)
            if head.status >= 200 or head.status == 101:
                break
        self._frame(head)
        return head

    def _frame(self, head: Head) -> None:
        """Finds out how long the body is."""
        encoding = head.headers.get("transfer-encoding", "").lower()
        length = head.headers.get("content-length")
        self._left = _UNTIL_CLOSE
        if self._method == "HEAD" or head.status in _BODILESS:
            self._left = 0
        elif encoding:
            if encoding != "chunked":
                raise Broken(f"a transfer encoding that cannot be read: {encoding}")
            self._chunked, self._left = True, 0
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise Broken(f"a Content-Length that is no number: {length!r}")
            self._left = int(length)

    def _body_event(self) -> Event | None:
        if self._left == _UNTIL_CLOSE or (self._left or 0) > 0:
            return self._piece()
        if not self._chunked:
            self.complete = True
            return End()
        return self._next_chunk()

    def _piece(self) -> Body | None:
        assert self._left is not None
        size = len(self._data) if self._left == _UNTIL_CLOSE else self._left
        piece, self._data = self._data[:size], self._data[size:]
        if not piece:
            return None
        if self._left != _UNTIL_CLOSE:
            self._left -= len(piece)
            if self._chunked and self._left == 0:
                self._left = _CHUNKED
        return Body(piece)

    def _next_chunk(self) -> Event | None:
        """The next chunk's first piece, or the end after the last chunk and its trailers."""
        while True:
            line, found, rest = self._data.partition(b"\r\n")
            if not found:
                if len(self._data) > LINE_MAX:
                    raise Broken("a chunk without a size")
                return None
            self._data = rest
            if self._trailers:
                if not line:
                    self.complete = True
                    return End()
            elif self._left == _CHUNKED:
                if line:
                    raise Broken("a chunk that is longer than it said")
                self._left = 0
            else:
                self._left = _size(line)
                if self._left:
                    return self._piece()
                self._trailers = True


def _size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        if not digits or digits[:1] in b"+-" or b"_" in digits:
            raise ValueError
        return int(digits, 16)
    except ValueError:
        raise Broken(f"a chunk's size that is no number: {digits[:20]!r}") from None


def _read_head(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status = rest[:3]
    if not version.startswith("HTTP/1.") or not (status.isascii() and status.isdigit()):
        raise Broken(f"this is not HTTP: {first[:40]!r}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Broken(f"a header without a colon: {line[:40]!r}")
        headers[name.lower()] = value.strip()
    return Head(int(status), headers)
