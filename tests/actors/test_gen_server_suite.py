"""The portable cases of Erlang's gen_server_SUITE, under its names.

Its send_request_* are in `test_requests.py`, start_event_timeout and the like in `test_timers.py`,
its group of get_state and replace_state in `test_introspection.py`.
"""

from __future__ import annotations

import itertools
import sys
from typing import Any

import anyio
import pytest

from actors import (
    IGNORE,
    Abnormal,
    Actor,
    ActorDown,
    Answers,
    CallTimeout,
    Cast,
    Crashed,
    CrashReport,
    Deadlock,
    Down,
    Killed,
    Normal,
    Reason,
    Refused,
    Reply,
    Shutdown,
    StartFailed,
    StartTimeout,
    Stop,
    System,
    Unhandled,
    call_all,
    crashes,
    events,
    introspection,
    on,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Note, Puppet, raises, recorded

KINDS = pytest.mark.parametrize("kind", [Puppet, Doll])


@KINDS
async def test_start(kind: Any) -> None:
    """Anonymous and named; the name is taken; ignore, stop, and a start that takes too long."""
    async with System() as system:
        a = await system.start(kind.spec().options(id="a", name="it"))
        assert system.whereis("it") == a
        with pytest.raises(StartFailed, match="the name 'it' is taken by a"):
            await system.start(kind.spec().options(id="b", name="it"))
        for id, hook, reason in (
            ("c", lambda _: IGNORE, Shutdown("ignored")),
            ("d", raises(Stop(Abnormal("no"))), Abnormal("no")),
        ):
            with pytest.raises(StartFailed) as failed:
                await system.start(kind.spec(starting=hook).options(id=id))
            assert failed.value.reason == reason
        with pytest.raises(StartFailed) as failed:
            await system.start(
                Puppet.spec(starting=lambda _: anyio.sleep(9)).options(id="e", start_timeout=1.0)
            )
        assert failed.value.reason == StartTimeout(1.0)
        assert [node.path for node in system.tree()] == ["a"]


@KINDS
@pytest.mark.parametrize("reason", [Normal(), Shutdown(), Abnormal("other")])
async def test_stop(kind: Any, reason: Reason) -> None:
    """stop1 to stop10: by whom and with which reason, the last word is the actor's."""
    async with System() as system:
        log: list[Any] = []
        ref = await system.start(kind.spec(log))
        assert await system.stop_actor(ref, reason) == reason
        assert log == [("stopping", reason)]
        assert await system.stop_actor(ref, Shutdown("again")) == reason
        with pytest.raises(ActorDown):
            await ref.call(Do(lambda _: 1))


@KINDS
async def test_crash(kind: Any) -> None:
    """One report a crash, with the message; an orderly end is none."""
    async with System() as system:
        for n, (error, orderly) in enumerate(
            ((Stop(), True), (Stop(Shutdown("x")), True), (RuntimeError("boom"), False))
        ):
            ref = await system.start(kind.spec().options(id=f"k{n}"))
            message = Do(raises(error))
            with recorded(system, events.Exited) as seen:
                with pytest.raises(ActorDown):
                    await ref.call(message)
                await ref.stopped()
            [event] = seen
            assert isinstance(event, events.Exited)
            assert (event.message, event.reason.orderly) == (message, orderly)
            if isinstance(event.reason, Crashed):
                assert "RuntimeError: boom" in event.reason.traceback


@KINDS
@pytest.mark.parametrize(
    "hook", [lambda _: IGNORE, raises(Stop()), raises(Stop(Shutdown())), raises(RuntimeError())]
)
async def test_loop_start_fail(kind: Any, hook: Any) -> None:
    """Failed starts, again and again: no name, no place, no actor is left of them."""
    async with System() as system:
        for _ in range(5):
            with pytest.raises(StartFailed):
                await system.start(kind.spec(starting=hook).options(name="it"))
            assert system.whereis("it") is None
            assert system.tree() == ()
        assert system.statistics().names == 0


@KINDS
async def test_otp_7669(kind: Any) -> None:
    """A name is free as soon as the start has failed: a hundred quick retries find it so."""
    async with System() as system:
        for n in range(100):
            hook = (lambda _: IGNORE) if n % 2 else raises(Stop(Abnormal("no")))
            with pytest.raises(StartFailed) as failed:
                await system.start(kind.spec(starting=hook).options(name="it"))
            assert failed.value.reason == (Shutdown("ignored") if n % 2 else Abnormal("no"))


async def test_call() -> None:
    """An answer at once, delayed, and too late."""
    async with System() as system:
        ref = await system.start(Puppet.spec())
        assert await ref.call(Do(lambda _: "hi")) == "hi"

        async def delayed(actor: Puppet) -> Reply[str]:
            reply: Reply[str] = actor.ctx.defer()

            async def later() -> None:
                await anyio.sleep(1)
                reply.send("delayed")

            actor.ctx.run(later)
            return reply

        assert await ref.call(Do(delayed)) == "delayed"
        with pytest.raises(CallTimeout):
            await ref.call(Do(delayed), timeout=0.5)
        await anyio.sleep(2)
        assert await ref.call(Do(lambda _: "alive")) == "alive"


@KINDS
async def test_cast(kind: Any) -> None:
    async with System() as system:
        log: list[Any] = []
        ref = await system.start(kind.spec(log))
        ref.tell(Note("hi"))
        ref.tell(Act(lambda actor: actor.log.append("there")))
        await settle()
        assert log == ["hi", "there"]


async def test_continue() -> None:
    """After the start and before what the starter, who has its ref by then, sends."""
    async with System() as system:
        log: list[Any] = []
        ref = await system.start(Puppet.spec(log, continuing=lambda a: a.log.append("continue")))
        ref.tell(Note("message"))
        await settle()
        assert log == ["continue", "message"]


async def test_calling_self() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        with pytest.raises(ActorDown) as down:
            await ref.call(Do(lambda actor: actor.ctx.ref.call(Do(lambda _: 1))))
        assert isinstance(down.value.reason, Crashed)
        assert isinstance(down.value.reason.error, Deadlock)


async def test_call_with_huge_message_queue() -> None:
    """What waits in the caller's own mailbox does not make its calls more work."""
    async with System() as system:
        server = await system.start(Puppet.spec().options(id="server"))
        client = await system.start(Puppet.spec().options(id="client"))

        async def calls(_actor: Any) -> int:
            made = itertools.count()
            before = sys.getprofile()
            sys.setprofile(lambda *_: next(made))
            try:
                for _ in range(100):
                    await server.call(Do(lambda _: 1))
            finally:
                sys.setprofile(before)
            return next(made)

        alone = await client.call(Do(calls))
        request = client.request(Do(calls))
        for n in range(50_000):
            client.tell(Note(n))
        assert await request < 1.1 * alone
        system.kill(client)
        assert await client.stopped() == Killed()


# -- undef_*: what an actor does without ---------------------------------------------------------


class Bare(Actor):
    """Has nothing of its own."""


class BareWithTask(Actor):
    """The same, with a task."""

    @on(Note)
    async def note(self, msg: Note) -> None:
        pass


BARE = pytest.mark.parametrize("kind", [Bare, BareWithTask])


@BARE
async def test_undef_init_undef_terminate(kind: Any) -> None:
    """Neither a start nor a stopping of its own is needed, and the reason is what it was told."""
    async with System() as system:
        ref = await system.start(kind.spec())
        assert await system.stop_actor(ref, Abnormal("told")) == Abnormal("told")


@BARE
async def test_undef_handle_call_undef_handle_cast(kind: Any) -> None:
    """In Erlang the server crashes; here the sender hears of it and the actor does not."""
    async with System() as system:
        ref = await system.start(kind.spec())
        with pytest.raises(Unhandled, match="has no handler for Do"):
            await ref.call(Do(lambda _: 1))
        with pytest.raises(Unhandled, match="has no handler for Act"):
            ref.tell(Act(lambda _: 1))
        assert ref.alive


@BARE
async def test_undef_handle_info(kind: Any) -> None:
    """What the kernel sends and nobody handles is an event, and harms nobody."""
    async with System() as system:
        other = await system.start(Doll.spec())
        ref = await system.start(kind.spec())
        cell: Any = ref._slot.cell
        with recorded(system, events.Undelivered) as seen:
            cell.actor.ctx.monitor(other)
            await system.stop_actor(other)
            await settle()
        [event] = seen
        assert isinstance(event, events.Undelivered)
        assert isinstance(event.message, Down)
        assert ref.alive


@KINDS
async def test_undef_in_handle_info_undef_in_terminate(kind: Any) -> None:
    """An error within a handler, or within `stopping`, is that error."""
    error = AttributeError("undefined")
    async with System() as system:
        ref = await system.start(kind.spec())
        ref.tell(Act(raises(error)))
        assert await ref.stopped() == Crashed(error)
        ref = await system.start(kind.spec(ending=raises(error)))
        assert await system.stop_actor(ref) == Crashed(error)


# -- format_status -------------------------------------------------------------------------------


class Hush(Cast[Any], frozen=True):
    """A message that does not show what is in it."""

    secret: str

    def __repr__(self) -> str:
        if self.secret == "worse":
            raise ValueError("hush")
        return "Hush(…)"


class Keeper(Actor):
    def __init__(self) -> None:
        self.secret = "hunter2"

    @on(Hush)
    def hush(self, msg: Hush) -> None:
        raise RuntimeError("boom")


@pytest.mark.parametrize("secret", ["hunter2", "worse"])
async def test_format_status(secret: str) -> None:
    """No report shows an actor's state, and of a message only what its repr does.

    A repr that raises is no second crash: terminate_crash_format, crash_in_format_status.
    """
    async with System() as system:
        ref = await system.start(Keeper.spec())
        assert "hunter2" not in introspection.as_text(system.tree())
        with recorded(system, CrashReport) as seen:
            ref.tell(Hush(secret))
            await ref.stopped()
        [report] = seen
        assert isinstance(report, CrashReport)
        text = crashes.text(report)
        assert "hunter2" not in text
        shown = "Hush(…)" if secret == "hunter2" else "<Hush, whose repr raises ValueError>"
        assert f"  message: {shown}\n" in text


# -- multi_call ----------------------------------------------------------------------------------


@KINDS
async def test_multicall(kind: Any) -> None:
    async with System() as system:
        refs = [await system.start(kind.spec([n]).options(id=f"k{n}")) for n in range(3)]
        found = await call_all([*refs, refs[0]], Do(lambda actor: actor.log[0]))
        assert found.answers == {ref: n for n, ref in enumerate(refs)}
        assert found.failures == {}
        assert await call_all([], Do(lambda _: 1)) == Answers({}, {})


@KINDS
async def test_multicall_down(kind: Any) -> None:
    """Who is down, dies of it, or refuses is said, each with its reason; the others answer."""
    async with System() as system:
        refs = [await system.start(kind.spec([n]).options(id=f"k{n}")) for n in range(4)]
        await system.stop_actor(refs[0])

        def work(actor: Any) -> Any:
            if actor.log[0] == 1:
                raise RuntimeError("boom")
            if actor.log[0] == 2:
                raise Refused("not me")
            return actor.log[0]

        found = await call_all(refs, Do(work))
        assert found.answers == {refs[3]: 3}
        assert [str(found.failures[ref]) for ref in refs[:3]] == [
            "k0 is down: shutdown",
            "k1 is down: RuntimeError: boom",
            "not me",
        ]


async def test_multicall_with_one_deadline() -> None:
    async with System() as system:
        refs = [await system.start(Puppet.spec([n]).options(id=f"k{n}")) for n in range(3)]

        async def work(actor: Any) -> Any:
            await anyio.sleep(2 * actor.log[0])
            return actor.log[0]

        found = await call_all(refs, Do(work), timeout=3.0)
        assert system.now() == 3.0
        assert found.answers == {refs[0]: 0, refs[1]: 1}
        assert [str(error) for error in found.failures.values()] == [
            "k2 did not answer Do within 3 s"
        ]


async def test_multicall_in_a_cycle_and_without_a_handler() -> None:
    async with System() as system:
        a, b = [await system.start(Puppet.spec().options(id=id)) for id in "ab"]

        async def asks_all(_actor: Any) -> Any:
            return await call_all([a, b], Do(lambda _: 1))

        found = await a.call(Do(asks_all))
        assert found.answers == {b: 1}
        assert isinstance(found.failures[a], Deadlock)
        bare = await system.start(Bare.spec())
        with pytest.raises(Unhandled):
            await call_all([a, bare], Do(lambda _: 1))


@KINDS
async def test_cast_fast(kind: Any) -> None:
    """A cast returns at once whatever has become of the actor; one to the dead is an event."""
    async with System() as system:
        ref = await system.start(kind.spec())
        await system.stop_actor(ref)
        with recorded(system, events.DeadLetter) as seen:
            for n in range(3):
                ref.tell(Note(n))
        assert [letter.message for letter in seen if isinstance(letter, events.DeadLetter)] == [
            Note(n) for n in range(3)
        ]


async def test_reply_by_alias_with_payload() -> None:
    """A late answer, however big, reaches nobody, and not the caller's next call either."""
    held: list[Reply[bytes]] = []

    def defers(actor: Any) -> Any:
        held.append(actor.ctx.defer())
        return held[0]

    async with System() as system:
        ref = await system.start(Puppet.spec())
        with pytest.raises(CallTimeout):
            await ref.call(Do(defers), timeout=1.0)
        held[0].send(b"x" * 1_000_000)
        assert await ref.call(Do(lambda _: "own")) == "own"
