"""New specs and flags for a running supervisor: Erlang's code_change and significant_upgrade_*."""

from __future__ import annotations

from typing import Any

import pytest

from actors import (
    Actor,
    Changes,
    ChildSpec,
    ConfigRefused,
    DynamicSupervisor,
    Flags,
    GetChildSpec,
    Normal,
    Reconfigure,
    RestartChild,
    Shutdown,
    StartChild,
    System,
    TerminateChild,
)
from tests.actors.supervised import Log, Script, child, die, kill, lives, ref_of, status, top_of


async def test_code_change() -> None:
    """What Erlang 25 answers to the same changes."""
    async with System() as system:
        log = Log(system)
        top = await system.start(top_of(*map(child, "abcd"), intensity=5))
        log.read()
        flags = Flags(strategy="one_for_all", intensity=3)
        new = (child("c"), child("x"), child("a"))
        assert await top.call(Reconfigure(new, flags)) == Changes(("x",), (), ("b", "d"))
        assert await status(top) == {
            "c": "running",
            "x": "undefined",
            "a": "running",
            "b": "running",
            "d": "running",
        }
        await top.call(Reconfigure((child("y"), child("d"), child("b"))))
        assert list(await status(top)) == ["y", "d", "b", "c", "x", "a"]
        assert log.read() == []


async def test_code_change_map() -> None:
    """A change that is not valid changes nothing (R105)."""
    async with System() as system:
        top = await system.start(top_of(child("a")))
        with pytest.raises(ConfigRefused, match="two children have the id 'b'") as caught:
            await top.call(Reconfigure((child("b"), child("b"))))
        assert caught.value.code == "duplicate_child_name"
        bad = child("a", restart="transient", significant=True)
        with pytest.raises(ConfigRefused, match="child 'a' is significant, but its supervisor"):
            await top.call(Reconfigure((bad,)))
        with pytest.raises(ConfigRefused, match="cannot become dynamic"):
            await top.call(Reconfigure((), Flags(dynamic=True)))
        assert await status(top) == {"a": "running"}
        assert (await top.call(GetChildSpec("a"))).significant is False


async def test_code_change_simple() -> None:
    async with System() as system:
        top = await system.start(DynamicSupervisor.spec(intensity=0).options(id="top"))
        await top.call(StartChild(child("a")))
        with pytest.raises(ConfigRefused, match="a dynamic supervisor has no list of children"):
            await top.call(Reconfigure((child("b"),)))
        changes = await top.call(Reconfigure((), Flags(dynamic=True, intensity=3)))
        assert changes == Changes((), (), ("a",))
        await kill(system, top, "a")
        assert await status(top) == {"a": "running"}


class Other(Actor):
    """Another kind of child."""


async def test_a_known_child_runs_on_and_is_restarted_under_its_new_spec() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a"), intensity=5))
        old = await ref_of(top, "a")
        new: ChildSpec[Any] = Other.spec().options(id="a")
        await top.call(Reconfigure((new,)))
        assert old.alive
        await kill(system, top, "a")
        assert (await ref_of(top, "a")).kind is Other


async def test_a_child_is_stopped_as_its_new_spec_says() -> None:
    async with System() as system:
        script = Script(stop_after=None)
        top = await system.start(top_of(child("a", script, shutdown=1000)))
        await top.call(Reconfigure((child("a", script, shutdown=1),)))
        began = system.now()
        await top.call(TerminateChild("a"))
        assert system.now() - began == pytest.approx(1)


async def test_a_change_as_far_as_it_goes() -> None:
    """How a reload goes on from what it is told: stop what vanished, start what is new."""
    async with System() as system:
        top = await system.start(top_of(child("a"), child("b")))
        changes = await top.call(Reconfigure((child("b"), child("c"))))
        for id in changes.vanished:
            await top.call(TerminateChild(id))
        for id in changes.added:
            await top.call(RestartChild(id))
        assert await status(top) == {"b": "running", "c": "running", "a": "undefined"}


async def test_new_flags_count_at_once() -> None:
    async with System() as system:
        top = await system.start(top_of(child("a"), child("b"), intensity=9))
        both = (child("a"), child("b"))
        await top.call(Reconfigure(both, Flags("one_for_all", intensity=9)))
        await die(top, "a")
        assert lives(system, "top/a", "top/b") == [2, 2]
        await top.call(Reconfigure(both, Flags("one_for_all", intensity=1)))
        await die(top, "a")
        assert not top.alive


def kind(significant: bool) -> ChildSpec[Any]:
    return child("a", restart="transient", significant=significant)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (("never", False), ("any_significant", True)),
        (("never", False), ("all_significant", True)),
        (("any_significant", True), ("never", False)),
        (("all_significant", True), ("never", False)),
        (("any_significant", True), ("all_significant", True)),
        (("any_significant", True), ("any_significant", False)),
        (("any_significant", False), ("any_significant", True)),
    ],
)
async def test_significant_upgrade(before: Any, after: Any) -> None:
    """significant_upgrade_*: the switch works in every direction."""
    async with System() as system:
        bystander = child("b", restart="transient", significant=before[0] != "never")
        top = await system.start(top_of(kind(before[1]), bystander, auto_shutdown=before[0]))
        other = child("b", restart="transient", significant=after[0] != "never")
        await top.call(Reconfigure((kind(after[1]), other), Flags(auto_shutdown=after[0])))
        await die(top, "a", Normal())
        assert top.alive == (after != ("any_significant", True))
        if after[0] == "all_significant":
            await die(top, "b", Normal())
            assert await top.stopped() == Shutdown()
