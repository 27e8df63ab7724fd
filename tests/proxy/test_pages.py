"""The pages: what they say, and what they must not let through."""

from __future__ import annotations

from http import HTTPStatus

from proxy import pages
from proxy.routes import EMPTY, Route, RouteTable, TcpUpstream


def test_the_503_page_names_colony_and_service_and_loads_itself_again() -> None:
    page = pages.service_down("my-app", "web")
    assert page.status == HTTPStatus.SERVICE_UNAVAILABLE
    assert page.headers == (
        ("Content-Type", "text/html; charset=utf-8"),
        ("Cache-Control", "no-store"),
        ("Retry-After", "1"),
        ("Refresh", "1"),
    )
    assert "<title>web of my-app is down</title>" in page.html
    assert '<meta http-equiv="refresh" content="1">' in page.html
    assert "<b>web</b> in the colony <b>my-app</b> is down" in page.html


def test_names_are_escaped_for_html_and_for_caddy() -> None:
    html = pages.service_down("my-app", "<b>{env.HOME}&").html
    assert "&lt;b&gt;&#123;env.HOME&#125;&amp;" in html
    assert "{" not in html


def test_no_page_has_braces_of_its_own() -> None:
    table = RouteTable([Route("a", 1, TcpUpstream(1), "{x}", path="/{y}")])
    all_pages = [
        pages.service_down("a", "b"),
        pages.not_found(table, 80),
        pages.not_found(EMPTY, 80),
        pages.foreign(),
        pages.bad_request(HTTPStatus.BAD_REQUEST, "{x}"),
    ]
    assert [page.html.count("{") + page.html.count("}") for page in all_pages] == [0] * 5


def test_the_404_page_links_what_is_served() -> None:
    web = Route("my-app", 3000, TcpUpstream(3000), "web", path="/a&b")
    page = pages.not_found(RouteTable([web]), 8080)
    assert page.status == HTTPStatus.NOT_FOUND
    assert (
        '<li><a href="http://my-app-3000.colony.localhost:8080/a&amp;b">my-app-3000</a> web</li>'
        in page.html
    )


def test_the_404_page_of_an_empty_table() -> None:
    assert "No colony is running." in pages.not_found(EMPTY, 80).html


def test_the_404_page_stays_small() -> None:
    table = RouteTable(Route("a", port, TcpUpstream(port), "web") for port in range(1, 1001))
    html = pages.not_found(table, 80).html
    assert html.count("<li>") == pages.LISTED + 1
    assert f"<li>and {1000 - pages.LISTED} more</li>" in html


def test_strangers_are_told_nothing() -> None:
    assert "http://" not in pages.foreign().html
    assert pages.foreign().status == HTTPStatus.NOT_FOUND


def test_the_bytes_of_an_answer() -> None:
    page = pages.Page(HTTPStatus.NOT_FOUND, (("X-One", "1"),), "héllo")
    head = b"HTTP/1.1 404 Not Found\r\nX-One: 1\r\nContent-Length: 6\r\nConnection: close\r\n\r\n"
    assert page.response() == head + "héllo".encode()
    assert page.response(head_only=True) == head
