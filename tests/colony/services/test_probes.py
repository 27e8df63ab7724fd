"""When it is asked whether a service is ready."""

from __future__ import annotations

from itertools import islice

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream

from colony.services.plan import Probe, ServicePlan
from colony.services.probes import (
    LONGEST_HEAD_START,
    SHRINKS,
    SLOWEST_PROBE,
    Prober,
    expected,
    pauses,
)
from netns import NetworkThread


@pytest.mark.parametrize(
    ("took", "first"),
    [(0.0, 0.005), (0.001, 0.005), (0.04, 0.046), (10.0, LONGEST_HEAD_START)],
)
def test_the_first_look_comes_a_little_after_it_was_ready_the_last_time(
    took: float, first: float
) -> None:
    found = list(islice(pauses(Probe("tcp", port=1), took), 20))
    assert found[:4] == pytest.approx([first, 0.005, 0.0075, 0.01125])
    assert found[-1] == SLOWEST_PROBE


def test_with_an_interval_it_is_asked_at_once_and_then_after_each() -> None:
    assert list(islice(pauses(Probe("tcp", port=1, interval=2.0), 0.04), 3)) == [0.0, 2.0, 2.0]


def test_less_is_expected_as_long_as_the_first_look_is_good_and_else_what_it_took() -> None:
    assert expected(0.047, looks=1, pause=0.046) == pytest.approx(0.04 * SHRINKS)
    assert expected(0.052, looks=2, pause=0.005) == 0.052


def test_when_a_service_is_found_ready_follows_how_long_it_takes() -> None:
    took = 0.0

    def late(ready_after: float) -> float:
        """How much later than it is that a life is found ready."""
        nonlocal took
        now, looks = 0.0, 0
        for pause in pauses(Probe("tcp", port=1), took):
            looks += 1
            now += pause
            if now >= ready_after:
                break
        took = expected(now, looks, pause)
        return now - ready_after

    assert late(10.0) < SLOWEST_PROBE
    assert max(late(0.03) for _ in range(200)) <= LONGEST_HEAD_START - 0.03
    assert min(late(0.03) for _ in range(200)) < 0.001
    assert min(late(0.02) for _ in range(200)) < 0.001
    assert max(late(0.04) for _ in range(200)) < 0.015


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"


@pytest.mark.real_time
@pytest.mark.parametrize(
    ("pieces", "why"),
    [
        ([b"HTTP/1.1 204 Fine\r\n\r\n"], ""),
        ([HINTS + b"HTTP/1.1 204 Fine\r\n\r\n"], ""),
        ([HINTS + HINTS + b"HTTP/1.1 503 Later\r\n\r\n"], " answers 503"),
        ([HINTS, b"HTTP/1.1 100 Continue\n\n", b"HTTP/1.1 503 Later\r\n\r\n"], " answers 503"),
        ([HINTS[:30], HINTS[30:-2], HINTS[-2:] + b"HTTP/1.1 2", b"04 Fine\r\n"], ""),
        ([HINTS], ": no HTTP answer"),
        ([HINTS[:-2]], " answers 103"),
        ([b"HTTP/1.1 101 Switching Protocols\r\n\r\n"], " answers 101"),
        ([b"hello\n"], ": no HTTP answer"),
    ],
)
async def test_what_comes_before_the_answer_is_not_taken_for_it(
    pieces: list[bytes], why: str
) -> None:
    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            for piece in pieces:
                await stream.send(piece)

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as tasks,
        NetworkThread() as thread,
    ):
        tasks.start_soon(listener.serve, answer)
        port = listener.extra(SocketAttribute.local_port)
        plan = ServicePlan("shop", "web", ("web",), "/", {}, port, "0a0a0a", isolated=False)
        probe = Probe("http", port=port, path="/up", timeout=30)
        said = await Prober(plan, thread, None, {}).attempt(probe)
        assert said == (why and f"GET /up on port {port}{why}")
        tasks.cancel_scope.cancel()
