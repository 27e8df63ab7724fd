"""`actors.testing`: seeded interleavings, exact idleness, probes, supervised actors in tests."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actors import Down, Exit, Killed, Ref, Shutdown, System
from actors.pytest_plugin import StartSupervised
from actors.testing import BACKENDS, BackendName, Probe, run, settle
from tests.actors.helpers import Act, Do, Doll, Note, Puppet, raises


async def race(kinds: tuple[Any, ...]) -> list[Any]:
    """Six actors pass a word around; who was where when is the result."""
    log: list[Any] = []

    def hop(left: int, me: int, refs: list[Ref[Any]]) -> Act:
        def work(_actor: Any) -> Any:
            log.append((me, left))
            if left:
                for step in (1, 2):
                    to = (me + step) % len(refs)
                    refs[to].tell(hop(left - 1, to, refs))

        return Act(work)

    async with System() as system:
        refs: list[Ref[Any]] = []
        for n in range(6):
            spec = kinds[n % len(kinds)].spec().options(id=f"a{n}")
            refs.append(await system.start(spec))
        for n in range(6):
            refs[n].tell(hop(3, n, refs))
        await settle()
    return log


@pytest.mark.parametrize("kinds", [(Puppet,), (Doll,), (Puppet, Doll)])
def test_a_seed_is_one_interleaving_on_both_backends(kinds: tuple[Any, ...]) -> None:
    outcomes = {}
    for seed in range(4):
        runs = [run(race, kinds, backend=b, seed=seed) for b in BACKENDS for _ in range(2)]
        assert all(outcome == runs[0] for outcome in runs)
        assert len(runs[0]) == 6 * 15
        outcomes[seed] = tuple(runs[0])
    assert len(set(outcomes.values())) == 4


def test_a_seed_keeps_the_order_of_one_senders_messages() -> None:
    async def scenario() -> list[Any]:
        log: list[Any] = []
        async with System() as system:
            ref = await system.start(Puppet.spec(log))
            for n in range(20):
                ref.tell(Note(n))
            await settle()
        return log[:20]

    for seed in range(5):
        assert run(scenario, seed=seed) == list(range(20))


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_crashes_and_stops_work_under_a_seed(backend: BackendName) -> None:
    async def scenario() -> Any:
        async with System() as system:
            a = await system.start(Puppet.spec().options(id="a"))
            b = await system.start(Doll.spec().options(id="b"))
            reply = await a.call(Do(lambda _a: b.call(Do(lambda _b: "reply"))), timeout=1)
            b.tell(Act(raises(ValueError())))
            reason = await b.stopped()
            return reply, type(reason.error).__name__  # type: ignore[attr-defined]

    for seed in range(5):
        assert run(scenario, backend=backend, seed=seed) == ("reply", "ValueError")


def test_a_seed_needs_virtual_time() -> None:
    with pytest.raises(ValueError, match="a seed needs virtual time"):
        run(settle, seed=1, virtual=False)


async def test_settle_waits_for_everything_that_can_run_and_lets_no_time_pass() -> None:
    steps = 0

    async def long_chain() -> None:
        nonlocal steps
        for _ in range(500):
            await anyio.lowlevel.checkpoint()
            steps += 1
        await anyio.sleep(1)
        steps += 1

    async with anyio.create_task_group() as group:
        group.start_soon(long_chain)
        began = anyio.current_time()
        await settle()
        assert (steps, anyio.current_time()) == (500, began)
        group.cancel_scope.cancel()


async def test_a_probe_keeps_what_it_receives() -> None:
    async with System() as system:
        probe = await Probe.start(system, Note)
        probe.ref.tell(Note(1))
        probe.ref.tell(Note(2))
        assert await probe.receive() == Note(1)
        with pytest.raises(AssertionError, match="unexpected: "):
            await probe.expect_nothing()
        assert await probe.receive() == Note(2)
        await probe.expect_nothing()
        assert probe.received == [Note(1), Note(2)]
        with pytest.raises(AssertionError, match="no message within 2 s; so far: "):
            await probe.receive(timeout=2)


async def test_a_probe_hears_of_deaths(system: System) -> None:
    probe = await Probe.start(system)
    ref = await system.start(Puppet.spec())
    cell = probe.ref._slot.cell
    assert cell is not None
    assert cell.actor is not None
    cell.actor.ctx.monitor(ref)
    cell.actor.ctx.trap_exit = True
    cell.actor.ctx.link(ref)
    system.kill(ref)
    first, second = await probe.receive(), await probe.receive()
    assert {type(first), type(second)} == {Down, Exit}
    assert first.reason == second.reason == Killed()


async def test_start_supervised_restarts_and_the_system_is_the_same(
    system: System, start_supervised: StartSupervised
) -> None:
    ref = await start_supervised(Puppet.spec().options(id="p"))
    assert ref.path == "test/p"
    for life in range(2, 12):
        ref.tell(Act(raises(ValueError())))
        await settle()
        assert ref.incarnation == life
    assert system.at("test/p") == ref


LAST: list[Any] = []


async def test_start_supervised_stops_at_the_end(start_supervised: StartSupervised) -> None:
    LAST.clear()
    await start_supervised(Doll.spec(LAST))


def test_it_did() -> None:
    if LAST:
        assert [("stopping", Shutdown())] == LAST
