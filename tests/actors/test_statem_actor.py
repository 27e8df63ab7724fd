"""State machines as actors: on both backends, in virtual time."""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest

from actors import (
    Abnormal,
    ActorDown,
    Call,
    Cast,
    Refused,
    Reply,
    Stop,
    System,
    Unhandled,
    on,
)
from actors.state_machine import IllegalEvent, StateMachine, enters, when
from actors.testing import settle


class Door(Enum):
    LOCKED = "locked"
    OPEN = "open"
    BROKEN = "broken"


class Code(Call["Lock", bool], frozen=True):
    """Types a code; whether the door opened."""

    code: str


class Close(Cast["Lock"], frozen=True):
    pass


class Shut(Cast["Lock"], frozen=True):
    pass


class Enter(Call["Lock", str], frozen=True):
    """Waits until the door is open."""

    who: str


class Look(Call["Lock", Door], frozen=True):
    pass


class Oil(Call["Lock", None], frozen=True):
    """Only the table knows it."""


class Hit(Cast["Lock"], frozen=True):
    pass


class Lock(StateMachine[Door]):
    """A door with a code lock that shuts by itself after ten seconds."""

    initial = Door.LOCKED
    transitions: ClassVar = {
        (Door.OPEN, Close): Door.LOCKED,
        (Door.BROKEN, Oil): Door.LOCKED,
        (Door.LOCKED, Hit): Door.BROKEN,
    }

    def __init__(self, log: list[str]) -> None:
        self.log = log

    @enters(Door.LOCKED, Door.OPEN)
    def entered(self, old: Door) -> None:
        self.log.append(f"{old.value} → {self.state.value}")
        if self.state is Door.OPEN:
            self.state_timeout(10.0, Shut())

    @when(Code, Door.LOCKED)
    def code(self, msg: Code) -> bool:
        if msg.code == "stop":
            raise Refused("no")
        if msg.code != "1234":
            return False
        self.goto(Door.OPEN)
        return True

    @when(Shut, Door.OPEN)
    async def shut(self, _msg: Shut) -> None:
        await anyio.lowlevel.checkpoint()
        self.log.append("shuts by itself")
        self.goto(Door.LOCKED)

    @when(Enter, Door.OPEN)
    def enter(self, msg: Enter) -> str:
        if msg.who == "thief":
            raise Refused("not you")
        self.log.append(f"{msg.who} enters")
        return f"welcome {msg.who}"

    @when(Enter, Door.LOCKED)
    def wait(self, msg: Enter) -> str:
        self.postpone()
        return "never heard"

    @on(Look)
    def look(self, _msg: Look) -> Door:
        return self.state


async def test_a_machine_changes_its_state_and_times_out() -> None:
    log: list[str] = []
    async with System() as system:
        lock = await system.start(Lock.spec(log))
        assert await lock.call(Look()) is Door.LOCKED
        assert await lock.call(Code("0000")) is False
        assert await lock.call(Code("1234")) is True
        assert await lock.call(Look()) is Door.OPEN
        await anyio.sleep(9.9)
        assert await lock.call(Look()) is Door.OPEN
        await anyio.sleep(0.2)
        assert await lock.call(Look()) is Door.LOCKED
        assert log == [
            "locked → locked",
            "locked → open",
            "shuts by itself",
            "open → locked",
        ]


async def test_a_table_moves_without_a_handler_and_the_timeout_of_the_old_state_is_void() -> None:
    log: list[str] = []
    async with System() as system:
        lock = await system.start(Lock.spec(log))
        await lock.call(Code("1234"))
        lock.tell(Close())
        await anyio.sleep(20)
        assert log == ["locked → locked", "locked → open", "open → locked"]
        lock.tell(Hit())
        assert await lock.call(Look()) is Door.BROKEN
        await lock.call(Oil())
        assert await lock.call(Look()) is Door.LOCKED


async def test_postponed_callers_wait_for_the_state_and_are_answered_in_order() -> None:
    log: list[str] = []
    async with System() as system:
        lock = await system.start(Lock.spec(log))
        answers: list[str] = []

        async def enter(who: str) -> None:
            try:
                answers.append(await lock.call(Enter(who)))
            except Refused as refused:
                answers.append(str(refused))

        async with anyio.create_task_group() as group:
            for who in ("ann", "thief", "bob"):
                group.start_soon(enter, who)
                await settle()
            assert answers == []
            await lock.call(Code("1234"))
        assert log[1:] == ["locked → open", "ann enters", "bob enters"]
        assert sorted(answers) == ["not you", "welcome ann", "welcome bob"]


