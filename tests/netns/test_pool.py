from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netns.errors import NetnsError
from netns.pool import (
    DEFAULT_POOL,
    Address,
    Pool,
    candidates,
    choose_network,
    overlapping,
    preferring,
    ula_network,
)

V6 = IPv6Network("fd00:1:2::/48")


def network(text: str) -> IPv4Network:
    return IPv4Network(text)


def test_an_address_is_the_same_number_in_both_families() -> None:
    pool = Pool(v6=V6)
    first = pool.allocate("a")
    assert first == Address(
        v4=IPv4Address("10.200.0.2"),
        v6=V6[2],
        gateway4=IPv4Address("10.200.0.1"),
        gateway6=V6[(1 << 64) | 2],
    )
    assert str(first) == "10.200.0.2"
    assert str(pool.allocate("b").v4) == "10.200.0.3"
    assert repr(pool) == "<Pool 10.200.0.0/16 2 held, 0 remembered>"


def test_a_colony_keeps_its_address_while_it_has_it_and_after() -> None:
    pool = Pool(v6=V6)
    first = pool.allocate("a")
    assert pool.allocate("a") == first
    pool.release("a")
    assert len(pool) == 0
    assert pool.allocate("b") != first
    assert pool.allocate("a") == first
    pool.release("nobody")


def test_no_address_ends_in_0_or_255() -> None:
    pool = Pool(v6=V6)
    last = [int(pool.allocate(f"c{n}").v4) % 256 for n in range(600)]
    assert 0 not in last
    assert 255 not in last
    assert str(pool.allocate("next").v4) == "10.200.2.94"


def test_a_full_pool_takes_back_the_longest_released_then_refuses() -> None:
    pool = Pool(network("10.9.0.0/29"), V6)  # .2 to .6
    held = {name: pool.allocate(name) for name in "abcde"}
    pool.release("d")
    pool.release("b")
    assert pool.allocate("f") == held["d"]
    assert pool.allocate("b") == held["b"]
    with pytest.raises(NetnsError) as caught:
        pool.allocate("g")
    assert str(caught.value) == "the pool 10.9.0.0/29 is full: 5 colonies have addresses"


def test_reserve_gives_a_colony_the_address_of_an_earlier_life() -> None:
    pool = Pool(v6=V6)
    pool.reserve("a", IPv4Address("10.200.0.2"))
    pool.reserve("a", IPv4Address("10.200.0.9"))  # moved: the other is free again
    assert str(pool.allocate("b").v4) == "10.200.0.2"
    assert str(pool.allocate("a").v4) == "10.200.0.9"
    assert pool.remembered() == {
        "a": IPv4Address("10.200.0.9"),
        "b": IPv4Address("10.200.0.2"),
    }
    assert set(pool.held()) == {"a", "b"}


def test_an_address_given_up_by_reserve_is_used_again() -> None:
    pool = Pool(network("10.9.0.0/29"), V6)
    pool.allocate("a")
    pool.release("a")
    pool.reserve("a", IPv4Address("10.9.0.6"))
    assert [str(pool.allocate(name).v4) for name in "bcde"] == [
        "10.9.0.2",
        "10.9.0.3",
        "10.9.0.4",
        "10.9.0.5",
    ]


@pytest.mark.parametrize("address", ["10.200.0.0", "10.200.0.1", "10.200.1.255", "10.201.0.2"])
def test_reserve_refuses_what_is_no_colonys_address(address: str) -> None:
    with pytest.raises(NetnsError, match=f"{address} is not a colony's address in the pool"):
        Pool(v6=V6).reserve("a", IPv4Address(address))


def test_reserve_refuses_anothers_address_and_a_holders() -> None:
    pool = Pool(v6=V6)
    pool.allocate("a")
    with pytest.raises(NetnsError, match="it belongs to colony 'a'"):
        pool.reserve("b", IPv4Address("10.200.0.2"))
    with pytest.raises(NetnsError, match=r"colony 'a' holds 10\.200\.0\.2 already"):
        pool.reserve("a", IPv4Address("10.200.0.7"))


def test_a_pool_is_not_too_small() -> None:
    with pytest.raises(NetnsError, match="at least a /29"):
        Pool(network("10.0.0.0/30"))


@given(st.lists(st.tuples(st.sampled_from("arR"), st.sampled_from("abcdefgh")), max_size=60))
def test_two_colonies_never_share_an_address(steps: list[tuple[str, str]]) -> None:
    pool = Pool(network("10.9.0.0/29"), V6)
    for step, colony in steps:
        try:
            if step == "a":
                pool.allocate(colony)
            elif step == "r":
                pool.release(colony)
            else:
                pool.reserve(colony, IPv4Address("10.9.0.4"))
        except NetnsError:
            pass
        addresses = [address.v4 for address in pool.held().values()]
        assert len(set(addresses)) == len(addresses)
        remembered = list(pool.remembered().values())
        assert len(set(remembered)) == len(remembered)
        assert set(addresses) <= set(remembered)


def test_the_first_candidate_without_an_overlapping_route_is_chosen() -> None:
    assert choose_network([]) == network("10.200.0.0/16")
    assert choose_network([network("10.200.3.0/24")]) == network("10.201.0.0/16")
    assert choose_network([network("10.200.0.5/32"), network("10.201.0.0/16")]) == network(
        "10.202.0.0/16"
    )
    assert choose_network([network("10.0.0.0/8")]) == network("172.30.0.0/16")
    assert choose_network([network("10.0.0.0/8"), network("172.16.0.0/12")]) == network(
        "100.120.0.0/16"
    )


def test_a_way_to_everywhere_is_nobodys_network() -> None:
    everywhere = [network("0.0.0.0/0"), network("0.0.0.0/1"), network("128.0.0.0/1")]
    assert choose_network(everywhere) == network("10.200.0.0/16")
    assert overlapping(network("10.200.0.0/16"), everywhere) == []


def test_no_candidate_left_is_an_error_that_names_them() -> None:
    with pytest.raises(NetnsError) as caught:
        choose_network([network("10.200.0.0/15")], [network("10.200.0.0/16")])
    assert str(caught.value) == (
        "no free network for the colonies: the host has routes into all of "
        "10.200.0.0/16 … 10.200.0.0/16; set another pool"
    )
    assert len(list(candidates())) == 66


def test_a_ula_network_is_random_looking_and_the_same_for_the_same_seed() -> None:
    assert ula_network("a") == ula_network("a")
    assert ula_network("a") != ula_network("b")
    assert ula_network("a").prefixlen == 48
    assert ula_network("a").subnet_of(IPv6Network("fd00::/8"))


def test_what_was_had_before_comes_first() -> None:
    had = ["10.204.0.2", "10.201.0.9", "10.204.1.7", "192.0.2.1", "10.204.0.3"]
    found = list(preferring(had))
    assert found[:3] == [network("10.204.0.0/16"), network("10.201.0.0/16"), DEFAULT_POOL]
    assert sorted(found) == sorted(candidates())
    assert list(preferring([])) == list(candidates())
