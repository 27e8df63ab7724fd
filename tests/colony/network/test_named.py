"""The subnets of named networks: what is taken, and what is free."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from colony.network.named import NamedNetworks, free_subnets, read_subnet
from netns import NetnsError
from netns.pool import Pool


def test_a_subnet_is_read() -> None:
    assert read_subnet(" 10.210.0.0/24 ") == IPv4Network("10.210.0.0/24")
    assert read_subnet("192.168.77.0/29") == IPv4Network("192.168.77.0/29")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("web", "a subnet is NETWORK/BITS, as 10.210.0.0/24: "),
        ("10.0.0.0/8", "a subnet is a /12 to a /29, got: 10.0.0.0/8"),
        ("127.0.0.0/24", "a subnet is of private addresses, as 10.210.0.0/24, got: 127.0.0.0/24"),
        ("169.254.1.0/24", "a subnet is of private addresses"),
        ("1.1.1.0/24", "a subnet is of private addresses"),
    ],
)
def test_what_is_none_is_said_why(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace("/", "/")):
        read_subnet(text)


def test_the_next_free_one_is_chosen() -> None:
    taken = [IPv4Network("10.199.1.0/24"), IPv4Network("10.199.2.0/23")]
    assert str(next(iter(free_subnets(taken)))) == "10.199.4.0/24"


def test_named_pools_have_their_own_part_of_everything() -> None:
    pool = Pool(v6=(ula := Pool().v6))
    pool.name("a", IPv4Network("10.210.0.0/24"))
    pool.name("b", IPv4Network("10.211.0.0/24"))
    found = [each.allocate("x") for each in pool.all]
    assert [str(each.v4) for each in found] == ["10.200.0.2", "10.210.0.2", "10.211.0.2"]
    assert [str(each.gateway4) for each in found] == ["10.200.0.1", "10.210.0.1", "10.211.0.1"]
    assert len({each.v6 for each in found} | {each.gateway6 for each in found}) == 6
    assert all(each.v6 in ula and each.gateway6 in ula for each in found)
    with pytest.raises(NetnsError, match=r"overlaps 10\.210\.0\.0/24, the addresses of network a"):
        pool.name("c", IPv4Network("10.210.0.0/25"))


def test_a_list_of_networks_that_cannot_be_read_is_said_in_words(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.write_text("a file, where the folder should be")
    file = home / "networks.json"
    with pytest.raises(NetnsError) as refused:
        NamedNetworks(file)._read()
    assert str(refused.value) == (
        f"{file}, where the networks are kept, cannot be read: Not a directory; "
        "COLONY_HOME names the folder"
    )