async def test_a_postponed_caller_is_told_when_the_machine_dies() -> None:
    async with System() as system:
        lock = await system.start(Lock.spec([]))
        failures: list[Any] = []

        async def enter() -> None:
            try:
                await lock.call(Enter("ann"))
            except ActorDown as down:
                failures.append(down.reason.orderly)

        async with anyio.create_task_group() as group:
            group.start_soon(enter)
            await settle()
            system.kill(lock)
        assert failures == [False]


async def test_an_illegal_call_fails_its_caller_names_all_and_changes_nothing() -> None:
    async with System() as system:
        lock = await system.start(Lock.spec([]))
        await lock.call(Code("1234"))
        with pytest.raises(IllegalEvent) as caught:
            await lock.call(Code("1234"))
        assert str(caught.value) == (
            "lock handles no Code in state OPEN; there it handles Close, Enter, Look, Shut"
        )
        assert await lock.call(Look()) is Door.OPEN


async def test_an_illegal_cast_ends_the_machine() -> None:
    async with System() as system:
        lock = await system.start(Lock.spec([]))
        lock.tell(Close())
        reason = await lock.stopped()
        assert "lock handles no Close in state LOCKED" in str(reason)


async def test_refused_changes_nothing() -> None:
    async with System() as system:
        lock = await system.start(Lock.spec([]))
        with pytest.raises(Refused, match="no"):
            await lock.call(Code("stop"))
        assert await lock.call(Look()) is Door.LOCKED


async def test_a_message_that_no_state_handles_is_an_error_at_the_sender() -> None:
    async with System() as system:
        lock = await system.start(Lock.spec([]))
        with pytest.raises(Unhandled):
            lock.tell(Start())  # type: ignore[arg-type]


# -- what a handler may ask for, and where ---------------------------------------------------------


class Level(Enum):
    LOW = 0
    HIGH = 1


class Do(Call["Asker", Any], frozen=True):
    """Does something with the machine, by name."""

    what: str
    arguments: tuple[Any, ...] = ()


class Start(Cast["Asker"], frozen=True):
    pass


class Note(Cast["Asker"], frozen=True):
    text: str


class Later(Call["Asker", str], frozen=True):
    pass


class Asker(StateMachine[Level]):
    def __init__(self, log: list[str], *, on_enter: str = "") -> None:
        self.log = log
        self.on_enter = on_enter
        self.waiting: list[Reply[str]] = []

    def start(self) -> None:
        self.initial = Level.LOW

    @on(Do)
    def do(self, msg: Do) -> Any:
        return getattr(self, msg.what)(*msg.arguments)

    @on(Start)
    def begin(self, _msg: Start) -> None:
        self.insert(Note("first"))
        self.insert(Note("second"))
        self.timeout("zero", 0, Note("zero"))
        self.goto(Level.HIGH)

    @on(Note)
    def note(self, msg: Note) -> None:
        self.log.append(msg.text)

    @when(Later, Level.LOW)
    def later(self, _msg: Later) -> Reply[str]:
        self.postpone()
        return self.defer()

    @when(Later, Level.HIGH)
    def now(self, _msg: Later) -> Reply[str]:
        self.waiting.append(self.defer())
        self.timeout("answer", 5.0, Note("answer"))
        return self.waiting[-1]

    def answer(self) -> None:
        self.waiting.pop().send("here")

    @enters(Level.LOW, Level.HIGH)
    def entered(self, old: Level) -> None:
        self.log.append(f"{old.name} → {self.state.name}")
        if self.on_enter:
            getattr(self, self.on_enter)(*((Level.HIGH,) if self.on_enter == "goto" else ()))

    def boom(self) -> None:
        self.goto(Level.HIGH)
        raise Stop(Abnormal("boom"))

    def last(self) -> str:
        self.insert(Note("not any more"))
        self.ctx.stop()
        return "bye"


