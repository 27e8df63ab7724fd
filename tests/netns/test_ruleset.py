from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from netns import ruleset


def test_the_inner_table_leads_everything_for_us_to_127_0_0_1() -> None:
    commands = ruleset.inner_rules()
    place = {"family": "inet", "table": "colony"}
    assert [next(iter(command["add"])) for command in commands] == [
        *("table", "chain", "map", "rule", "rule")
    ]
    assert commands[1]["add"]["chain"] == {
        **place,
        "name": "prerouting",
        "type": "nat",
        "hook": "prerouting",
        "prio": -100,
        "policy": "accept",
    }
    arrives = [
        match({"meta": {"key": "iifname"}}, "eth0"),
        match({"fib": {"result": "type", "flags": ["daddr"]}}, "local"),
    ]
    port = {"payload": {"protocol": "tcp", "field": "dport"}}
    detour = {"map": {"key": port, "data": "@detours"}}
    first, second = (command["add"]["rule"]["expr"] for command in commands[3:])
    assert first == [
        *arrives,
        match({"meta": {"key": "l4proto"}}, "tcp"),
        {"dnat": {"family": "ip", "addr": "127.0.0.1", "port": detour}},
    ]
    assert second == [
        *arrives,
        match({"meta": {"key": "l4proto"}}, {"set": ["tcp", "udp"]}),
        {"dnat": {"family": "ip", "addr": "127.0.0.1"}},
    ]


def match(left: dict[str, Any], right: object) -> dict[str, Any]:
    return {"match": {"op": "==", "left": left, "right": right}}


def test_a_detour_is_one_element() -> None:
    place = {"family": "inet", "table": "colony", "name": "detours"}
    assert ruleset.detour("add", 3000, 40000) == [
        {"add": {"element": {**place, "elem": [[3000, 40000]]}}}
    ]


def test_the_hosts_table_bears_the_instances_id_in_every_command() -> None:
    commands = ruleset.host_rules("a1b2c3")
    assert commands[0] == {"add": {"table": {"family": "inet", "name": "colony_a1b2c3"}}}
    for command in commands[1:]:
        (thing,) = command["add"].values()
        assert thing["table"] == "colony_a1b2c3"
    kinds = [next(iter(command["add"])) for command in commands]
    assert kinds == ["table"] + ["set"] * 5 + ["chain"] * 3 + ["rule"] * 16


def test_a_colony_that_is_let_out_is_one_element_in_each_set() -> None:
    v4, v6 = IPv4Address("10.200.0.2"), IPv6Address("fd00::2")
    place = {"family": "inet", "table": "colony_a1b2c3"}
    assert ruleset.element("add", "a1b2c3", v4, v6) == [
        {"add": {"element": {**place, "name": "nat4", "elem": ["10.200.0.2"]}}},
        {"add": {"element": {**place, "name": "nat6", "elem": ["fd00::2"]}}},
    ]
    assert ruleset.element("delete", "a1b2c3", v4, None) == [
        {"delete": {"element": {**place, "name": "nat4", "elem": ["10.200.0.2"]}}},
    ]


def test_removing_a_table_bears_that_it_is_not_there() -> None:
    table = {"table": {"family": "inet", "name": "colony_a1b2c3"}}
    assert ruleset.remove_table("colony_a1b2c3") == [{"add": table}, {"delete": table}]
