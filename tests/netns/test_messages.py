"""The requests are what pyroute2 would make of them, byte for byte."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from netns import messages, names


def encoded(message: Any, request: messages.Request, **fields: Any) -> bytes:
    """The same by pyroute2, with the header's type and flags of the request."""
    for name, value in fields.items():
        message[name] = value
    message["header"]["type"] = int.from_bytes(request.data[4:6], "little")
    message["header"]["flags"] = int.from_bytes(request.data[6:8], "little")
    message.encode()
    return bytes(message.data)


def test_a_veth_pair() -> None:
    made = messages.create_veth("vc123", 0x6C000001, 1400, 9)
    queues = [("IFLA_NUM_TX_QUEUES", 1), ("IFLA_NUM_RX_QUEUES", 1)]
    hardware = ("IFLA_ADDRESS", "02:c0:10:00:00:01")
    no_arp = {"flags": 0x80, "change": 0x80}
    inner = [
        ("IFLA_IFNAME", "eth0"),
        ("IFLA_MTU", 1400),
        ("IFLA_NET_NS_FD", 9),
        hardware,
        *queues,
    ]
    data = {"attrs": [("VETH_INFO_PEER", {"index": 2, **no_arp, "attrs": inner})]}
    info = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_DATA", data)]}
    attributes = [
        ("IFLA_IFNAME", "vc123"),
        ("IFLA_GROUP", 0x6C000001),
        ("IFLA_MTU", 1400),
        hardware,
        *queues,
        ("IFLA_LINKINFO", info),
    ]
    assert made.data == encoded(ifinfmsg(), made, attrs=attributes, **no_arp)


def test_links() -> None:
    alias = messages.set_alias(3, "colony:a1b2c3:x")
    assert alias.data == encoded(
        ifinfmsg(), alias, index=3, attrs=[("IFLA_IFALIAS", "colony:a1b2c3:x")]
    )
    other = messages.add_altname(3, "colony-x")
    names_of = {"attrs": [("IFLA_ALT_IFNAME", "colony-x")]}
    assert other.data == encoded(ifinfmsg(), other, index=3, attrs=[("IFLA_PROP_LIST", names_of)])
    up = messages.set_up(2, "eth0")
    assert up.data == encoded(ifinfmsg(), up, index=2, flags=1, change=1)


@pytest.mark.parametrize(("text", "flags"), [("10.200.0.2", 0x200), ("fd00::2", 0x202)])
def test_an_address(text: str, flags: int) -> None:
    address = ip_address(text)
    made = messages.add_address(2, address)
    attributes = [("IFA_LOCAL", text), ("IFA_ADDRESS", text), ("IFA_FLAGS", flags)]
    assert made.data == encoded(
        ifaddrmsg(),
        made,
        family=2 if address.version == 4 else 10,
        prefixlen=address.max_prefixlen,
        index=2,
        attrs=attributes,
    )


def test_a_route() -> None:
    gateway = ip_address("10.200.0.1")
    made = messages.add_route(ip_network("10.200.0.0/16"), 4, 77, gateway=gateway)
    attributes = [
        ("RTA_PRIORITY", 77),
        ("RTA_DST", "10.200.0.0"),
        ("RTA_OIF", 4),
        ("RTA_GATEWAY", "10.200.0.1"),
    ]
    fields = {"family": 2, "dst_len": 16, "table": 254, "proto": names.ROUTE_PROTOCOL, "type": 1}
    assert made.data == encoded(rtmsg(), made, attrs=attributes, **fields)
