"""docs/otp.md: every rule is in it, what it names exists, and rules that nobody else tests."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import anyio
import pytest

import actors
from actors import (
    Actor,
    Call,
    Exit,
    Ignore,
    Killed,
    Reply,
    StartFailed,
    System,
    Timer,
    on,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Note, Puppet

TEXT = Path(__file__).parents[2].joinpath("docs", "otp.md").read_text("utf-8")


def test_every_rule_is_in_it() -> None:
    found: set[int] = set()
    for first, last in re.findall(r"R(\d+)(?:–R(\d+))?", TEXT):
        found.update(range(int(first), int(last or first) + 1))
    assert set(range(1, 112)) - found == set()


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([A-Z][A-Za-z]+\.[a-z_]+)`", TEXT))))
def test_what_it_names_exists(name: str) -> None:
    owner, attribute = name.split(".")
    kind: Any = getattr(actors, owner)
    assert hasattr(kind, attribute) or f"self.{attribute} = " in inspect.getsource(kind)


class Sulky(Actor):
    """Does not start."""

    async def start(self) -> Ignore | None:
        raise RuntimeError


async def test_r18_a_failed_start_leaves_the_trapping_starter_no_message() -> None:
    async with System() as system:

        async def start_it(actor: Puppet) -> None:
            actor.ctx.trap_exit = True
            with pytest.raises(StartFailed):
                await actor.ctx.start_child(Sulky.spec())

        ref = await system.start(Puppet.spec())
        await ref.call(Do(start_it))
        await settle()
        assert [m for m in await ref.call(Do(lambda a: a.log)) if isinstance(m, Exit)] == []


async def test_r20_to_stop_the_dead_returns_the_reason_of_their_end() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        system.kill(ref)
        await ref.stopped()
        assert await system.stop_actor(ref) == Killed()


async def test_r22_a_call_waits_as_long_as_it_takes() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        await ref.call(Do(lambda _: anyio.sleep(86_400)))
        assert system.now() == 86_400


class Ask(Call["Hasty", str], frozen=True):
    """Answered before the work is done."""


class Hasty(Actor):
    """Replies, and goes on."""

    def __init__(self) -> None:
        self.done: list[str] = []

    @on(Ask)
    async def ask(self, msg: Ask) -> str | Reply[str]:
        reply: Reply[str] = self.ctx.defer()
        reply.send("at once")
        await anyio.sleep(1)
        self.done.append("the rest")
        return reply

    @on(Act)
    def act(self, msg: Act) -> None:
        msg.work(self)


async def test_r33_a_handler_that_has_answered_goes_on_before_the_next_message() -> None:
    async with System() as system:
        ref = await system.start(Hasty.spec())
        seen: list[Any] = []
        before = system.now()
        assert await ref.call(Ask()) == "at once"
        ref.tell(Act(lambda actor: seen.append(list(actor.done))))
        await settle()
        assert (system.now(), seen) == (before, [])
        await anyio.sleep(2)
        assert seen == [["the rest"]]


async def test_r34_a_timer_is_taken_back_by_hand() -> None:
    log: list[Any] = []
    async with System() as system:
        ref = await system.start(Puppet.spec(log))
        timer: Timer = await ref.call(Do(lambda a: a.ctx.send_after(5, Note("nothing came"))))
        await anyio.sleep(4)
        assert timer.cancel()
        await anyio.sleep(4)
    assert log == [("stopping", actors.Shutdown())]
