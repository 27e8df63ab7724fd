"""Who is asked whether he is a service's stray: only those who came after it. Real processes."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from colony.services.ending import Registrar, left_alone, lingering
from netns import sweep
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


async def test_a_census_is_shared_for_a_second() -> None:
    registrar = Registrar()
    first = await registrar.elders()
    with sleeper("another") as pid:
        assert await registrar.elders() is first
        registrar.note(sweep.census())
        assert pid in numbers(await registrar.elders())
        assert await lingering(lambda other: other == pid)
        assert not await lingering(lambda other: other == pid, await registrar.elders())
