"""A service for the tests with what streams: echoes WebSocket messages, sends events one by one.

streams.py PORT [ADDRESS]

GET /ws        a WebSocket that echoes
GET /events    server-sent events, the next one after each POST /go
"""

import asyncio
import sys

from aiohttp import WSMsgType, web

go: asyncio.Queue[None] = asyncio.Queue()


async def echo(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(f"echo: {message.data}")
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


async def events(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    number = 0
    while True:
        number += 1
        await response.write(b"data: %d\n\n" % number)
        await go.get()


async def advance(_: web.Request) -> web.Response:
    go.put_nowait(None)
    return web.Response(text="gone on")


app = web.Application()
app.router.add_get("/ws", echo)
app.router.add_get("/events", events)
app.router.add_post("/go", advance)
address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
web.run_app(app, host=address, port=int(sys.argv[1]), print=None, shutdown_timeout=0.1)
