from __future__ import annotations

import pytest

from netns import names
from netns.errors import NetnsError


def test_a_namespace_is_named_after_its_colony() -> None:
    assert names.namespace_name("my-app") == "colony-my-app"
    assert names.colony_of("colony-my-app") == "my-app"
    assert names.colony_of("my-app") is None
    assert names.colony_of("colony-") is None
    assert names.colony_of("colony-My_App") is None


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a_b", "a.b", "a/b", "ä", "a" * 41, "a\n"])
def test_a_bad_colony_name_is_refused_with_its_value(name: str) -> None:
    with pytest.raises(NetnsError) as caught:
        names.check_colony(name)
    assert str(caught.value) == (
        "a colony's name is 1 to 40 of a-z, 0-9 and '-', neither beginning nor ending with '-', "
        f"got: {name!r}"
    )


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "a" * 40])
def test_good_colony_names(name: str) -> None:
    assert names.check_colony(name) == name


@pytest.mark.parametrize("instance", ["", "12345", "1234567", "ABCDEF", "00000g", "000000"])
def test_a_bad_instance_id_is_refused(instance: str) -> None:
    with pytest.raises(NetnsError, match="six hex digits"):
        names.check_instance(instance)


def test_an_interface_name_is_short_unique_and_says_whose_it_is() -> None:
    assert names.link_name("a1b2c3", 1) == "vca1b2c3000001"
    assert names.link_name("a1b2c3", 0xFFFFFF) == "vca1b2c3ffffff"
    assert names.link_name("a1b2c3", 0x1000001) == "vca1b2c3000001"
    assert len(names.link_name("a1b2c3", 1)) <= names.INTERFACE_LIMIT
    assert names.link_name("a1b2c3", 1).startswith(names.link_prefix("a1b2c3"))


def test_group_and_table_lead_back_to_the_instance() -> None:
    assert names.link_group("a1b2c3") == 0x6CA1B2C3
    assert names.instance_of_group(0x6CA1B2C3) == "a1b2c3"
    assert names.instance_of_group(0) is None
    assert names.instance_of_group(0x6C000000) is None
    assert names.table_name("a1b2c3") == "colony_a1b2c3"
    assert names.instance_of_table("colony_a1b2c3") == "a1b2c3"
    assert names.instance_of_table("colony_web") is None
    assert names.instance_of_table("a1b2c3") is None


def test_alias_leads_back_to_instance_and_colony() -> None:
    assert names.alias("a1b2c3", "my-app") == "colony:a1b2c3:my-app"
    assert names.parse_alias("colony:a1b2c3:my-app") == ("a1b2c3", "my-app")
    for text in (None, "", "eth", "colony:a1b2c3", "colony:xyz:my-app", "colony:a1b2c3:My"):
        assert names.parse_alias(text) is None


def test_new_instances_are_valid() -> None:
    for _ in range(100):
        assert names.check_instance(names.new_instance())
    assert names.instance_number("00000a") == 10
