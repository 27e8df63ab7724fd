"""The HTTP API of an instance: one table of routes and one set of types, from which the server, the
client, the OpenAPI document and the tools for agents follow.

    types, problems      what goes over the wire
    routes               every method and path, with its types
    openapi              the document made of both
    security             who may ask: decisions without a socket
    history              the events, numbered, so that a reader can go on where it stopped
    operations           what each route does, in the instance's own event loop
    server, streams      aiohttp: where bytes come in and go out
    owner                the actor that holds all of it

Only `server`, `streams` and `owner` import aiohttp.
"""
