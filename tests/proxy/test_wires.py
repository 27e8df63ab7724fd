"""The sockets that a loop serves within its own wait, and when that wait is spent awake."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from proxy.loop_thread import LoopThread
from proxy.wires import Alertness, Wire, WireLoop
from tests.proxy.support import PATIENCE, held

pytestmark = pytest.mark.real_time


class Heard:
    """Writes down what it hears, and does with it what the test says."""

    def __init__(self, on_data: Callable[[bytes], None] = lambda _: None) -> None:
        self.heard: list[object] = []
        self.on_data = on_data
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        self.on_data(data)

    def eof_received(self) -> bool:
        self.heard.append("end")
        return True

    def pause_writing(self) -> None:
        self.heard.append("full")

    def resume_writing(self) -> None:
        self.heard.append("empty")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append(exc)
        self.lost.set()


class Bench:
    """Wires of one loop, each with its other end; all closed at the end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.ends: list[socket.socket] = []
        self.wires: list[tuple[Wire, Heard]] = []

    def wire(self, ear: Heard) -> tuple[Wire, socket.socket]:
        assert isinstance(self.loop, WireLoop)
        ours, other = socket.socketpair()
        ours.setblocking(False)
        other.setblocking(False)
        wire = Wire(self.loop, ours, ear)
        self.ends.append(other)
        self.wires.append((wire, ear))
        return wire, other

    async def close(self) -> None:
        for wire, ear in self.wires:
            wire.abort()
            await ear.lost.wait()
        for end in self.ends:
            end.close()


async def on_wires(script: Callable[[Bench], Any]) -> None:
    """Runs a script in a loop with wires, and sees that it leaves nothing."""

    async def run() -> None:
        bench = Bench()
        try:
            async with asyncio.timeout(PATIENCE):
                await script(bench)
        finally:
            await bench.close()

    before = held()
    thread = LoopThread("colony-test-wires", WireLoop)
    await thread.start()
    try:
        await thread.run(run)
    finally:
        await thread.close()
    assert held() <= before


async def test_what_a_wire_schedules_is_done_though_nothing_more_comes() -> None:
    async def script(bench: Bench) -> None:
        soon, later = asyncio.Event(), asyncio.Event()

        def schedule(_: bytes) -> None:
            bench.loop.call_soon(soon.set)
            bench.loop.call_later(0.001, later.set)

        _, other = bench.wire(Heard(schedule))
        await asyncio.sleep(0)
        other.send(b"x")
        await soon.wait()
        await later.wait()

    await on_wires(script)


async def test_a_timer_comes_due_while_the_wires_are_never_silent() -> None:
    async def script(bench: Bench) -> None:
        one, other = socket.socketpair()
        wires: list[Wire] = []
        for number, sock in enumerate((one, other)):
            sock.setblocking(False)
            ear = Heard(lambda data, number=number: wires[number].write(data))  # type: ignore[misc]
            assert isinstance(bench.loop, WireLoop)
            wires.append(Wire(bench.loop, sock, ear))
            bench.wires.append((wires[-1], ear))
        wires[0].write(b"for ever")
        await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)

    await on_wires(script)


async def test_who_was_paused_by_another_of_the_same_moment_hears_nothing() -> None:
    async def script(bench: Bench) -> None:
        heard = asyncio.Event()

        def pause_the_other(data: bytes) -> None:
            wires[b"10".index(data)][0].pause_reading()
            heard.set()

        ears = [Heard(pause_the_other), Heard(pause_the_other)]
        wires = [bench.wire(ear) for ear in ears]
        for number, (_, other) in enumerate(wires):
            other.send(b"%d" % number)
        await heard.wait()
        assert sorted(len(ear.heard) for ear in ears) == [0, 1]
        heard.clear()
        for wire, _ in wires:
            wire.resume_reading()
        await heard.wait()
        assert [ear.heard for ear in ears] == [[b"0"], [b"1"]]

    await on_wires(script)


async def test_an_end_is_heard_once_whatever_is_paused_and_resumed() -> None:
    async def script(bench: Bench) -> None:
        ear, tick = Heard(), asyncio.Event()
        wire, other = bench.wire(ear)
        _, beside = bench.wire(Heard(lambda _: tick.set()))
        other.shutdown(socket.SHUT_WR)
        for _ in range(3):
            beside.send(b"x")
            await tick.wait()
            tick.clear()
            wire.pause_reading()
            wire.resume_reading()
        assert ear.heard == ["end"]
        wire.write(b"still")
        assert other.recv(9) == b"still"

    await on_wires(script)


