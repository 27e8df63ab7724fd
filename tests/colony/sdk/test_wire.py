"""The SDK's side of the socket, against a real one whose other side says what the test wants."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream

from colony.api import types as t
from colony.client import Address
from colony.sdk import ColonyError, Flow, InstanceLost, NotFound, Refused
from colony.sdk.values import Event, gap
from colony.sdk.wire import Wire, events_in, lines_in

pytestmark = pytest.mark.real_time

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LINE = b'{"seq":%d,"ts":"2026-01-02T03:04:05.678Z","colony":"c","service":"web",'
LINE += b'"stream":"stdout","text":"line %d","dropped":0}\n'

Serve = Callable[[SocketStream, bytes], Awaitable[None]]


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def line(number: int) -> bytes:
    return LINE % (number, number)


@asynccontextmanager
async def wired(folder: Path, serve: Serve) -> AsyncIterator[Wire]:
    """A wire to an instance that is `serve`, which gets each connection and its request."""

    async def handle(stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.BrokenResourceError):  # the other side has heard enough
                await serve(stream, await stream.receive())

    listener = await anyio.create_unix_listener(folder / "s")
    wire = Wire(Address(folder / "s"))
    with anyio.fail_after(30):
        async with listener, anyio.create_task_group() as tasks:
            tasks.start_soon(listener.serve, handle)
            yield wire
            await wire.aclose()
            tasks.cancel_scope.cancel()


def says(*pieces: bytes) -> Serve:
    """Sends these, and closes."""

    async def serve(stream: SocketStream, request: bytes) -> None:
        for piece in pieces:
            await stream.send(piece)

    return serve


async def test_names_are_quoted_and_queries_encoded(tmp_path: Path) -> None:
    asked: list[bytes] = []

    async def serve(stream: SocketStream, request: bytes) -> None:
        asked.append(request.split(b"\r\n")[0])
        await stream.send(b'HTTP/1.1 200 OK\r\nContent-Length: 24\r\n\r\n{"lines": [],"cursor":1}')

    async with wired(tmp_path, serve) as wire:
        page = await wire.ask(
            "logs", {"colony": "a/b c"}, t.LogPage, query=t.LogQuery(service=("x", "y"), tail=3)
        )
    assert page == t.LogPage((), 1)
    path = b"/api/colonies/a%2Fb%20c/logs?service=x&service=y&tail=3&follow=false&format=json"
    assert asked == [b"GET " + path + b" HTTP/1.1"]


@pytest.mark.parametrize(
    ("code", "kind"), [("not_found", NotFound), ("invalid", Refused), ("new_one", Refused)]
)
async def test_a_problem_is_an_error_of_its_kind(
    tmp_path: Path, code: str, kind: type[ColonyError]
) -> None:
    body = (
        b'{"type":"/p","title":"T","status":404,"detail":"D","code":"%b","help":"H",'
        % code.encode()
    )
    body += b'"last_lines":["one","two"],"problems":[{"field":"a","message":"A"},'
    body += b'{"field":"b","message":"B"}],"of_a_later_version":1}'
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    async with wired(tmp_path, says(answer)) as wire:
        with pytest.raises(ColonyError) as caught:
            await wire.ask("get_colony", {"colony": "c"}, t.Colony)
    assert type(caught.value) is kind
    assert str(caught.value) == "D; b: B"
    assert caught.value.help == "H"
    assert caught.value.last_lines == ("one", "two")
    assert caught.value.code == code


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"SSH-2",
    ],
    ids=["nothing", "half a head", "half a body", "another protocol"],
)
async def test_an_answer_that_breaks_off_is_no_answer(tmp_path: Path, answer: bytes) -> None:
    async with wired(tmp_path, says(answer)) as wire:
        with pytest.raises(InstanceLost, match="went away: "):
            await wire.ask("get_colony", {"colony": "c"}, t.Colony)


async def test_a_stream_in_any_pieces_is_the_same_lines(tmp_path: Path) -> None:
    data = line(1) + b"\n" + line(2) + line(3)
    pieces = [chunk(data[at : at + 7]) for at in range(0, len(data), 7)]
    async with wired(tmp_path, says(HEAD, *pieces, b"0\r\n\r\n")) as wire:
        flow = Flow(lambda: wire.lines("c", t.LogQuery(follow=True)))
        assert [(each.seq, each.text) async for each in flow] == [
            (1, "line 1"),
            (2, "line 2"),
            (3, "line 3"),
        ]
        with pytest.raises(StopAsyncIteration):
            await anext(flow)


async def test_a_stream_that_breaks_off_is_lost_after_its_last_line(tmp_path: Path) -> None:
    async with wired(tmp_path, says(HEAD, chunk(line(1) + b'{"seq"'))) as wire:
        flow = Flow(lambda: wire.lines("c", t.LogQuery(follow=True)))
        assert (await anext(flow)).text == "line 1"
        with pytest.raises(InstanceLost, match="went away: "):
            await anext(flow)
        with pytest.raises(StopAsyncIteration):
            await anext(flow)


async def test_what_is_asked_for_is_given_up_with_its_reader(tmp_path: Path) -> None:
    """By cancelling a request, by the end of a flow's block, and by leaving a flow alone."""
    gone: list[int] = []
    more, asked = anyio.Event(), anyio.Event()

    async def serve(stream: SocketStream, request: bytes) -> None:
        nonlocal more
        if b"/logs" in request:
            await stream.send(HEAD + chunk(line(1)))
        else:
            asked.set()
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
            await stream.receive()
        gone.append(1)
        more.set()
        more = anyio.Event()

    async def until_gone(count: int) -> None:
        while len(gone) < count:
            await more.wait()

    async def ask_and_leave(wire: Wire) -> None:
        nonlocal asked
        asked = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.ask, "get_colony", {"colony": "c"}, t.Colony)
            await asked.wait()
            tasks.cancel_scope.cancel()

    async with wired(tmp_path, serve) as wire:
        await ask_and_leave(wire)
        await until_gone(1)
        async with Flow(lambda: wire.lines("c", t.LogQuery(follow=True))) as flow:
            await anext(flow)
        await until_gone(2)
        async for _ in Flow(lambda: wire.lines("c", t.LogQuery(follow=True))):
            break
        gc.collect()
        await ask_and_leave(wire)  # the next request sees to it
        await until_gone(4)


