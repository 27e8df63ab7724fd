"""Who may reach whom, and under what names."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv4Network

from colony.network.policy import (
    Member,
    between,
    hosts,
    lets_in,
    outward,
    ports_of,
    reach,
    wanted_names,
    why_not,
)
from netns.permits import EVERY_PORT, Permit

A4, B4, C4 = (IPv4Address(f"10.200.0.{number}") for number in (2, 3, 4))
A = Member("a", A4, ("web",), "back")
B = Member("b", B4, ("db",), "back", hostname="postgres")
C = Member("c", C4)


def test_a_network_is_who_lets_each_other_in() -> None:
    assert lets_in(B, A)
    assert lets_in(A, B)
    assert not lets_in(C, A)
    assert not lets_in(A, C)
    assert not lets_in(C, Member("d", A4))
    assert not lets_in(A, A)


def test_allow_from_comes_before_the_network() -> None:
    only_c = Member("b", B4, network="back", allow_from=("c",))
    assert lets_in(only_c, C)
    assert not lets_in(only_c, A)
    assert not lets_in(Member("b", B4, network="back", allow_from=()), A)


def test_an_allow_list_narrows_the_ports() -> None:
    for written in ("b:5432", "postgres.colony.local:5432", "db.b:5432", "10.200.0.0/24:5432"):
        assert ports_of(Member("a", A4, network="back", allow=(written,)), B) == ((5432, 5432),)
    assert ports_of(Member("a", A4, network="back", allow=("b:*", "b:1")), B) == (EVERY_PORT,)
    assert ports_of(Member("a", A4, network="back", allow=()), B) == ()
    assert ports_of(Member("a", A4, allow=("b:5432",)), B) == ()


def test_between_is_every_pair_that_may() -> None:
    assert between([A, B, C]) == {
        Permit(A4, IPv4Network(B4), EVERY_PORT),
        Permit(B4, IPv4Network(A4), EVERY_PORT),
    }


def test_reach_is_every_pair_that_may_without_a_look_at_the_others() -> None:
    chance = random.Random(7)
    names = [f"c{number}" for number in range(12)]
    for _ in range(50):
        members = [
            Member(
                name,
                IPv4Address(f"10.200.0.{number + 2}"),
                network=chance.choice([None, "one", "two"]),
                allow_from=chance.choice([None, (), tuple(chance.sample(names, 3))]),
                allow=chance.choice([None, (), (f"{chance.choice(names)}:80",)]),
            )
            for number, name in enumerate(names)
        ]
        in_order = sorted(members, key=lambda each: each.colony)
        wanted = {
            source.colony: tuple(target for target in in_order if ports_of(source, target))
            for source in members
        }
        assert reach(members) == {name: found for name, found in wanted.items() if found}
        for each in members:
            assert hosts(each, reach(members).get(each.colony, ())) == hosts(each, members)


def test_hosts_are_ones_own_and_the_neighbours_that_are_reached() -> None:
    assert hosts(A, [A, B, C]) == {
        "a.colony.local": "127.0.0.1",
        "web.a": "127.0.0.1",
        "web.a.colony.local": "127.0.0.1",
        "web": "127.0.0.1",
        "web.colony.local": "127.0.0.1",
        "b": "10.200.0.3",
        "b.colony.local": "10.200.0.3",
        "postgres": "10.200.0.3",
        "postgres.colony.local": "10.200.0.3",
        "db.b": "10.200.0.3",
        "db.b.colony.local": "10.200.0.3",
    }


def test_a_service_of_ones_own_hides_a_neighbour_of_that_name() -> None:
    me = Member("a", A4, ("b",), "back")
    assert hosts(me, [me, B])["b"] == "127.0.0.1"


def test_outward_holds_no_two_that_overlap() -> None:
    allow = ("0.0.0.0/0:443", "10.0.0.0/8:443", "10.1.0.0/16:*", "10.0.0.0/15:80", "x.example:443")
    me = Member("a", A4, allow=allow)
    assert wanted_names([me, B]) == {"x.example"}
    found = outward([me, B], {"x.example": (IPv4Address("192.0.2.1"),)}, [IPv4Address("9.9.9.9")])
    at = {(str(each.network), each.ports) for each in found}
    assert {("10.1.0.0/16", EVERY_PORT), ("10.0.0.0/16", (80, 80))} < at
    assert ("9.9.9.9/32", (53, 53)) in at
    https = [each.network for each in found if each.ports == (443, 443)]
    assert sum(network.num_addresses for network in https) == 2**32 - 2**16
    for one in found:
        for other in found - {one}:
            apart = one.ports[1] < other.ports[0] or other.ports[1] < one.ports[0]
            assert apart or not one.network.overlaps(other.network)


def test_why_not_names_what_would_let_it() -> None:
    assert why_not(A, B, 5432) == ""
    assert why_not(C, B, 5432) == (
        "b lets nobody in but its own network; name c in its allow_from, or give both one `network`"
    )
    strict = Member("b", B4, network="back", allow_from=("c", "d"))
    assert why_not(A, strict, 5432) == "b lets in c, d (its allow_from)"
    assert why_not(A, Member("b", B4, allow_from=()), 1) == "b lets in nobody (its allow_from)"
    listed = Member("a", A4, network="back", allow=("b:5432",))
    assert why_not(listed, B, 5432) == ""
    assert why_not(listed, B, 80) == ("a goes only where its `allow` says, and b:80 is not in it")


def test_nobodys_localhost_is_a_neighbour() -> None:
    called_so = Member("localhost", B4, ("db",), "back")
    found = hosts(A, [called_so])
    assert "localhost" not in found
    assert found["db.localhost"] == found["localhost.colony.local"] == str(B4)


def test_a_wildcard_names_those_neighbours_whose_names_it_covers() -> None:
    every = Member("a", A4, network="back", allow=("*.colony.local:5432",), direct=False)
    assert ports_of(every, B) == ((5432, 5432),)
    assert wanted_names([every, B]) == frozenset()
