"""The API of the full-stack example: one route, on the colony's own localhost."""

from __future__ import annotations

import os

from aiohttp import web


async def hello(request: web.Request) -> web.Response:
    colony = os.environ.get("COLONY_NAME", "no colony")
    return web.json_response({"message": f"hello from the API of {colony}"})


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/api/hello", hello)
    return app


if __name__ == "__main__":
    web.run_app(application(), host="127.0.0.1", port=int(os.environ.get("PORT", "8000")))
