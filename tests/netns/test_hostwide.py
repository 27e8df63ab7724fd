"""The machine's settings, on a file of the test's own in the place of /proc/sys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from netns import hostwide, locks
from netns.errors import NetnsError


class Machine:
    """A setting, a record, and instances that live while their lock is held."""

    def __init__(self, directory: Path) -> None:
        self.setting = directory / "ip_forward"
        self.setting.write_text("0\n")
        self.record = directory / "record.json"
        self._directory = directory
        self._locks: dict[str, int] = {}

    def born(self, id: str) -> str:
        path = self._directory / id
        fd = locks.hold(path)
        assert fd is not None
        self._locks[id] = fd
        return str(path)

    def dies(self, id: str) -> None:
        os.close(self._locks.pop(id))

    def hold(self, id: str) -> None:
        lock = str(self._directory / id) if id in self._locks else self.born(id)
        hostwide.hold_setting(str(self.setting), "1", id, lock, self.record)

    def let_go(self, id: str) -> list[str]:
        return hostwide.let_go(id, self.record)

    @property
    def value(self) -> str:
        return self.setting.read_text().strip()

    def end(self) -> None:
        for id in list(self._locks):
            self.dies(id)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.end()


def test_the_last_one_puts_it_back(machine: Machine) -> None:
    machine.hold("a")
    machine.hold("a")
    machine.hold("b")
    assert machine.value == "1"
    assert machine.let_go("a") == []
    assert machine.value == "1"
    assert machine.let_go("b") == [str(machine.setting)]
    assert machine.value == "0"
    assert not machine.record.exists()
    assert machine.let_go("b") == []


def test_the_dead_do_not_count(machine: Machine) -> None:
    machine.hold("a")
    machine.hold("b")
    machine.dies("a")
    assert machine.let_go("b") == [str(machine.setting)]
    assert machine.value == "0"


def test_what_a_dead_one_changed_is_put_back_by_whoever_lets_go_for_it(machine: Machine) -> None:
    machine.hold("a")
    machine.dies("a")
    assert machine.let_go("a") == [str(machine.setting)]
    assert machine.value == "0"


def test_the_first_ones_old_value_is_the_one_that_counts(machine: Machine) -> None:
    machine.hold("a")
    machine.dies("a")
    machine.hold("b")  # finds 1, and must not take that for the machine's own
    assert machine.let_go("b") == [str(machine.setting)]
    assert machine.value == "0"


def test_what_was_so_already_stays(machine: Machine) -> None:
    machine.setting.write_text("1\n")
    machine.hold("a")
    assert machine.let_go("a") == []
    assert machine.value == "1"


def test_what_somebody_else_changed_meanwhile_stays(machine: Machine) -> None:
    machine.hold("a")
    machine.setting.write_text("2\n")
    assert machine.let_go("a") == []
    assert machine.value == "2"
    assert not machine.record.exists()


def test_a_foreign_record_is_an_error_that_says_what_to_do(machine: Machine) -> None:
    machine.record.write_text("{")
    with pytest.raises(NetnsError, match=r"is not a record of Colony's .*; remove it"):
        machine.hold("a")
    assert machine.record.read_text() == "{"
