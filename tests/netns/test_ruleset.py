from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from netns import ruleset


def test_the_hosts_table_bears_the_instances_id_in_every_command() -> None:
    commands = ruleset.host_rules("a1b2c3")
    assert commands[0] == {"add": {"table": {"family": "inet", "name": "colony_a1b2c3"}}}
    for command in commands[1:]:
        (thing,) = command["add"].values()
        assert thing["table"] == "colony_a1b2c3"
    kinds = [next(iter(command["add"])) for command in commands]
    assert kinds == ["table"] + ["set"] * 5 + ["chain"] * 5 + ["rule"] * 21


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
