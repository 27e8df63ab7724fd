"""R37: calls as values, alone and in collections (gen_server_SUITE's send_request_*)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from actors import (
    Actor,
    ActorDown,
    Call,
    CallTimeout,
    Deadlock,
    Mailbox,
    MailboxFull,
    Ref,
    Refused,
    Request,
    Requests,
    Stop,
    System,
    Unhandled,
    events,
    on,
    requests,
)
from actors.testing import settle
from tests.actors.helpers import Act, Do, Doll, Puppet, raises, recorded


def sleeps(seconds: float, value: Any = None) -> Callable[[Any], Any]:
    """Work that takes some time."""

    async def work(_actor: Any) -> Any:
        await anyio.sleep(seconds)
        return value

    return work


@pytest.mark.parametrize("kind", [Puppet, Doll])
async def test_a_request_is_sent_at_once_and_answered_later(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        request = ref.request(Do(lambda _: 7))
        assert not request.done()
        assert repr(request) == f"<Request Do to {ref.path} pending>"
        with pytest.raises(RuntimeError, match="has no answer yet: await its response"):
            request.result()
        assert await request.response() == 7
        assert await request == 7
        assert (request.done(), request.result()) == (True, 7)


async def test_the_response_in_time_and_too_late() -> None:
    """receive_response: after the timeout the request is abandoned."""
    async with System() as system:
        ref = await system.start(Puppet.spec())
        request = ref.request(Do(sleeps(2, "late")))
        with pytest.raises(CallTimeout) as late:
            await request.response(timeout=1)
        assert str(late.value) == "puppet did not answer Do within 1 s"
        await anyio.sleep(5)
        with pytest.raises(CallTimeout):
            request.result()
        assert await ref.request(Do(sleeps(1, "early"))).response(timeout=2) == "early"


async def test_waiting_keeps_a_request_alive() -> None:
    """wait_response: after the timeout it may be waited for again."""
    async with System() as system:
        request = (await system.start(Puppet.spec())).request(Do(sleeps(2, "answer")))
        assert await request.wait(timeout=1) is False
        assert await request.wait(timeout=1.5) is True
        assert request.result() == "answer"


async def test_cancelling_a_wait_leaves_the_request_alive() -> None:
    async with System() as system:
        request = (await system.start(Puppet.spec())).request(Do(sleeps(2, "answer")))
        with anyio.move_on_after(1):
            await request.response()
        assert await request.response() == "answer"


async def test_any_number_of_tasks_may_wait() -> None:
    async with System() as system:
        request = (await system.start(Puppet.spec())).request(Do(sleeps(1, "answer")))
        found: list[Any] = []

        async def reader() -> None:
            found.append(await request)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(reader)
        assert found == ["answer"] * 3


@pytest.mark.parametrize("kind", [Puppet, Doll])
async def test_what_a_call_raises_a_request_raises(kind: Any) -> None:
    async with System() as system:
        ref = await system.start(kind.spec())
        with pytest.raises(Refused, match="no"):
            await ref.request(Do(raises(Refused("no"))))
        request = ref.request(Do(raises(ZeroDivisionError())))
        with pytest.raises(ActorDown):
            await request
        with pytest.raises(ActorDown):
            await ref.request(Do(lambda _: 7))
        with pytest.raises(Unhandled):
            ref.request(Other())


class Other(Call[Any, None], frozen=True):
    """Nobody handles it."""


async def test_a_full_mailbox_is_the_answer() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec().options(mailbox=Mailbox(1)))
        ref.tell(Act(sleeps(1)))
        await settle()
        waiting, refused = ref.request(Do(lambda _: 1)), ref.request(Do(lambda _: 2))
        with pytest.raises(MailboxFull):
            refused.result()
        assert await waiting == 1


async def test_an_abandoned_request_is_worked_on_and_its_answer_dropped() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        worked: list[int] = []
        request = ref.request(Do(lambda _: worked.append(1)))
        request.abandon()
        await settle()
        assert worked == [1]
        with pytest.raises(RuntimeError, match="Do was abandoned"):
            request.result()


async def test_an_actor_that_waits_for_its_own_request_is_told_of_the_deadlock() -> None:
    async with System() as system:
        a, b = [await system.start(Puppet.spec().options(id=id)) for id in "ab"]

        async def asks_itself(actor: Puppet) -> Any:
            return await actor.ctx.ref.request(Do(lambda _: 7))

        with recorded(system, events.Exited) as seen, pytest.raises(ActorDown):
            await a.call(Do(asks_itself))
        [event] = seen
        assert isinstance(event, events.Exited)
        assert str(event.reason) == "Deadlock: this call can never be answered: a → a"

        async def asks_back(_: Puppet) -> Any:
            return await b.request(Do(lambda _: 7))

        async def asks(_: Puppet) -> Any:
            try:
                return await c.request(Do(asks_back))
            except ActorDown as down:
                return str(down.reason)

        c = await system.start(Puppet.spec().options(id="c"))
        assert await b.call(Do(asks)) == ("Deadlock: this call can never be answered: c → b → c")


async def test_two_tasks_of_an_actor_may_wait_for_one_request() -> None:
    async with System() as system:
        a, b = [await system.start(Puppet.spec().options(id=id)) for id in "ab"]

        async def waits_twice(_: Puppet) -> bool:
            request = b.request(Do(sleeps(1)))
            async with anyio.create_task_group() as group:
                group.start_soon(request.wait)
                group.start_soon(request.wait)
            return request.done()

        assert await a.call(Do(waits_twice)) is True
        assert [node.waits_for for node in system.tree()] == [(), ()]


# -- collections -----------------------------------------------------------------------------------


async def test_a_collection_gives_the_requests_as_they_are_answered() -> None:
    async with System() as system, requests() as rq:
        refs = [await system.start(Puppet.spec().options(id=f"p{n}")) for n in range(4)]
        for n, seconds in enumerate((3, 1, 2)):
            rq.send(refs[n], Do(sleeps(seconds, n * n)), label=n)
        rq.send(refs[3], Do(raises(Stop())), label="dead")
        assert len(rq) == 4
        found = [(one.label, _outcome(one)) async for one in rq]
        assert found == [("dead", "p3 is down: normal"), (1, 1), (2, 4), (0, 0)]
        assert len(rq) == 0


def _outcome(request: Request[Any]) -> Any:
    try:
        return request.result()
    except ActorDown as down:
        return str(down)


async def test_a_collection_grows_while_it_is_read() -> None:
    async with System() as system, requests() as rq:
        ref: Ref[Puppet] = await system.start(Puppet.spec())
        rq.send(ref, Do(lambda _: 3))
        found: list[int] = []
        async for one in rq:
            found.append(one.result())
            if one.result():
                rq.add(ref.request(Do(lambda _: found[-1] - 1)))
        assert found == [3, 2, 1, 0]


async def test_waiting_with_a_limit_loses_no_answer() -> None:
    async with System() as system, requests() as rq:
        rq.send(await system.start(Puppet.spec()), Do(sleeps(2, "answer")))
        with anyio.move_on_after(1) as limit:
            await anext(rq)
        assert limit.cancelled_caught
        assert (await anext(rq)).result() == "answer"


async def test_what_is_left_at_the_end_of_the_block_is_abandoned() -> None:
    async with System() as system:
        ref = await system.start(Puppet.spec())
        async with requests() as rq:
            request = rq.send(ref, Do(sleeps(2)))
        with pytest.raises(RuntimeError, match="Do was abandoned"):
            request.result()


async def test_an_answered_request_may_be_added_and_one_only_once() -> None:
    async with System() as system, requests() as rq:
        request = (await system.start(Puppet.spec())).request(Do(lambda _: 7))
        await request
        rq.add(request, label="it")
        with pytest.raises(ValueError, match="is in a collection already"):
            rq.add(request)
        assert [one.label async for one in rq] == ["it"]


class Silent(Actor):
    """Never answers."""

    def __init__(self) -> None:
        self.handles: list[Any] = []

    @on(Do)
    async def do(self, msg: Do) -> Any:
        self.handles.append(self.ctx.defer())
        return self.handles[-1]


async def test_a_deferred_answer_and_none_because_of_a_death() -> None:
    async with System() as system, requests() as rq:
        ref = await system.start(Silent.spec())
        request = rq.send(ref, Do(lambda _: 0))
        await settle()
        assert not request.done()
        system.kill(ref)
        [found] = [one async for one in rq]
        with pytest.raises(ActorDown, match="silent is down: killed"):
            found.result()


# -- deadlocks of collections ----------------------------------------------------------------------


async def actors_named(system: System, names: str) -> list[Ref[Any]]:
    return [await system.start(Puppet.spec().options(id=name)) for name in names]


def collects(*asked: tuple[Ref[Any], Any]) -> Any:
    """A handler that collects the outcomes of all these calls."""

    async def work(_actor: Puppet) -> list[Any]:
        async with requests() as rq:
            for ref, message in asked:
                rq.send(ref, message, label=ref.path)
            return [(one.label, _outcome(one)) async for one in rq]

    return Do(work)


async def test_a_collection_that_only_its_own_actor_could_answer() -> None:
    async with System() as system:
        a, b = await actors_named(system, "ab")
        with pytest.raises(ActorDown) as down:
            await a.call(collects((a, Do(lambda _: 1)), (b, Do(lambda _: 2))))
        assert str(down.value.reason) == "Deadlock: this call can never be answered: a → a"


async def test_whoever_closes_a_cycle_over_a_collection_hears_of_it() -> None:
    """b is all that a waits for, so its call to a is refused; and a gets its answer."""
    async with System() as system:
        a, b = await actors_named(system, "ab")

        async def asks_back(_actor: Puppet) -> str:
            try:
                await a.call(Do(lambda _: 1))
            except Deadlock as deadlock:
                return str(deadlock)
            return "answered"

        assert await a.call(collects((b, Do(asks_back)))) == [
            ("b", "this call can never be answered: b → a → b")
        ]


async def test_a_cycle_that_another_answer_may_open_is_none() -> None:
    """c may answer, and a may then leave its handler: b's call waits for that, and is served."""
    async with System() as system:
        a, b, c = await actors_named(system, "abc")

        async def asks_back(_actor: Puppet) -> Any:
            return await a.call(Do(lambda _: "served"))

        async def takes_the_first(_actor: Puppet) -> Any:
            rq = Requests()
            late = rq.send(b, Do(asks_back))
            rq.send(c, Do(sleeps(1, "c")))
            first = await anext(rq)
            return first.result(), late

        word, late = await a.call(Do(takes_the_first))
        assert word == "c"
        assert await late == "served"


