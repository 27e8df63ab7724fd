"""The netlink socket, in a namespace of the test's own thread."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from socket import AF_INET, AF_INET6

import pytest

from netns import linux, messages
from netns.errors import NetlinkError
from netns.netlink import Netlink, Route, exists, index_of
from tests.netns.support import in_own_network


def with_netlink(function: Callable[[Netlink], None]) -> None:
    with Netlink() as netlink:
        function(netlink)


def veth(netlink: Netlink) -> int:
    own = os.open(linux.NET_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        netlink.send(messages.create_veth("outer", 0x6CA1B2C3, 1400, own))
    finally:
        os.close(own)
    return index_of("outer")


def test_a_link_says_whose_it_is() -> None:
    def check(netlink: Netlink) -> None:
        index = veth(netlink)
        alias = messages.set_alias(index, "colony:a1b2c3:x")
        netlink.send(alias, messages.add_altname(index, "colony-x"), messages.set_up(index, "o"))
        link = netlink.link(index)
        assert (link.name, link.group, link.alias, link.up) == (
            "outer",
            0x6CA1B2C3,
            "colony:a1b2c3:x",
            True,
        )
        assert sorted(link.name for link in netlink.links()) == ["eth0", "lo", "outer"]
        assert index_of("colony-x") == index
        assert index_of("eth0") == 2

    in_own_network(lambda: with_netlink(check))


def test_one_request_deletes_a_group_and_only_that() -> None:
    def check(netlink: Netlink) -> None:
        veth(netlink)
        netlink.send(messages.delete_group(0x6CA1B2C3))
        assert [link.name for link in netlink.links()] == ["lo"]
        assert not exists("outer")
        netlink.send(messages.delete_link("outer"))  # there or not

    in_own_network(lambda: with_netlink(check))


def test_the_error_names_the_refused_request_and_the_others_are_done() -> None:
    def check(netlink: Netlink) -> None:
        index = veth(netlink)
        there = messages.add_address(index, ip_address("10.9.8.7"))
        with pytest.raises(NetlinkError) as caught:
            netlink.send(there, there, messages.set_up(index, "outer"))
        assert caught.value.errno == errno.EEXIST
        assert str(caught.value).startswith("adding the address 10.9.8.7: File exists")
        assert netlink.link(index).up

    in_own_network(lambda: with_netlink(check))


def test_the_error_has_the_kernels_own_words() -> None:
    def check(netlink: Netlink) -> None:
        with pytest.raises(NetlinkError) as caught:
            netlink.send(
                messages.add_route(ip_network("10.0.0.0/8"), 1, 5, gateway=ip_address("192.0.2.1"))
            )
        assert str(caught.value) == (
            "adding the route to 10.0.0.0/8 by 192.0.2.1: "
            "Network is unreachable (Nexthop has invalid gateway)"
        )

    in_own_network(lambda: with_netlink(check))


def test_routes_of_both_families_with_protocol_and_metric() -> None:
    def check(netlink: Netlink) -> None:
        index = veth(netlink)
        four, six = ip_network("10.9.8.7/32"), ip_network("fd00:9::7/128")
        pool = ip_network("10.9.0.0/16")
        netlink.send(
            messages.set_up(index, "outer"),
            messages.set_up(2, "eth0"),
            messages.add_address(index, ip_address("10.9.0.1")),
            messages.add_route(four, index, 77, source=ip_address("10.9.0.1")),
            messages.add_route(six, index, 77),
            messages.claim_pool(pool, 77),
        )
        ours = [r for r in netlink.routes(AF_INET) if r.protocol == 199]
        assert sorted(ours, key=lambda r: r.destination.prefixlen) == [
            Route(pool, 199, 77, 0),
            Route(four, 199, 77, index),
        ]
        assert [r for r in netlink.routes(AF_INET6) if r.protocol == 199] == [
            Route(six, 199, 77, index)
        ]
        gone = (messages.delete_route(four, index, 77), messages.delete_route(six, index, 77))
        netlink.send(*gone, messages.unclaim_pool(pool, 77))
        netlink.send(*gone, messages.unclaim_pool(pool, 77))  # there or not
        assert not [r for r in netlink.routes(AF_INET) if r.protocol == 199]

    in_own_network(lambda: with_netlink(check))


def test_a_link_that_is_not_there() -> None:
    def check(netlink: Netlink) -> None:
        assert not exists("nobody")
        with pytest.raises(NetlinkError, match="looking up the link nobody: "):
            index_of("nobody")
        with pytest.raises(NetlinkError, match="reading link 99: No such device"):
            netlink.link(99)

    in_own_network(lambda: with_netlink(check))


def test_a_request_is_encoded_once_for_equal_arguments() -> None:
    assert messages.set_up(1, "lo") is messages.set_up(1, "lo")