async def test_inserted_messages_come_before_timeouts_and_both_before_the_mailbox() -> None:
    log: list[str] = []
    async with System() as system:
        asker = await system.start(Asker.spec(log))
        asker.tell(Start())
        asker.tell(Note("from outside"))
        await settle()
        assert log == ["LOW → LOW", "LOW → HIGH", "first", "second", "zero", "from outside"]


async def test_repeat_state_enters_again() -> None:
    log: list[str] = []
    async with System() as system:
        asker = await system.start(Asker.spec(log))
        await asker.call(Do("repeat_state"))
        await settle()
        assert log == ["LOW → LOW", "LOW → LOW"]


async def test_event_and_named_timeouts() -> None:
    log: list[str] = []
    async with System() as system:
        asker = await system.start(Asker.spec(log))
        log.clear()
        await asker.call(Do("event_timeout", (5.0, Note("idle"))))
        await asker.call(Do("timeout", ("a", 6.0, Note("old a"))))
        await asker.call(Do("update_timeout", ("a", Note("new a"))))
        await asker.call(Do("timeout", ("b", 7.0, Note("b"))))
        await asker.call(Do("cancel_timeout", ("b",)))
        await anyio.sleep(10)
        assert log == ["new a"]
        await asker.call(Do("event_timeout", (5.0, Note("idle"))))
        await anyio.sleep(10)
        assert log == ["new a", "idle"]


async def test_a_deferred_reply_of_a_postponed_call() -> None:
    async with System() as system:
        asker = await system.start(Asker.spec([]))
        answers: list[str] = []

        async def ask() -> None:
            answers.append(await asker.call(Later()))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await settle()
            await asker.call(Do("goto", (Level.HIGH,)))
            await settle()
            assert answers == []
            await asker.call(Do("answer"))
        assert answers == ["here"]


@pytest.mark.parametrize(
    ("what", "arguments", "text"),
    [
        ("timeout", ("x", -1, Note("")), "a timeout must be seconds from 0 up, got: -1"),
        ("timeout", ("x", math.nan, Note("")), "a timeout must be seconds from 0 up, got: nan"),
    ],
)
async def test_a_wrong_time_is_refused(what: str, arguments: Any, text: str) -> None:
    async with System() as system:
        asker = await system.start(Asker.spec([]))
        with pytest.raises(ActorDown, match=text):
            await asker.call(Do(what, arguments))


@pytest.mark.parametrize("wish", ["goto", "postpone", "repeat_state"])
async def test_r108_an_enter_handler_may_not_move_nor_postpone(wish: str) -> None:
    async with System() as system:
        asker = await system.start(Asker.spec([], on_enter=wish))
        reason = await asker.stopped()
        assert f"{wish} is not possible in a method marked @enters (R108)" in str(reason)


def test_outside_of_a_handler_nothing_can_be_asked_for() -> None:
    with pytest.raises(RuntimeError, match="goto belongs in a handler of Asker"):
        Asker([]).goto(Level.HIGH)


async def test_a_crash_leaves_no_change_behind_and_a_stop_ends_it_at_once() -> None:
    log: list[str] = []
    async with System() as system:
        asker = await system.start(Asker.spec(log))
        with pytest.raises(ActorDown, match="boom"):
            await asker.call(Do("boom"))
        assert log == ["LOW → LOW"]
        again = await system.start(Asker.spec(log))
        assert await again.call(Do("last")) == "bye"
        assert str(await again.stopped()) == "normal"
        assert "not any more" not in log


# -- the class -------------------------------------------------------------------------------------


def test_a_rule_for_a_state_of_another_enum_is_an_error_at_class_creation() -> None:
    with pytest.raises(TypeError, match=r"Wrong has a rule for <Level.LOW: 0>, which is no Door"):

        class Wrong(StateMachine[Door]):
            initial = Door.OPEN
            transitions: ClassVar = {(Door.OPEN, Close): Level.LOW}


def test_when_needs_states() -> None:
    with pytest.raises(TypeError, match="@when takes a class of messages and then states"):
        when(Close)


class Muffled(Lock):
    """Overrides need no marks."""

    def enter(self, msg: Enter) -> str:
        return f"shh {msg.who}"


async def test_an_override_takes_the_place_of_the_handler() -> None:
    async with System() as system:
        lock: Any = await system.start(Muffled.spec([]))
        await lock.call(Code("1234"))
        assert await lock.call(Enter("ann")) == "shh ann"
