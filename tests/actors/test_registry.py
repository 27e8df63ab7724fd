"""Registries and groups: an entry ends with its actor, before anybody hears of the death."""

from __future__ import annotations

from typing import Any

import pytest

from actors import (
    Actor,
    ActorDown,
    Call,
    Cast,
    Down,
    Entry,
    Event,
    Groups,
    KeyTaken,
    Mailbox,
    Ref,
    Registered,
    Registry,
    Supervisor,
    System,
    Unregistered,
    events,
    on,
)
from actors.testing import settle


class Member(Actor):
    """Registers under its keys when it starts."""

    def __init__(self, registry: Registry[Any, Any, Any], *keys: str) -> None:
        self.registry = registry
        self.names = keys

    def start(self) -> None:
        for key in self.names:
            self.registry.register(self.ctx.ref, key, len(key))


class Heard(Call["Listener", list[str]], frozen=True):
    pass


class Watch(Cast["Listener"], frozen=True):
    ref: Ref[Any]


class Listener(Actor):
    """Writes down the news, and what it finds in the registry when they come."""

    def __init__(self, registry: Registry[Any, Any, Any]) -> None:
        self.registry = registry
        self.heard: list[str] = []

    @on(Registered)
    def registered(self, msg: Registered) -> None:
        self.heard.append(f"+{msg.key} {msg.ref.path} {msg.value}")

    @on(Unregistered)
    def unregistered(self, msg: Unregistered) -> None:
        self.heard.append(f"-{msg.key} {msg.ref.path}")

    @on(Watch)
    def watch(self, msg: Watch) -> None:
        self.ctx.monitor(msg.ref)

    @on(Down)
    def down(self, msg: Down) -> None:
        self.heard.append(f"down {msg.ref.path}, {len(self.registry)} entries")

    @on(Heard)
    def all(self, _msg: Heard) -> list[str]:
        return self.heard


async def test_a_unique_key_stands_for_one_actor() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system)
        one = await system.start(Member.spec(registry, "blue", "red").options(id="one"))
        two = await system.start(Member.spec(registry).options(id="two"))
        assert registry.lookup("blue") == (Entry(one, 4),)
        assert registry.find("blue") == registry.one("blue") == one
        assert registry.keys_of(one) == ("blue", "red")
        with pytest.raises(KeyTaken, match="the key 'blue' is taken by one"):
            registry.register(two, "blue", 0)
        with pytest.raises(KeyTaken, match="the key 'blue' is taken by one"):
            registry.register(one, "blue", 0)
        assert registry.unregister(two, "blue") is False
        assert registry.unregister(one, "blue") is True
        registry.register(two, "blue", 0)
        assert registry.find("blue") == two
        assert (len(registry), "red" in registry, "green" in registry) == (2, True, False)
        assert repr(registry) == "<Registry of 2 entries under 2 unique keys>"


async def test_a_duplicate_key_stands_for_any_number_in_order() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system, "duplicate")
        refs = [await system.start(Member.spec(registry, "k").options(id=id)) for id in "abc"]
        assert [entry.ref for entry in registry.lookup("k")] == refs
        system.kill(refs[1])
        await refs[1].stopped()
        assert [entry.ref.path for entry in registry.lookup("k")] == ["a", "c"]
        with pytest.raises(KeyTaken):
            registry.register(refs[0], "k", 1)


async def test_nothing_is_found_under_an_unknown_key() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system)
        assert registry.lookup("x") == ()
        assert registry.find("x") is None
        with pytest.raises(ActorDown, match="'x' is down: no such actor"):
            registry.one("x")


async def test_values_change_and_are_selected_by() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system)
        one = await system.start(Member.spec(registry, "blue", "red"))
        assert registry.update(one, "red", lambda value: value + 10) == 13
        assert registry.select(lambda key, value: value > 10) == (("red", Entry(one, 13)),)
        with pytest.raises(LookupError, match="member is not registered under 'green'"):
            registry.update(one, "green", lambda value: value)


