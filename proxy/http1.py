"""HTTP/1.1 framing: where one message ends and the next begins, and nothing else.

The embedded front door copies bytes. It has to know three things of them: which host each request
names, where each request ends (behind it comes another head, perhaps for another host), and where
each response ends (only then may the connection turn to another service). So a head is looked
through for the few fields that say this, and a body is counted, not kept.

    head ──► body: none │ Content-Length │ chunked │ until the connection closes ──► next head

The law, from RFC 9112 §6: a request whose length can be read in two ways is refused, never guessed,
for what we took for a body the service behind us could take for a request. A response that cannot
be read is passed on until its connection closes; no later request is sent after it.

Own code, and not h11: a head costs h11 some 100 µs, which is more than the whole way through
here, and the copying would go with it. Only framing is decided here; no header is interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

import msgspec

HEAD_MAX: Final = 64 * 1024
"""The longest head in bytes that is read."""

_LINE_MAX: Final = 4096
"""The longest chunk-size or trailer line in bytes."""

_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_REQUEST: Final = re.compile(
    rb"(?:\r\n)?+(" + _TOKEN + rb") ([\x21-\x7e\x80-\xff]++) HTTP/1\.([01])\r\n"
    rb"(?:" + _TOKEN + rb":[^\x00\r\n]*+\r\n)*+\r\n"
)
_REQUEST_FIELDS: Final = re.compile(
    rb"\n((?i:host|content-length|transfer-encoding|upgrade|connection|"
    rb"x-forwarded-(?:for|host|proto))):[ \t]*+([^\r]*)"
)
_FORWARDED: Final = re.compile(rb"\n(?i:x-forwarded-(?:for|host|proto)):[^\n]*(?=\n)")
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9][0-9])[ \r]")
_RESPONSE_FIELDS: Final = re.compile(rb"\n((?i:content-length|transfer-encoding)):[ \t]*+([^\r]*)")
_METHOD_START: Final = re.compile(rb"[A-Za-z\r]")
_ABSOLUTE: Final = re.compile(rb"(?i:http)://([^/?#]*)(.*)", re.DOTALL)
_DIGITS: Final = re.compile(rb"[0-9]{1,18}")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")

CHUNKED: Final = -1
UNTIL_CLOSE: Final = -2


class BadRequest(Exception):
    """A request that must not be passed on. Attributes: `status`, `reason` (in words)."""

    def __init__(self, reason: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class BadChunk(Exception):
    """A chunked body that breaks its own framing."""


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """What a request's head says of routing and framing.

    raw
        The head to send on, in origin form, without any `X-Forwarded-*` field of the client's.
    host
        The Host as the client wrote it.
    body
        Length of the body in bytes, or `CHUNKED`.
    end
        Where the head ended in the bytes that were read.
    """

    raw: bytes
    method: bytes
    host: bytes
    body: int
    upgrade: bool
    end: int

    def forwarded(self, client: bytes) -> bytes:
        """The head with the `X-Forwarded-*` fields for a client at that address."""
        return (
            b"%bX-Forwarded-For: %b\r\nX-Forwarded-Host: %b\r\nX-Forwarded-Proto: http\r\n\r\n"
            % (
                self.raw[:-2],
                client,
                self.host,
            )
        )


class ResponseHead(msgspec.Struct, frozen=True, gc=False):
    """What a response's head says of framing: status, length of the body as above, its own end."""

    status: int
    body: int
    end: int

    @property
    def interim(self) -> bool:
        """Whether another response to the same request follows (100 Continue, 103 Early Hints)."""
        return 100 <= self.status < 200 and self.status != 101


def read_request(data: bytes) -> RequestHead | None:
    """The request head that `data` starts with; None while it is not all there.

    Raises `BadRequest` for one that is too long, breaks the grammar, or has no certain host or
    length.
    """
    if b"\r\n\r\n" not in data:
        if len(data) > HEAD_MAX:
            raise _too_large()
        if data and not _METHOD_START.match(data):
            raise BadRequest("this port speaks plain HTTP, and the request is something else")
        return None
    found = _REQUEST.match(data)
    if found is None:
        raise BadRequest("the request is not HTTP/1.1")
    start, end = found.start(1), found.end()
    if end > HEAD_MAX:
        raise _too_large()
    method, target, minor = found.groups()
    fields = [
        (name.lower(), value.rstrip()) for name, value in _REQUEST_FIELDS.findall(data, 0, end)
    ]
    return _request_head(data[start:end], end, method, target, minor, fields)


def _request_head(
    raw: bytes,
    end: int,
    method: bytes,
    target: bytes,
    minor: bytes,
    fields: list[tuple[bytes, bytes]],
) -> RequestHead:
    host: bytes | None = None
    length: bytes | None = None
    encoding: bytes | None = None
    upgrade = connection_upgrade = forwarded = False
    for name, value in fields:
        if name == b"host":
            if host is not None:
                raise BadRequest("the request has two Host fields")
            host = value
        elif name == b"content-length":
            if length is not None and length != value:
                raise BadRequest("the request has two different Content-Length fields")
            length = value
        elif name == b"transfer-encoding":
            if encoding is not None:
                raise BadRequest("the request has two Transfer-Encoding fields")
            encoding = value
        elif name == b"upgrade":
            upgrade = True
        elif name == b"connection":
            connection_upgrade = connection_upgrade or b"upgrade" in value.lower()
        else:
            forwarded = True
    if host is None:
        raise BadRequest("the request names no Host")
    if forwarded:
        raw = _FORWARDED.sub(b"", raw)
    if target[:1] != b"/":
        raw = _origin_form(raw, method, target, host)
    body = _request_body(length, encoding, minor)
    return RequestHead(raw, method, host, body, upgrade and connection_upgrade, end)


