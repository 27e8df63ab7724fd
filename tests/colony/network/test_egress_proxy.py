"""What the proxy reads, and what it lets pass."""

from __future__ import annotations

from ipaddress import ip_address

from colony.network.egress import parse
from colony.network.egress_proxy import Wanted, read_head, why_not, why_not_there

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
        b"GET /a?b HTTP/1.1\r\nConnection: close\r\nHost: good.example\r\n\r\n",
    )
    for bad in (b"GET / HTTP/1.1\r\n\r\n", b"CONNECT x:99999 HTTP/1.1\r\n\r\n", b"\x16\x03\x01"):
        assert read_head(bad) is None


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
