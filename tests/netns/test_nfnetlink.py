"""Our messages, as the kernel takes them and `nft` shows them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest

from netns import nfnetlink, permits, ruleset
from netns.errors import PacketFilterError
from netns.nft import Nft
from netns.permits import Permit
from tests.netns.support import in_own_network, output

INNER = """\
table inet colony {
	map detours {
		type inet_service : inet_service
		elements = { 3000 : 40000 }
	}

	chain prerouting {
		type nat hook prerouting priority dstnat; policy accept;
		iifname "eth0" fib daddr type local meta l4proto tcp dnat ip to 127.0.0.1:tcp dport map @detours
		iifname "eth0" fib daddr type local meta l4proto tcp dnat ip to 127.0.0.1
		iifname "eth0" fib daddr type local meta l4proto udp dnat ip to 127.0.0.1
	}
}
"""  # noqa: E501


def test_the_inner_table_leads_everything_for_us_to_127_0_0_1() -> None:
    def check() -> None:
        with nfnetlink.Packets() as packets:
            packets.apply("making", *ruleset.inner_table(), ruleset.add_detour(3000, 40000))
            assert output("nft", "list", "ruleset") == INNER
            assert packets.count_rules("colony", ruleset.INNER_CHAIN) == ruleset.INNER_RULES
            assert ruleset.inner_detours(packets) == {3000: 40000}
            packets.apply("ending", ruleset.delete_detour(3000))
            assert ruleset.inner_detours(packets) == {}

    in_own_network(check)


def test_detours_of_udp_come_before_the_rest() -> None:
    def check() -> None:
        with nfnetlink.Packets() as packets:
            detour = ruleset.add_detour(53, 40001, "udp")
            packets.apply("making", *ruleset.inner_table(), *ruleset.udp_detours(), detour)
            assert packets.count_rules("colony", ruleset.INNER_CHAIN) == ruleset.INNER_RULES + 1
            assert ruleset.inner_detours(packets, "udp") == {53: 40001}
            assert ruleset.inner_detours(packets) == {}
            shown = output("nft", "list", "chain", "inet", "colony", ruleset.INNER_CHAIN)
            first = next(line for line in shown.splitlines() if "dnat" in line)
            assert first.endswith("l4proto udp dnat ip to 127.0.0.1:udp dport map @udp_detours")
            packets.apply("ending", ruleset.delete_detour(53, "udp"))
            assert ruleset.inner_detours(packets, "udp") == {}

    in_own_network(check)


def test_a_refusal_says_what_was_being_done_and_changes_nothing() -> None:
    def check() -> None:
        with nfnetlink.Packets() as packets:
            with pytest.raises(PacketFilterError, match="x: No such file or directory"):
                packets.apply("x", nfnetlink.add_table("t"), nfnetlink.delete_table("no"))
            assert output("nft", "list", "ruleset") == ""
            assert packets.count_rules("no", "no") == 0
            assert packets.elements("no", "no") == []

    in_own_network(check)


def test_a_set_is_read_as_it_was_written() -> None:
    me, instance = IPv4Address("10.200.0.2"), "a1b2c3"
    peers = [
        Permit(me, IPv4Network("10.200.0.3/32")),
        Permit(me, IPv4Network("10.1.0.0/16"), (53, 53)),
    ]

    def check() -> None:
        with Nft() as nft, nfnetlink.Packets() as packets:
            made = permits.changes(instance, permits.PEERS, (), peers)
            nft.run(ruleset.host_rules(instance) + made, "making")
            found = packets.elements("colony_a1b2c3", permits.PEERS)
            assert set(found) == {permits.bounds(each) for each in peers}
            v6 = IPv6Address("fd00::2")
            packets.apply("out", *ruleset.let_out(instance, me, v6))
            assert packets.elements("colony_a1b2c3", "nat4") == [(me.packed, b"")]
            assert packets.elements("colony_a1b2c3", "nat6") == [(v6.packed, b"")]
            packets.apply("in", *ruleset.keep_in(instance, me, None))
            assert packets.elements("colony_a1b2c3", "nat4") == []

    in_own_network(check)