async def test_a_flow_ends_after_its_last_value(tmp_path: Path) -> None:
    async with wired(tmp_path, says(HEAD, *[chunk(line(n)) for n in range(5)])) as wire:
        flow = Flow(lambda: wire.lines("c", t.LogQuery(follow=True)), lambda each: each.seq == 2)
        assert [each.seq async for each in flow] == [0, 1, 2]
        assert repr(flow) == "<Flow over>"


def test_events_are_cut_out_of_what_is_sent() -> None:
    first = b': connected\n\nid: 7\nevent: service.exited\ndata: {"id":7,"type":"service.exited",'
    first += b'"colony":"c","ts":null,"service":"web","code":3}\n\n: \n\nevent: gap\n'
    end = b'event: end\ndata: {"why": "the instance is ending"}\n\n'
    assert events_in(end) == ([], b"")
    assert events_in(first + b'data: {"lost": 4}\n\nid: 8') == (
        [Event(7, "service.exited", "c", None, {"service": "web", "code": 3}), gap(4)],
        b"id: 8",
    )


def test_an_empty_line_of_a_log_says_nothing() -> None:
    lines, rest = lines_in(b"\n\n" + line(1) + b'{"se')
    assert ([each.seq for each in lines], rest) == ([1], b'{"se')


def test_an_event_knows_its_service() -> None:
    assert Event(1, "service.ready", "c", None, {"service": "web"}).service == "web"
    assert gap(3).service is None