async def test_an_ear_that_fails_loses_its_own_connection_only() -> None:
    async def script(bench: Bench) -> None:
        reports: list[dict[str, Any]] = []
        bench.loop.set_exception_handler(lambda _, context: reports.append(context))
        error = ValueError("no")

        def fail(_: bytes) -> None:
            raise error

        failing, well = Heard(fail), Heard()
        _, to_failing = bench.wire(failing)
        _, to_well = bench.wire(well)
        to_failing.send(b"x")
        to_well.send(b"y")
        await failing.lost.wait()
        assert failing.heard == [b"x", error]
        assert to_failing.recv(1) == b""
        assert [report["exception"] for report in reports] == [error]
        assert not well.lost.is_set()

    await on_wires(script)


async def test_what_does_not_fit_is_sent_in_order_and_then_the_end() -> None:
    async def script(bench: Bench) -> None:
        ear = Heard()
        wire, other = bench.wire(ear)
        sent = b"".join(b"%07d " % n for n in range(200_000))
        for at in range(0, len(sent), 100_000):
            wire.write(sent[at : at + 100_000])
        assert ear.heard == ["full"]
        wire.write_eof()
        got = bytearray()
        while chunk := await bench.loop.sock_recv(other, 1 << 20):
            got += chunk
        assert bytes(got) == sent
        assert ear.heard == ["full", "empty"]

    await on_wires(script)


async def test_a_closed_wire_still_sends_what_it_has_an_aborted_one_does_not() -> None:
    async def script(bench: Bench) -> None:
        sent = bytes(1 << 22)
        for close, whole in ((Wire.close, True), (Wire.abort, False)):
            ear = Heard()
            wire, other = bench.wire(ear)
            wire.write(sent)
            close(wire)
            assert wire.is_closing()
            count = 0
            while chunk := await bench.loop.sock_recv(other, 1 << 20):
                count += len(chunk)
            await ear.lost.wait()
            assert (count == len(sent)) is whole

    await on_wires(script)


async def test_asyncios_own_descriptors_are_served_beside_wires() -> None:
    async def script(bench: Bench) -> None:
        ear = Heard(lambda data: wire.write(data.upper()))
        wire, other = bench.wire(ear)
        for word in (b"one", b"two"):
            await bench.loop.sock_sendall(other, word)
            assert await bench.loop.sock_recv(other, 9) == word.upper()

    await on_wires(script)


# waiting awake


def waits(alertness: Alertness, count: int, answered: bool) -> str:
    """How so many waits are spent: `a`wake or `s`leeping."""
    spent = ""
    for _ in range(count):
        if alertness.wanted:
            spent += "a"
            (alertness.answered if answered else alertness.in_vain)()
        else:
            spent += "s"
            alertness.slept()
    return spent


def test_as_long_as_something_comes_all_waits_but_every_ninth_are_spent_awake() -> None:
    assert waits(Alertness(2), 45, answered=True) == "aaaaaaaas" * 5


def test_in_vain_it_is_tried_less_and_less() -> None:
    spent = waits(Alertness(2), 1000, answered=False)
    assert [len(part) for part in spent.split("a")] == [0, 4, 8, 16, 32, 64, *[128] * 6, 96]


def test_an_answer_makes_it_tried_again_soon() -> None:
    alertness = Alertness(2)
    waits(alertness, 300, answered=False)
    while not alertness.wanted:
        alertness.slept()
    assert waits(alertness, 1, answered=True) == "a"
    assert waits(alertness, 6, answered=False) == "assssa"


def test_with_one_processor_every_wait_sleeps() -> None:
    assert waits(Alertness(1), 50, answered=True) == "s" * 50


async def test_an_idle_loop_goes_to_sleep() -> None:
    async def script(bench: Bench) -> None:
        assert isinstance(bench.loop, WireLoop)
        told = []
        for _ in range(3):
            await asyncio.sleep(0.002)
            told.append(repr(bench.loop.wires))
        assert any("asleep" in each for each in told)

    with anyio.fail_after(PATIENCE):
        await on_wires(script)
