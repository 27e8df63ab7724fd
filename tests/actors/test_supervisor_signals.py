"""What reaches a supervisor from outside (R66), and what its death leaves behind (law 2)."""

from __future__ import annotations

import gc
from typing import Any

import anyio
import pytest

from actors import (
    Abnormal,
    Actor,
    Backoff,
    Cast,
    Killed,
    Normal,
    Reason,
    Ref,
    Registry,
    RestartChild,
    Shutdown,
    Supervisor,
    System,
    TerminateChild,
    on,
)
from actors.testing import settle
from tests.actors.supervised import Log, child, die, ref_of, status, top_of


class Send(Cast["Stranger"], frozen=True):
    """Send somebody an exit signal."""

    to: Ref[Any]
    reason: Reason


class Tie(Cast["Stranger"], frozen=True):
    to: Ref[Any]


class Stranger(Actor):
    @on(Send)
    def send(self, msg: Send) -> None:
        self.ctx.exit(msg.to, msg.reason)

    @on(Tie)
    def tie(self, msg: Tie) -> None:
        self.ctx.link(msg.to)


@pytest.mark.parametrize("reason", [Normal(), Shutdown(), Abnormal("foo")])
async def test_r66_a_strangers_exit_signal_is_ignored(reason: Reason) -> None:
    async with System() as system:
        top = await system.start(top_of(child("a")))
        stranger = await system.start(Stranger.spec())
        stranger.tell(Send(top, reason))
        await settle()
        assert await status(top) == {"a": "running"}


async def test_r66_the_death_of_a_linked_stranger_is_ignored() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a")))
        stranger = await system.start(Stranger.spec())
        stranger.tell(Tie(top))
        await settle()
        system.kill(stranger)
        await settle()
        assert await status(top) == {"a": "running"}


async def test_r66_a_stranger_with_the_id_of_a_child_does_not_pass_for_it() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a"), intensity=0))
        stranger = await system.start(Stranger.spec().options(id="a"))
        stranger.tell(Tie(top))
        await settle()
        system.kill(stranger)
        await settle()
        assert await status(top) == {"a": "running"}


@pytest.mark.parametrize("reason", [Normal(), Abnormal("foo")])
async def test_r66_the_parents_end_ends_it_with_the_parents_reason(reason: Reason) -> None:
    async with System() as system:
        inner = Supervisor.spec([child("a")]).options(id="inner")
        parent = await system.start(Parent.spec(inner))
        log = Log(system)
        await system.stop_actor(parent, reason)
        assert log.read() == [
            "exited parent/inner/a: shutdown",
            f"exited parent/inner: {reason}",
            f"exited parent: {reason}",
        ]


class Parent(Actor):
    """An actor that is no supervisor and has one as its child."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    async def start(self) -> None:
        await self.ctx.start_child(self.inner)


class Holder(Actor):
    """Takes a key when it starts, or fails."""

    def __init__(self, keys: Registry[str, Any, None]) -> None:
        self.keys = keys

    def start(self) -> None:
        self.keys.register(self.ctx.ref, "the port", None)


async def test_the_children_of_a_killed_supervisor_are_gone_before_its_successor_starts() -> None:
    async with System() as system:
        keys: Registry[str, Any, None] = Registry(system)
        inner = Supervisor.spec([Holder.spec(keys), child("slow")]).options(id="inner")
        top = await system.start(top_of(inner))
        log = Log(system)
        system.kill(await ref_of(top, "inner"))
        await settle()
        assert log.read() == [
            "exited top/inner/slow: killed",
            "exited top/inner/holder: killed",
            "exited top/inner: killed",
            "started top/inner/holder",
            "started top/inner/slow",
            "started top/inner",
        ]


async def test_killed_is_what_the_supervisor_of_a_killed_supervisor_sees() -> None:
    async with System() as system:
        inner = Supervisor.spec([child("a")]).options(id="inner", restart="temporary")
        top = await system.start(top_of(inner))
        ref = await ref_of(top, "inner")
        system.kill(ref)
        assert await ref.stopped() == Killed()
        assert await status(top) == {}


@pytest.mark.parametrize("waits", [True, False], ids=["for its backoff", "for an operator"])
async def test_a_place_that_nobody_refers_to_counts_its_lives_on(waits: bool) -> None:
    backoff = Backoff(min=10.0, jitter=0.0) if waits else None
    async with System() as system:
        top = await system.start(top_of(child("a", backoff=backoff)))
        if waits:
            await die(top, "a")
        else:
            await top.call(TerminateChild("a"))
        await anyio.sleep(5)
        gc.collect()
        if waits:
            await anyio.sleep(6)
        else:
            await top.call(RestartChild("a"))
        assert (await ref_of(top, "a")).incarnation == 2
