"""Who is asked whether he is a service's stray: only those who came after it. Real processes."""

from __future__ import annotations

import math
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from colony.services import ending
from colony.services.ending import Moment, Registrar, all_strangers, left_alone, lingering
from netns import NetworkThread, spawn, sweep
from netns.sweep import Belongs, with_variable

pytestmark = pytest.mark.real_time


@contextmanager
def sleeper(mark: str) -> Iterator[int]:
    """A process that bears a mark."""
    process = subprocess.Popen(["sleep", "1000"], env={**os.environ, "MARK": mark})
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def asking(belongs: Belongs, asked: list[int]) -> Belongs:
    """The same rule, which takes note of whom it is asked about."""

    def rule(pid: int) -> bool:
        asked.append(pid)
        return belongs(pid)

    return rule


def numbers(everybody: sweep.Census) -> set[int]:
    return {pid for pid, _ in everybody}


def test_the_elders_are_not_asked_and_who_came_after_them_is() -> None:
    mark, asked = secrets.token_hex(8), list[int]()
    rule = asking(with_variable("MARK", mark), asked)
    with sleeper("another") as elder:
        elders = sweep.census()
        assert elder in numbers(elders)
        with sleeper("another") as stranger:
            everybody = left_alone(rule, elders)
            assert everybody is not None
            assert {elder, stranger} <= numbers(everybody)
            assert stranger in asked
            assert not set(asked) & numbers(elders & everybody)
            with sleeper(mark):
                assert left_alone(rule, everybody) is None
            assert left_alone(rule, everybody) is not None


def test_without_elders_everybody_is_asked() -> None:
    mark = secrets.token_hex(8)
    with sleeper(mark):
        assert left_alone(with_variable("MARK", mark)) is None


def test_nobody_is_taken_for_an_elder_by_his_number_alone() -> None:
    mark = secrets.token_hex(8)
    with sleeper(mark) as pid:
        was_another = frozenset({(pid, 0)})
        assert left_alone(with_variable("MARK", mark), was_another) is None


def test_who_asks_is_no_stray_of_his_own() -> None:
    assert os.getpid() not in numbers(sweep.census())


async def test_a_census_is_shared_for_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "FRESH", math.inf)  # a second may pass at any moment
    registrar = Registrar()
    registrar.note(sweep.census())
    first = await registrar.elders(registrar.now())
    with sleeper("another") as pid:
        began = registrar.now()
        assert await registrar.elders(began) is first
        registrar.note(sweep.census(), began)
        assert pid in numbers(await registrar.elders(registrar.now()))
        assert await lingering(lambda other: other == pid)
        assert not await lingering(lambda other: other == pid, await registrar.elders(began))


async def test_who_was_born_since_is_no_elder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "FRESH", math.inf)
    registrar = Registrar()
    began = registrar.now()
    with sleeper("another") as pid:
        assert pid not in numbers(await registrar.elders(began))
        registrar.note(sweep.census())
        assert pid in numbers(await registrar.elders(registrar.now()))
        assert pid not in numbers(await registrar.elders(began))


@pytest.mark.parametrize(
    ("births", "last", "numbers"),
    [
        (10, 500, range(501, 501)),
        (12, 502, range(501, 503)),
        (12, 501, range(501, 502)),  # one was born where its number is not seen
        (11, 502, None),
        (12, 300, None),  # the numbers have begun anew
        (160, 650, range(501, 651)),
        (161, 651, None),
        (32_000, 503, None),
    ],
)
def test_which_numbers_were_given_out_since(
    births: int, last: int, numbers: range | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "hears_of_births", lambda: True)
    assert Moment(10, 500).numbers(Moment(births, last)) == numbers
    monkeypatch.setattr(sweep, "hears_of_births", lambda: False)
    assert Moment(10, 500).numbers(Moment(births, last)) is None


def test_births_are_counted_as_the_kernel_counts_them() -> None:
    births = sweep.Births()
    before = births.count()
    with sleeper("another"):
        assert births.count() > before
        assert births.last() > 0


