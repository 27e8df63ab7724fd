from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from netns import files
from netns.errors import NetnsError


def test_localhost_is_127_0_0_1_alone() -> None:
    assert files.hosts("my-app") == (
        "# Written by Colony; changes are lost.\n127.0.0.1 localhost my-app\n"
    )


def test_further_names() -> None:
    text = files.hosts("a", {"db": "127.0.0.1", "b": IPv4Address("10.200.0.3"), "v6": "fd00::1"})
    assert text.splitlines()[2:] == ["127.0.0.1 db", "10.200.0.3 b", "fd00::1 v6"]


@pytest.mark.parametrize("name", ["", "a b", "a\n1.2.3.4 evil", "a#"])
def test_a_name_that_would_break_the_file_is_refused(name: str) -> None:
    with pytest.raises(NetnsError, match="a host name has no spaces"):
        files.hosts("a", {name: "127.0.0.1"})


def test_the_hosts_nameservers_and_options_are_kept() -> None:
    host = (
        "# c\nnameserver 192.0.2.1\n  nameserver 2001:db8::1\nsearch x.example y\noptions ndots:2\n"
    )
    assert files.resolv_conf(host) == (
        "# Written by Colony; changes are lost.\n"
        "nameserver 192.0.2.1\nnameserver 2001:db8::1\nsearch x.example y\noptions ndots:2\n"
    )


def test_loopback_nameservers_give_way_to_resolveds_upstream() -> None:
    stub = "nameserver 127.0.0.53\noptions edns0\nsearch lan\n"
    upstream = "nameserver 192.0.2.7\nnameserver ::1\nnameserver fe80::1%eth0\n"
    assert files.resolv_conf(stub, upstream) == (
        "# Written by Colony; changes are lost.\nnameserver 192.0.2.7\noptions edns0\nsearch lan\n"
    )
    assert "nameserver 192.0.2.9\n" in files.resolv_conf("nameserver 192.0.2.9\n" + stub, upstream)
    assert "192.0.2.7" not in files.resolv_conf("nameserver 192.0.2.9\n" + stub, upstream)


def test_no_nameserver_left_is_said() -> None:
    assert files.resolv_conf("nameserver 127.0.0.1\nnameserver ::1\n") == (
        "# Written by Colony; changes are lost.\n"
        "# The host has only nameservers on its own loopback: no DNS in here.\n"
    )


def test_chosen_nameservers_replace_the_hosts_and_are_at_most_three() -> None:
    servers = ["10.200.0.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]
    lines = files.resolv_conf("nameserver 192.0.2.1\n", None, servers).splitlines()
    assert lines[1:] == [f"nameserver {server}" for server in servers[:3]]


def test_what_is_no_address_counts_as_loopback() -> None:
    assert files.is_loopback("localhost")
    assert files.is_loopback("127.0.0.54")
    assert files.is_loopback("::1")
    assert not files.is_loopback("192.0.2.1")
    assert files.nameservers("nameserver\nnameservers 1.2.3.4\nnameserver 1.2.3.4 # x") == [
        "1.2.3.4"
    ]
