"""Many connections, each a random mix of hosts, bodies and pieces: who gets which answer."""

from __future__ import annotations

import asyncio
import random

import pytest

from proxy.embedded import EmbeddedProxy
from proxy.loop_thread import LoopThread
from proxy.routes import RouteTable
from tests.ports import free_ports
from tests.proxy.support import host, route, service

pytestmark = pytest.mark.real_time

CONNECTIONS = 12
REQUESTS = 25


def request(rng: random.Random, name: str, number: int) -> tuple[bytes, bytes]:
    """A request, and the body that its answer has to have."""
    if rng.random() < 0.4:
        return f"GET / HTTP/1.1\r\nHost: {host(name)}\r\n\r\n".encode(), name.encode()
    body = f"{name} {number} ".encode() * rng.choice([1, 10, 5000])
    # What would be a request for somebody else, were it not a body.
    body += f"GET / HTTP/1.1\r\nHost: {host('b')}\r\n\r\n".encode()
    head = f"POST /echo HTTP/1.1\r\nHost: {host(name)}\r\n"
    if rng.random() < 0.5:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, body
    chunks, rest = b"", body
    while rest:
        size = rng.randint(1, len(rest))
        chunks += b"%x\r\n%b\r\n" % (size, rest[:size])
        rest = rest[size:]
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n", body


async def converse(port: int, seed: int) -> int:
    """One connection; how many answers were right. Some requests are pipelined."""
    rng = random.Random(seed)
    exchanges = [request(rng, rng.choice("abc"), number) for number in range(REQUESTS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def send() -> None:
        data = b"".join(sent for sent, _ in exchanges)
        while data:
            size = rng.choice([1, 7, 100, 5000, 70_000])
            writer.write(data[:size])
            data = data[size:]
            await writer.drain()
            await asyncio.sleep(0)

    sending = asyncio.create_task(send())
    right = 0
    try:
        for _, expected in exchanges:
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            assert await reader.readexactly(length) == expected
            right += 1
    finally:
        sending.cancel()
        writer.close()
    return right


@pytest.mark.parametrize("seed", range(3))
async def test_every_answer_belongs_to_its_request(seed: int) -> None:
    async def all_at_once(port: int) -> list[int]:
        talks = (converse(port, seed * 1000 + number) for number in range(CONNECTIONS))
        return await asyncio.gather(*talks)

    client = LoopThread("client")
    await client.start()
    try:
        async with (
            service("a") as a,
            service("b") as b,
            service("c") as c,
            EmbeddedProxy(ports=free_ports(3)) as door,
        ):
            door.want(RouteTable(route(one.name, one.upstream) for one in (a, b, c)))
            right = await client.run(all_at_once, door.port)
    finally:
        await client.close()
    assert right == [REQUESTS] * CONNECTIONS