def _too_large() -> BadRequest:
    return BadRequest(
        f"the request's head is longer than {HEAD_MAX} bytes",
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    )


def _request_body(length: bytes | None, encoding: bytes | None, minor: bytes) -> int:
    if encoding is not None:
        if length is not None:
            raise BadRequest("the request has both Content-Length and Transfer-Encoding")
        if encoding.lower() != b"chunked" or minor == b"0":
            raise BadRequest(
                "the only Transfer-Encoding of a request is chunked, in HTTP/1.1",
                HTTPStatus.NOT_IMPLEMENTED,
            )
        return CHUNKED
    if length is None:
        return 0
    if not _DIGITS.fullmatch(length):
        raise BadRequest("the request's Content-Length is not a number")
    return int(length)


def _origin_form(raw: bytes, method: bytes, target: bytes, host: bytes) -> bytes:
    """A head whose target is `http://host/path`, as clients of a forward proxy write it."""
    if target == b"*" and method == b"OPTIONS":
        return raw
    found = _ABSOLUTE.fullmatch(target)
    if found is None:
        raise BadRequest("the request's target is neither a path nor an http URL")
    authority, path = found.groups()
    if host.lower() != authority.lower():
        raise BadRequest("the request's URL and its Host field differ")
    return raw.replace(target, path if path.startswith(b"/") else b"/" + path, 1)


def read_response(data: bytes, request: bytes) -> ResponseHead | None:
    """The head that `data` starts with, of the answer to a request of that method.

    None while it is not all there. What cannot be read is a body until the connection closes, head
    and all (`end` is 0).
    """
    end = data.find(b"\r\n\r\n") + 4
    if end == 3:
        if len(data) > HEAD_MAX or (len(data) >= 8 and not data.startswith(b"HTTP/1.")):
            return ResponseHead(0, UNTIL_CLOSE, 0)
        return None
    found = _STATUS.match(data)
    if found is None:
        return ResponseHead(0, UNTIL_CLOSE, 0)
    status = int(found[1])
    return ResponseHead(status, _response_body(data, end, status, request), end)


def _response_body(data: bytes, end: int, status: int, request: bytes) -> int:
    if request == b"HEAD" or status < 200 or status in (204, 304):
        return 0
    length: bytes | None = None
    encodings: list[bytes] = []
    for name, value in _RESPONSE_FIELDS.findall(data, 0, end):
        value = value.rstrip()
        if name[0] in b"tT":
            encodings.append(value.lower())
        elif length is not None and length != value:
            return UNTIL_CLOSE
        else:
            length = value
    if encodings:
        last = encodings[-1].rpartition(b",")[2].strip()
        return CHUNKED if last == b"chunked" else UNTIL_CLOSE
    if length is None or not _DIGITS.fullmatch(length):
        return UNTIL_CLOSE
    return int(length)


class Body:
    """Counts one body's bytes as they pass. `done` once its last byte was seen.

    length ───────────────────────────────────────────────► done
    chunked: size line ─► data ─► its CRLF ─► size line …
             size line 0 ─► trailer lines ─► empty line ──► done
    until close: never done
    """

    __slots__ = ("_left", "_line", "_on_line", "done")

    def __init__(self, length: int) -> None:
        self._left = 0
        self._line = b""
        self._on_line: Callable[[Body, bytes], None] = Body._size_line  # unbound: no cycle
        if length == UNTIL_CLOSE:
            self._left = 1 << 62
        elif length != CHUNKED:
            self._left = length
            self._on_line = Body._no_line
        self.done = length == 0

    def __repr__(self) -> str:
        return f"<Body {'done' if self.done else self._on_line.__name__} left={self._left}>"

    def feed(self, data: bytes, start: int = 0) -> int:
        """Counts `data` from `start` on; returns where the body ends in it, or its length.

        Raises `BadChunk`.
        """
        end = len(data)
        while start < end and not self.done:
            if self._left:
                step = min(self._left, end - start)
                self._left -= step
                start += step
                if not self._left and self._on_line is Body._no_line:
                    self.done = True
                continue
            newline = data.find(b"\n", start, end) + 1
            piece = data[start : newline or end]
            if len(self._line) + len(piece) > _LINE_MAX:
                raise BadChunk(f"a chunk's line is longer than {_LINE_MAX} bytes")
            line, self._line = self._line + piece, b""
            start += len(piece)
            if newline:
                self._on_line(self, line)
            else:
                self._line = line
        return start

    def _no_line(self, line: bytes) -> None:
        raise AssertionError("a body of known length has no lines")

    def _size_line(self, line: bytes) -> None:
        found = _CHUNK_SIZE.fullmatch(line)
        if found is None:
            raise BadChunk(f"a chunk's size is a hexadecimal number, got: {line[:40]!r}")
        self._left = int(found[1], 16)
        self._on_line = Body._data_end if self._left else Body._trailer_line

    def _data_end(self, line: bytes) -> None:
        if line != b"\r\n":
            raise BadChunk(f"a chunk is longer than its size, by: {line[:40]!r}")
        self._on_line = Body._size_line

    def _trailer_line(self, line: bytes) -> None:
        if not line.endswith(b"\r\n"):
            raise BadChunk(f"a trailer's line ends with CRLF, got: {line[-40:]!r}")
        self.done = line == b"\r\n"
