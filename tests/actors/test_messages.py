"""Messages and handlers: what is checked when a class is made, and what at the sender."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from actors import Actor, Call, Cast, InvalidSpec, Supervisor, System, Unhandled, on
from tests.actors.helpers import Do, Note, Puppet


class Add(Cast["Counter"], frozen=True):
    n: int


class Get(Call["Counter", int], frozen=True):
    pass


class Counter(Actor):
    def __init__(self, start: int = 0) -> None:
        self.n = start

    @on(Add)
    def add(self, msg: Add) -> None:
        self.n += msg.n

    @on(Get)
    async def get(self, msg: Get) -> int:
        return self.n


class Lost(Cast["Forgetful"], frozen=True):  # type: ignore[name-defined]
    pass


async def test_a_tell_and_a_call_reach_their_handlers() -> None:
    async with System() as system:
        counter = await system.start(Counter.spec(3))
        counter.tell(Add(4))
        assert await counter.call(Get()) == 7


def test_a_message_without_a_handler_is_an_error_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="Forgetful has no handler for Lost") as caught:
        type("Forgetful", (Actor,), {"__module__": __name__})
    assert str(caught.value) == (
        "Forgetful has no handler for Lost: the message names Forgetful as its actor, so a method "
        "of it must be marked @on(Lost)"
    )


def test_a_subclass_inherits_handlers_and_may_replace_them() -> None:
    class Double(Counter):
        @on(Add)
        def add(self, msg: Add) -> None:
            self.n += 2 * msg.n

    table: dict[type, Any] = Double.__handlers__
    assert set(table) == {Add, Get}
    assert table[Add].function is Double.add


def test_an_override_without_the_mark_is_still_the_handler() -> None:
    class Negative(Counter):
        def add(self, msg: Add) -> None:
            self.n -= msg.n

    assert Negative.__handlers__[Add].function is Negative.add


def test_on_takes_only_classes_of_messages() -> None:
    not_a_message: Any = int
    with pytest.raises(TypeError, match=r"@on takes a class of messages .* got: <class 'int'>"):
        on(not_a_message)


async def test_a_message_of_an_unhandled_type_is_an_error_at_the_sender() -> None:
    async with System() as system:
        counter: Any = await system.start(Counter.spec())
        with pytest.raises(Unhandled) as caught:
            counter.tell(Note("x"))
        assert (
            str(caught.value)
            == "counter is a Counter and has no handler for Note; it handles Add, Get"
        )
        with pytest.raises(Unhandled, match="no handler for Do"):
            await counter.call(Do(print))
        assert await counter.call(Get()) == 0


def test_messages_are_values_that_travel() -> None:
    assert Add(1) == Add(1)
    assert msgspec.json.decode(msgspec.json.encode(Add(3)), type=Add | Get) == Add(3)
    assert not gc.is_tracked(Add(1))


async def test_refs_are_equal_by_place_and_show_themselves() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec().options(id="p"))
        again = system.at("p")
        assert ref == again
        assert hash(ref) == hash(again)
        assert repr(ref) == "<Ref p Puppet #1 alive>"
        assert (ref.path, ref.kind, ref.incarnation, ref.alive) == ("p", Puppet, 1, True)
        await system.stop_actor(ref)
        assert repr(ref) == "<Ref p Puppet #1 down>"


class Sized(Actor):
    def __init__(self, size: int, *, name: str = "") -> None:
        self.size = size


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: _any(Sized).spec(1, nmae="x"),
            "Sized cannot be made so: got an unexpected keyword argument 'nmae': "
            "did you mean \"name\"? its options are 'size', 'name'",
        ),
        (
            lambda: _any(Sized).spec(),
            "Sized cannot be made so: missing a required argument: 'size'; "
            "its options are 'size', 'name'",
        ),
        (
            lambda: _any(Supervisor).spec([], strateg="one_for_all"),
            "Supervisor cannot be made so: got an unexpected keyword argument 'strateg': "
            "did you mean \"strategy\"? its options are 'children', 'strategy', 'intensity', "
            "'period', 'auto_shutdown', 'keep_stopped', 'limit_is_failure', 'seed'",
        ),
    ],
)
def test_a_spec_with_an_unknown_option_is_an_error_that_names_the_known_ones(
    make: Callable[[], Any], said: str
) -> None:
    with pytest.raises(InvalidSpec) as error:
        make()
    assert str(error.value) == said


def _any(kind: Any) -> Any:
    """Out of the type checker's sight, which would say the same."""
    return kind


async def test_a_class_in_the_place_of_its_spec_is_said_to_be_one() -> None:
    async with System() as system:
        with pytest.raises(TypeError, match=r"takes its spec, such as Web\.spec\(\), got: <class"):
            await system.start(_any(Sized))
    with pytest.raises(InvalidSpec, match=r"a child must be a spec, such as Web\.spec\(\)"):
        Supervisor.spec([_any(Sized)])
