"""A request to a service, made inside its colony's network: no host name, no proxy, no guessing."""

from __future__ import annotations

from typing import Final

import anyio

from colony.api.types import HttpRequest, HttpResponse
from colony.http1 import Body, Head, ResponseParser, request
from colony.running import RunningService

_PIECE: Final = 64 * 1024


async def ask_service(service: RunningService, wanted: HttpRequest) -> HttpResponse:
    """Makes a request and reads the answer, at most `wanted.limit` bytes of it.

    Raises `OSError` if nobody listens, `Broken` if the answer is none, `TimeoutError`.
    """
    port = service.colony.config.services[service.name].port
    assert port is not None, "who has no port cannot be asked"
    headers = {"User-Agent": "colony", "Accept": "*/*", **wanted.headers, "Connection": "close"}
    data = request(wanted.method, wanted.path, f"localhost:{port}", headers, wanted.body.encode())
    parser = ResponseParser(wanted.method)
    head: Head | None = None
    body = bytearray()
    with anyio.fail_after(wanted.timeout_ms / 1000):
        async with await service.colony.connect(port) as stream:
            await stream.send(data)
            while not parser.complete and len(body) <= wanted.limit:
                try:
                    piece = await stream.receive(_PIECE)
                except anyio.EndOfStream:
                    parser.end()
                    break
                for event in parser.feed(piece):
                    if isinstance(event, Head):
                        head = event
                    elif isinstance(event, Body):
                        body += event.data
    assert head is not None, "an answer that is complete has a head"
    return HttpResponse(
        status=head.status,
        headers=head.headers,
        body=bytes(body[: wanted.limit]).decode("utf-8", "replace"),
        truncated=len(body) > wanted.limit,
    )
