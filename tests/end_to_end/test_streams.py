"""What streams passes the front door as it comes: WebSockets, server-sent events."""

from __future__ import annotations

import asyncio

import aiohttp

from tests.end_to_end.colonies import (
    PATIENCE,
    PORT,
    Run,
    Shop,
    both_doors,
    eventually,
    get,
    host,
    program,
    root_only,
)

pytestmark = root_only

TIMEOUT = aiohttp.ClientTimeout(total=PATIENCE)


def streams(shop: Shop, door: tuple[str, ...]) -> tuple[Run, str, dict[str, str]]:
    """A run with the streaming service, its base URL, and the headers that lead there."""
    colony = shop.colony({"web": {"command": program("streams", PORT), "port": PORT}})
    run = shop.run(colony, options=door)
    run.ready()
    # The service's own: the door's own 404 is a page.
    at = host(colony)
    eventually(lambda: get(run.http_port, at, "/no-such-page").text == "404: Not Found")
    return run, f"http://127.0.0.1:{run.http_port}", {"Host": host(colony)}


@both_doors
def test_a_websocket_echoes(shop: Shop, door: tuple[str, ...]) -> None:
    _, base, headers = streams(shop, door)

    async def talk() -> None:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.ws_connect(f"{base}/ws", headers=headers) as ws,
        ):
            await ws.send_str("hello")
            assert await ws.receive_str() == "echo: hello"
            blob = bytes(range(256)) * 1024
            await ws.send_bytes(blob)
            assert await ws.receive_bytes() == blob
            await ws.send_str("still here")
            assert await ws.receive_str() == "echo: still here"

    asyncio.run(talk())


@both_doors
def test_server_sent_events_arrive_one_by_one(shop: Shop, door: tuple[str, ...]) -> None:
    """The next event is not even made before the last one has been read."""
    _, base, headers = streams(shop, door)

    async def listen() -> list[bytes]:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.get(f"{base}/events", headers=headers) as response,
        ):
            assert response.headers["Content-Type"] == "text/event-stream"
            seen = []
            for _ in range(4):
                seen.append(await response.content.readline())
                assert await response.content.readline() == b"\n"
                async with session.post(f"{base}/go", headers=headers) as gone:
                    assert gone.status == 200
            return seen

    assert asyncio.run(listen()) == [b"data: %d\n" % n for n in (1, 2, 3, 4)]


@both_doors
def test_a_stop_cuts_open_streams(shop: Shop, door: tuple[str, ...]) -> None:
    """An open WebSocket holds nothing up at the stop, and its client hears of the end."""
    run, base, headers = streams(shop, door)

    async def hold() -> aiohttp.WSMsgType:
        async with (
            aiohttp.ClientSession(timeout=TIMEOUT) as session,
            session.ws_connect(f"{base}/ws", headers=headers) as ws,
        ):
            run.send(2)
            return (await ws.receive()).type

    ends = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING)
    assert asyncio.run(hold()) in ends
    assert run.wait() == 130
    run.expect(r"✓ web +stopped")  # not "killed": within its grace, however busy the machine is