async def test_r12_the_key_is_free_before_anybody_hears_of_the_death() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system)
        member = await system.start(Member.spec(registry, "blue", "red"))
        listener = await system.start(Listener.spec(registry))
        registry.listen(listener)
        listener.tell(Watch(member))
        await settle()
        seen: list[int] = []

        def note(event: Event) -> None:
            if isinstance(event, events.Exited):
                seen.append(len(registry))

        system.events.listen(note)
        system.kill(member)
        await member.stopped()
        assert seen == [0]
        await settle()
        assert await listener.call(Heard()) == [
            "-blue member",
            "-red member",
            "down member, 0 entries",
        ]


async def test_a_restarted_actor_registers_again() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system)
        await system.start(Supervisor.spec([Member.spec(registry, "blue")]).options(id="top"))
        first = registry.one("blue")
        system.kill(first)
        await settle()
        assert registry.one("blue") == first
        assert first.incarnation == 2


async def test_a_dead_actor_cannot_register_and_has_no_keys() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system)
        member = await system.start(Member.spec(registry, "blue"))
        await system.stop_actor(member)
        assert registry.keys_of(member) == ()
        with pytest.raises(ActorDown):
            registry.register(member, "blue", 1)


async def test_listeners_hear_of_all_and_have_to_be_able_to() -> None:
    async with System() as system:
        registry: Registry[str, Member, int] = Registry(system)
        listener = await system.start(Listener.spec(registry))
        registry.listen(listener)
        member = await system.start(Member.spec(registry, "blue"))
        registry.unregister(member, "blue")
        await settle()
        assert await listener.call(Heard()) == ["+blue member 4", "-blue member"]
        with pytest.raises(TypeError, match="member cannot listen: it has no handler for Reg"):
            registry.listen(member)
        await system.stop_actor(listener)
        registry.register(member, "blue", 1)


def test_keys_are_unique_or_duplicate() -> None:
    with pytest.raises(ValueError, match=r"keys must be one of .*, got: 'many'"):
        Registry(System(), "many")  # type: ignore[arg-type]


# -- groups ----------------------------------------------------------------------------------------


class Line(Cast[Any], frozen=True):
    text: str


class Other(Cast[Any], frozen=True):
    pass


class Viewer(Actor):
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    @on(Line)
    def line(self, msg: Line) -> None:
        self.seen.append(f"{self.ctx.path}: {msg.text}")


async def test_members_hear_what_is_published_in_their_group() -> None:
    seen: list[str] = []
    async with System() as system:
        groups: Groups[str, Line] = Groups(system, Line)
        a, b = [await system.start(Viewer.spec(seen).options(id=id)) for id in "ab"]
        assert groups.join(a, "web") is True
        assert groups.join(a, "web") is False
        groups.join(b, "web")
        groups.join(b, "api")
        assert groups.publish("web", Line("one")) == 2
        assert groups.publish("api", Line("two")) == 1
        assert groups.publish("none", Line("three")) == 0
        await settle()
        assert sorted(seen) == ["a: one", "b: one", "b: two"]
        assert groups.groups_of(b) == ("web", "api")
        assert groups.leave(b, "web") is True
        assert groups.leave(b, "web") is False
        assert groups.members("web") == (a,)
        await system.stop_actor(a)
        assert groups.members("web") == ()
        assert repr(groups) == "<Groups of Line: 1 members>"


async def test_who_does_not_handle_the_message_cannot_join() -> None:
    async with System() as system:
        groups: Groups[str, Line] = Groups(system, Line)
        member = await system.start(Member.spec(Registry(system)))
        with pytest.raises(TypeError, match="member cannot join: it has no handler for Line"):
            groups.join(member, "web")
        with pytest.raises(TypeError, match=r"published here is Line, got: Other\(\)"):
            groups.publish("web", Other())  # type: ignore[arg-type]


async def test_a_full_mailbox_misses_it_and_nobody_else_does() -> None:
    seen: list[str] = []
    async with System() as system:
        groups: Groups[str, Line] = Groups(system, Line)
        full = await system.start(
            Viewer.spec(seen).options(id="full", mailbox=Mailbox(limit=1, policy="reject"))
        )
        free = await system.start(Viewer.spec(seen).options(id="free"))
        for ref in (full, free):
            groups.join(ref, "web")
        assert [groups.publish("web", Line(str(n))) for n in range(3)] == [2, 1, 1]


def test_groups_need_to_know_what_is_published() -> None:
    with pytest.raises(TypeError, match="Groups needs the classes of the messages"):
        Groups(System())