def test_who_counts_births_opens_nothing_of_its_own() -> None:
    """An instance of which nobody knows the end would leave it to the garbage collector."""
    files = [(each._loadavg, each._stat) for each in (sweep.Births(), sweep.Births())]
    assert files[0] == files[1]
    assert [os.readlink(f"/proc/self/fd/{fd}") for fd in files[0]] == [
        "/proc/loadavg",
        "/proc/stat",
    ]


TAKERS = frozenset({0, 1, 50})


@pytest.mark.parametrize(
    ("young", "parents", "sure"),
    [
        ({}, {}, True),
        ({100}, {100: 60}, True),  # an elder's child
        ({100, 101}, {100: 60, 101: 100}, True),  # and a grandchild
        ({100}, {100: 1}, False),  # an orphan
        ({100}, {100: 50}, False),
        ({100}, {100: 0}, False),  # of a process that is not seen from here
        ({100, 101}, {100: 1, 101: 100}, False),
        ({100, 101}, {100: 101, 101: 60}, False),  # the numbers have begun anew
        ({100}, {}, True),  # gone
        ({100, 101}, {101: 100}, False),  # gone, and has left a child
    ],
)
def test_a_stray_has_another_one_for_a_parent_or_a_taker_of_orphans(
    young: set[int], parents: dict[int, int], sure: bool
) -> None:
    assert all_strangers(young, TAKERS, parents.get) is sure


def test_of_too_many_it_is_not_sure() -> None:
    assert all_strangers(range(100, 129), TAKERS, lambda _: 60)
    assert not all_strangers(range(100, 130), TAKERS, lambda _: 60)
    assert all_strangers(range(100, 400), TAKERS, lambda _: None)


def test_an_orphan_becomes_the_child_of_an_ancestor() -> None:
    made = subprocess.run(
        ["sh", "-c", "setsid sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True
    )
    orphan = int(made.stdout)
    try:
        assert sweep.parent_of(orphan) in sweep.orphans_parents()
    finally:
        os.kill(orphan, signal.SIGKILL)


def test_the_parent_of_nobody_is_none() -> None:
    with sleeper("another") as pid:
        assert sweep.parent_of(pid) == os.getpid()
    assert sweep.parent_of(pid) is None


@pytest.mark.parametrize("command", [sweep._GET_INFO, 0xC040FF7F], ids=["asked", "by_proc"])
def test_a_parent_is_told_by_an_old_kernel_as_well(
    command: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "_GET_INFO", command)
    assert sweep.parent_of(os.getpid()) == os.getppid()
    with subprocess.Popen(["sleep", "1000"]) as child:
        assert sweep.parent_of(child.pid) == os.getpid()
        child.kill()
        # It has ended, and nobody has asked how yet.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert sweep.parent_of(child.pid) == os.getpid()
    assert sweep.parent_of(child.pid) is None


async def test_a_glance_tells_that_a_service_has_left_nobody_behind() -> None:
    """Others may be born at that moment, or be children of an ancestor's: it looks again then."""
    registrar, seen = Registrar(), False
    async with NetworkThread() as thread:
        for _ in range(1000):
            began = registrar.now()
            async with (
                await spawn(thread, ["true"]) as service,
                await spawn(thread, ["sleep", "1000"]) as sibling,
            ):
                registrar.services |= {service, sibling}
                await service.wait()
                seen = registrar.glance(began)
            if seen or not sweep.hears_of_births():
                break
    assert seen is sweep.hears_of_births()


async def test_a_glance_that_meets_a_stray_tells_nothing() -> None:
    registrar = Registrar()
    began = registrar.now()
    command = ["sh", "-c", "setsid sleep 1000 >/dev/null & echo $!"]
    ours, theirs = os.pipe()
    async with (
        NetworkThread() as thread,
        await spawn(thread, command, stdout=theirs) as service,
    ):
        os.close(theirs)
        registrar.services.add(service)
        await service.wait()
        stray = int(os.read(ours, 100))
        os.close(ours)
        try:
            assert not registrar.glance(began)
        finally:
            os.kill(stray, signal.SIGKILL)