async def test_all_that_a_collection_waits_for_may_lead_back_in_different_ways() -> None:
    """a waits for b or c; b waits for a, which may be; then c asks a, which can never be."""
    async with System() as system:
        a, b, c = await actors_named(system, "abc")

        async def asks(_actor: Puppet) -> Any:
            return await a.call(Do(lambda _: 1))

        async def asks_later(_actor: Puppet) -> str:
            await anyio.sleep(1)
            try:
                return str(await a.call(Do(lambda _: 1)))
            except Deadlock as deadlock:
                return str(deadlock)

        async def takes_the_first(_actor: Puppet) -> Any:
            rq = Requests()
            rq.send(b, Do(asks))
            rq.send(c, Do(asks_later))
            first = await anext(rq)
            return first.path, first.result()

        found = await a.call(Do(takes_the_first))
        assert found == ("c", "this call can never be answered: c → a → c")


async def test_the_tree_says_for_whom_a_collection_waits() -> None:
    async with System() as system:
        a, b, c = await actors_named(system, "abc")
        request = a.request(collects((b, Do(sleeps(1))), (c, Do(sleeps(2)))))
        await settle()
        assert [node.waits_for for node in system.tree()] == [("b", "c"), (), ()]
        await anyio.sleep(1.5)
        assert [node.waits_for for node in system.tree()] == [("c",), (), ()]
        await request


async def test_a_deferred_answer_keeps_a_collection_from_a_deadlock() -> None:
    async with System() as system:
        a, b = await actors_named(system, "ab")
        held: list[Any] = []

        def defers(actor: Puppet) -> Any:
            held.append(actor.ctx.defer())
            return held[0]

        async def asks(_actor: Puppet) -> Any:
            return await a.call(Do(lambda _: "after"))

        first = a.request(collects((b, Do(defers))))
        await settle()
        second = b.request(Do(asks))
        await settle()
        held.pop().send("held")
        assert await first == [("b", "held")]
        assert await second == "after"
