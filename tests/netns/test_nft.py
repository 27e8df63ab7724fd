from __future__ import annotations

import pytest

from netns import ruleset
from netns.errors import PacketFilterError
from netns.nft import Nft, available
from tests.netns.support import in_own_network


def test_the_library_is_here() -> None:
    assert available()


@pytest.mark.parametrize("log", [0, 7])
def test_our_rules_are_accepted_again_and_again(log: int) -> None:
    def check() -> None:
        with Nft() as nft:
            for _ in range(2):
                rules = ruleset.host_rules("a1b2c3", log)
                nft.run(ruleset.remove_table("colony_a1b2c3") + rules, "making the host's rules")
            assert nft.tables() == [("inet", "colony_a1b2c3")]
            nft.run(ruleset.remove_table("colony_a1b2c3"), "removing")
            nft.run(ruleset.remove_table("colony_a1b2c3"), "removing what is not there")
            assert nft.tables() == []

    in_own_network(check)


def test_a_refusal_says_what_was_being_done_and_changes_nothing() -> None:
    def check() -> None:
        with Nft() as nft:
            table = {"table": {"family": "inet", "name": "colony_a1b2c3"}}
            with pytest.raises(PacketFilterError) as caught:
                nft.run(
                    [{"add": table}, {"delete": {"table": {"family": "inet", "name": "no"}}}], "x"
                )
            assert str(caught.value) == "x: Could not process rule: No such file or directory"
            assert nft.tables() == []

    in_own_network(check)


def test_a_name_is_never_syntax() -> None:
    def check() -> None:
        with Nft() as nft:
            evil = "a; add table inet evil"
            with pytest.raises(PacketFilterError):
                nft.run([{"add": {"table": {"family": "inet", "name": "x" * 300}}}], "x")
            nft.run([{"add": {"table": {"family": "inet", "name": evil}}}], "x")
            assert nft.tables() == [("inet", evil)]

    in_own_network(check)


def test_a_closed_one_says_so() -> None:
    def check() -> None:
        nft = Nft()
        assert repr(nft) == "<Nft open>"
        nft.close()
        nft.close()
        assert repr(nft) == "<Nft closed>"
        with pytest.raises(PacketFilterError, match="x: this connection to the packet filter is"):
            nft.run([], "x")

    in_own_network(check)
