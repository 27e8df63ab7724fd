"""What the proxy reads, and what it lets pass."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import anyio
import pytest

from colony.network.egress import parse
from colony.network.egress_proxy import EgressProxy, Wanted, read_head, why_not, why_not_there
from netns import NetworkThread
from netns.streams import stream_of

ALLOW = (parse("good.example:443"), parse("192.0.2.0/24:80"))
HTTPS = Wanted("good.example", 443)


def test_heads() -> None:
    tunnel = b"CONNECT Good.Example.:443 HTTP/1.1\r\nHost: good.example\r\n\r\n"
    assert read_head(tunnel) == HTTPS
    plain = (
        b"GET http://good.example/a?b HTTP/1.1\r\nProxy-Connection: x\r\nHost: good.example\r\n\r\n"
    )
    assert read_head(plain) == Wanted(
        "good.example",
        80,
        b"GET /a?b HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n",
    )
    for bad in (b"GET / HTTP/1.1\r\n\r\n", b"CONNECT x:99999 HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
        assert read_head(bad) is None


def test_what_is_sent_on_names_the_host_that_was_allowed_and_has_the_body_as_it_came() -> None:
    body = b"connection: is\nnot a field here\r\n\r\nhost: neither\n"
    head = (
        b"POST http://good.example:8080 HTTP/1.1\r\nhOST: evil.example\r\nAccept: a\r\n"
        b"Keep-Alive: 5\r\nContent-Length: 45\r\n\r\n"
    )
    assert read_head(head + body) == Wanted(
        "good.example",
        8080,
        b"POST / HTTP/1.1\r\nHost: good.example:8080\r\nConnection: close\r\nAccept: a\r\n"
        b"Content-Length: 45\r\n\r\n" + body,
    )
    bare = b"GET http://good.example/ HTTP/1.0\r\n\r\n"
    assert read_head(bare) == Wanted(
        "good.example", 80, b"GET / HTTP/1.0\r\nHost: good.example\r\nConnection: close\r\n\r\n"
    )


def test_a_wildcard_is_every_name_below_it() -> None:
    allow = (parse("*.Example.com.:443"),)
    assert [str(each) for each in allow] == ["*.example.com:443"]
    for name in ("a.example.com", "a.b.example.com"):
        assert why_not(Wanted(name, 443), allow) == ""
        assert why_not_there(Wanted(name, 443), ip_address("198.51.100.1"), allow) == ""
        assert why_not_there(Wanted(name, 443), ip_address("10.200.0.1"), allow)
    for name, port in (("example.com", 443), ("notexample.com", 443), ("a.example.com", 80)):
        assert why_not(Wanted(name, port), allow)


def test_names() -> None:
    assert why_not(HTTPS, None) == ""
    assert why_not(HTTPS, ALLOW) == ""
    assert why_not(Wanted("good.example", 444), ALLOW) == (
        "good.example:444 is not in `allow` of [network.policy.egress]"
    )
    assert why_not(Wanted("evil.example", 443), ALLOW)
    assert why_not(Wanted("sub.good.example", 443), ALLOW)


def test_addresses() -> None:
    public = ip_address("198.51.100.1")
    assert why_not_there(HTTPS, public, None) == ""
    assert why_not_there(HTTPS, public, ALLOW) == ""
    for near in (
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "10.200.0.1",
        "169.254.169.254",
        "0.0.0.0",
    ):
        refused = why_not_there(HTTPS, ip_address(near), None)
        shown = ip_address(near)
        assert refused == f"good.example is {shown}, which is this machine's or a neighbour's"
        assert why_not_there(HTTPS, ip_address(near), ALLOW) == refused
    web = Wanted("any.example", 80)
    assert why_not_there(web, ip_address("192.0.2.7"), ALLOW) == ""
    assert why_not_there(web, public, ALLOW) == (
        "any.example is 198.51.100.1, which is not in `allow`"
    )
    assert why_not_there(web, ip_address("127.0.0.1"), (parse("0.0.0.0/0:80"),))
    assert why_not_there(web, public, (parse("0.0.0.0/0:80"),)) == ""
    assert why_not_there(web, ip_address("127.0.0.1"), (parse("127.0.0.1:80"),)) == ""


@pytest.mark.real_time
async def test_for_a_client_that_has_gone_the_connection_to_the_server_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        near = socket.create_connection(door.getsockname())
        far, _ = door.accept()
        with far:
            near.setblocking(False)
            client, server = await stream_of(near), socket.socket()
            await client.aclose()
            with pytest.raises(anyio.ClosedResourceError):
                await EgressProxy("shop", NetworkThread())._join(client, server, HTTPS, b"")
            assert server.fileno() == -1
