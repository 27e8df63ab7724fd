"""The pages that the front door answers by itself, the same whichever front door it is.

    a route whose service does not answer   →  503, names colony and service, reloads itself
    no route, a name of ours                →  404, lists what is served
    no route, any other name                →  404, lists nothing

Caddy takes a body for a template and fills in every `{placeholder}` that it knows. So the pages
have no braces of their own: styles are attributes, and a brace in a name becomes an entity.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from http import HTTPStatus
from typing import Final

import msgspec

from proxy.routes import LOCALHOST, Route, RouteTable

RETRY_SECONDS: Final = 1
"""How soon a page of a service that is down loads itself again."""

LISTED: Final = 200
"""How many services the 404 page names before it says how many more there are."""

_BODY: Final = (
    "font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:15vh auto;padding:0 1rem;"
    "color-scheme:light dark;color:CanvasText;background:Canvas"
)


class Page(msgspec.Struct, frozen=True):
    """A whole answer: status, headers besides those of framing, and an HTML text."""

    status: HTTPStatus
    headers: tuple[tuple[str, str], ...]
    html: str

    def response(self, *, head_only: bool = False) -> bytes:
        """The answer as HTTP/1.1 bytes that end the connection."""
        body = self.html.encode()
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            *(f"{name}: {value}" for name, value in self.headers),
            f"Content-Length: {len(body)}",
            "Connection: close",
            "\r\n",
        ]
        head = "\r\n".join(lines).encode("latin-1")
        return head if head_only else head + body


_COMMON: Final = (("Content-Type", "text/html; charset=utf-8"), ("Cache-Control", "no-store"))


def service_down(colony: str, service: str) -> Page:
    """The 503 page. The names go in as they are given, except for what HTML or Caddy would read."""
    return _service_down(literal(colony), literal(service))


def service_down_template(colony_placeholder: str, service_placeholder: str) -> Page:
    """The same page with Caddy's placeholders in the place of the names."""
    return _service_down(colony_placeholder, service_placeholder)


def _service_down(colony: str, service: str) -> Page:
    again = ("Retry-After", str(RETRY_SECONDS)), ("Refresh", str(RETRY_SECONDS))
    return Page(
        HTTPStatus.SERVICE_UNAVAILABLE,
        (*_COMMON, *again),
        _document(
            f"{service} of {colony} is down",
            f"<p><b>{service}</b> in the colony <b>{colony}</b> is down or still starting.</p>"
            "<p>This page loads again by itself.</p>",
            f'<meta http-equiv="refresh" content="{RETRY_SECONDS}">',
        ),
    )


def not_found(table: RouteTable, http_port: int) -> Page:
    """The 404 page for one of our names: a link to each service."""
    if not table.routes:
        found = "<p>No colony is running.</p>"
    else:
        found = f"<p>This is what is served here:</p><ul>{_items(table.routes, http_port)}</ul>"
    return Page(
        HTTPStatus.NOT_FOUND,
        _COMMON,
        _document("No such service", f"<p>No service has this name.</p>{found}"),
    )


def foreign() -> Page:
    """The 404 page for a name that is none of ours."""
    return Page(
        HTTPStatus.NOT_FOUND,
        _COMMON,
        _document("No such host", "<p>No colony has this host name.</p>"),
    )


def bad_request(status: HTTPStatus, reason: str) -> Page:
    """An answer to a request that cannot be served as it is written."""
    return Page(status, _COMMON, _document(status.phrase, f"<p>{literal(reason)}</p>"))


def _items(routes: Iterable[Route], http_port: int) -> str:
    shown = list(routes)
    items = [
        f'<li><a href="{literal(url)}">{literal(route.label)}</a> {literal(route.service)}</li>'
        for route in shown[:LISTED]
        for url in [route.url(http_port, LOCALHOST)]
    ]
    if len(shown) > LISTED:
        items.append(f"<li>and {len(shown) - LISTED} more</li>")
    return "".join(items)


def literal(value: str) -> str:
    """A name as HTML shows it and Caddy leaves it alone."""
    return escape(value).replace("{", "&#123;").replace("}", "&#125;")


def _document(title: str, body: str, head: str = "") -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{head}'
        f"<title>{title}</title></head>"
        f'<body style="{_BODY}"><h1>{title}</h1>{body}</body></html>\n'
    )
