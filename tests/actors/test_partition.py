"""Partitions: a key always leads to the same one, also after a restart."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from actors import (
    Actor,
    Call,
    CountChildren,
    Counts,
    InvalidSpec,
    PartitionSupervisor,
    Router,
    System,
    on,
)
from actors.testing import settle


class Name(Call["Shard", str], frozen=True):
    pass


class Shard(Actor):
    def __init__(self, name: str = "alike") -> None:
        self.name = name

    @on(Name)
    def say(self, _msg: Name) -> str:
        return f"{self.ctx.path} {self.name}"


async def test_a_key_leads_to_the_same_partition() -> None:
    async with System() as system:
        top = await system.start(PartitionSupervisor.spec(Shard.spec(), partitions=3))
        router: Router[Shard] = await Router.of(top)
        assert len(router) == 3
        assert repr(router) == "<Router of 3 partitions>"
        assert [ref.path for ref in router] == [f"partition_supervisor/{n}" for n in range(3)]
        assert [router[n].path[-1] for n in (0, 1, 2, 3, 7, -1)] == ["0", "1", "2", "0", "1", "2"]
        assert {router[f"key {n}"].path[-1] for n in range(50)} == {"0", "1", "2"}
        assert router["web"] == router["web"]
        assert await top.call(CountChildren()) == Counts(3, 3, 0, 3)


async def test_each_partition_may_have_a_spec_of_its_own() -> None:
    async with System() as system:
        top = await system.start(
            PartitionSupervisor.spec(lambda n: Shard.spec(f"number {n}"), partitions=2)
        )
        router: Router[Shard] = await Router.of(top)
        assert await router[1].call(Name()) == "partition_supervisor/1 number 1"


async def test_the_router_survives_restarts() -> None:
    async with System() as system:
        top = await system.start(PartitionSupervisor.spec(Shard.spec(), partitions=2))
        router: Router[Shard] = await Router.of(top)
        system.kill(router[0])
        await settle()
        assert router[0].incarnation == 2
        assert await router[0].call(Name()) == "partition_supervisor/0 alike"


def test_a_key_leads_to_the_same_partition_in_every_run() -> None:
    program = (
        "from actors import Router; router = Router(tuple('abcdefg'));"
        "print([router[key] for key in ('x', b'y', (1, 'z'))])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1


@pytest.mark.parametrize("partitions", [0, -1, 1.5, True])
def test_there_is_at_least_one_partition(partitions: Any) -> None:
    with pytest.raises(InvalidSpec, match="partitions must be a whole number from 1 up, got:"):
        PartitionSupervisor.spec(Shard.spec(), partitions=partitions)


@pytest.mark.parametrize("child", [Shard, 3, None, lambda n: Shard])
def test_partitions_are_made_of_specs(child: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"a child must be a spec, such as Web\.spec\(\), got:"):
        PartitionSupervisor.spec(child, partitions=1)
