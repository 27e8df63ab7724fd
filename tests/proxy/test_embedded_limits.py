"""The embedded front door and what goes wrong: clients that stall, services that cannot be had."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy.embedded import EmbeddedProxy, dial
from proxy.routes import Route, RouteTable, TcpUpstream, UnixUpstream, Upstream
from tests.ports import free_port, free_ports
from tests.proxy.support import PATIENCE, held, route
from tests.proxy.wire import OK, Stage, Wire, dialogue, get, sent_on

pytestmark = pytest.mark.real_time

# clients that stop, stall, or make no sense


async def test_a_client_that_says_it_is_done_gets_its_answer() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/1") + get("a", "/2"))
        client.end()
        a = stage.service("a")
        assert a.head() == sent_on("a", "/1")
        a.send(OK + b"11")
        assert a.head() == sent_on("a", "/2")
        assert a.rest() == b""
        a.send(OK + b"22")
        assert client.rest() == OK + b"11" + OK + b"22"

    await dialogue(script)


async def test_a_client_that_breaks_off_is_felt_by_the_service() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        client.reset()
        with pytest.raises((EOFError, ConnectionResetError)):
            a.read(1)

    await dialogue(script)


async def test_a_head_may_come_byte_by_byte() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n in range(len(get("a"))):
            client.send(get("a")[n : n + 1])
        assert stage.service("a").head() == sent_on("a")

    await dialogue(script)


async def test_after_a_time_without_clients_the_next_has_all_of_its_own() -> None:
    def script(stage: Stage) -> None:
        time.sleep(4.1)  # nobody is there to be swept meanwhile
        client = stage.client()
        client.send(get("a")[:-2])
        time.sleep(1.1)  # more than one sweep
        client.send(get("a")[-2:])
        a = stage.service("a")
        assert a.head() == sent_on("a")
        a.send(OK + b"11")
        assert client.read(len(OK) + 2) == OK + b"11"

    await dialogue(script, head_seconds=4.0)


async def test_a_head_that_takes_too_long_is_a_408() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(b"GET / HTTP/1.1\r\n")
        answer = client.rest()
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"took longer than 0.2 seconds" in answer

    await dialogue(script, head_seconds=0.2)


async def test_a_connection_without_a_request_is_closed_without_a_word() -> None:
    def script(stage: Stage) -> None:
        assert stage.client().rest() == b""

    await dialogue(script, idle_seconds=0.2)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", b"431 Request Header Fields"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, b"431 Request Header Fields"),
        (b"\x16\x03\x01\x02\x00", b"400 Bad Request"),
        (b"GET / HTTP/1.1\r\n\r\n", b"400 Bad Request"),
        (get("a", "/", "Content-Length: 1", "Transfer-Encoding: chunked"), b"400 Bad Request"),
        (get("a", "/", "Transfer-Encoding: gzip"), b"501 Not Implemented"),
    ],
)
async def test_a_request_that_cannot_be_served_is_told_so(sent: bytes, status: bytes) -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(sent)
        assert client.rest().startswith(b"HTTP/1.1 " + status)
        assert stage.dialled("a") is False

    await dialogue(script)


async def test_a_broken_chunk_from_a_client_ends_the_request() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", "Transfer-Encoding: chunked", method="POST"))
        a = stage.service("a")
        a.head()
        client.send(b"zz\r\n")
        assert client.rest().startswith(b"HTTP/1.1 400 Bad Request")
        with pytest.raises((EOFError, ConnectionResetError)):
            a.read(1)

    await dialogue(script)


async def test_a_page_survives_an_upload_that_nobody_reads() -> None:
    """Closing on unread bytes would reset the connection and take the page with it."""

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("nobody", "/", "Content-Length: 5000000", method="POST"))
        for _ in range(50):
            client.send(b"x" * 10_000)
        assert client.rest().startswith(b"HTTP/1.1 404 Not Found")

    await dialogue(script)


async def test_a_page_has_no_body_for_head() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("nobody", method="HEAD"))
        answer = client.rest()
        assert answer.startswith(b"HTTP/1.1 404 Not Found")
        assert answer.endswith(b"\r\n\r\n")

    await dialogue(script)


# backpressure


async def test_a_client_that_does_not_read_stops_the_service() -> None:
    size = 32 * 1024 * 1024

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        sent = [0]

        def pour() -> None:
            a.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            while sent[0] < size:
                sent[0] += a.sock.send(b"x" * min(1_000_000, size - sent[0]))

        pouring = threading.Thread(target=pour)
        pouring.start()
        pouring.join(0.5)
        assert pouring.is_alive()
        assert sent[0] < size
        client.head()
        assert client.count(size) == size
        pouring.join()

    await dialogue(script)


async def test_a_slow_reader_gets_all_of_an_answer_that_ended_long_ago() -> None:
    piece = b"x" * 10_000

    def script(stage: Stage) -> None:
        client = stage.client(window=16_384)
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(b"HTTP/1.0 200 OK\r\n\r\n")
        size = 0
        while not stage.unsent():  # until the kernel takes no more and the front door has the rest
            a.send(piece)
            size += len(piece)
            time.sleep(0.0005)
        a.end()
        time.sleep(0.3)  # many times what a client is given to finish sending
        client.head()
        assert client.count(size + 1) == size

    await dialogue(script, linger_seconds=0.02)


async def test_a_client_that_does_not_read_stops_one_service_after_the_other() -> None:
    requests, size = 200, 100_000
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size

    def script(stage: Stage) -> None:
        client = stage.client()
        names = ["a", "b"] * (requests // 2)
        client.send(b"".join(map(get, names)))
        served: list[str] = []

        def serve() -> None:
            for name in names:
                service = stage.service(name)
                service.head()
                service.send(answer)
                served.append(name)

        serving = threading.Thread(target=serve)
        serving.start()
        serving.join(0.5)
        assert len(served) < requests
        assert client.count(requests * len(answer)) == requests * len(answer)
        serving.join()

    await dialogue(script)


async def test_a_service_that_does_not_read_stops_the_client() -> None:
    size = 32 * 1024 * 1024

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", f"Content-Length: {size}", method="POST"))
        a = stage.service("a")
        sent = [0]

        def pour() -> None:
            while sent[0] < size:
                sent[0] += client.sock.send(b"x" * min(1_000_000, size - sent[0]))

        pouring = threading.Thread(target=pour)
        pouring.start()
        pouring.join(0.5)
        assert pouring.is_alive()
        a.head()
        assert a.count(size) == size
        pouring.join()
        a.send(OK + b"ok")
        assert client.read(len(OK) + 2) == OK + b"ok"
        client.send(get("b"))
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


# dialling


async def test_a_route_known_to_be_down_is_not_dialled() -> None:
    def script(stage: Stage) -> None:
        down = Route("a", 3000, TcpUpstream(1), "web", up=False)
        stage.door.want(RouteTable([down]))
        client = stage.client()
        client.send(get("a"))
        assert client.rest().startswith(b"HTTP/1.1 503 Service Unavailable")

    await dialogue(script)


async def test_a_dialer_of_ones_own_gets_the_upstream_with_its_namespace() -> None:
    seen: list[Upstream] = []

    async def dialer(upstream: Upstream) -> socket.socket:
        seen.append(upstream)
        return await dial(TcpUpstream(port, "127.0.0.1"))

    upstream = TcpUpstream(3000, "10.200.0.2", namespace="colony-a")
    port = 0

    def script(stage: Stage) -> None:
        nonlocal port
        port = stage.door.wanted.routes[0].upstream.port  # type: ignore[union-attr]
        stage.door.want(RouteTable([route("a", upstream)]))
        client = stage.client()
        client.send(get("a"))
        assert stage.service("a").head() == sent_on("a")
        assert seen == [upstream]

    await dialogue(script, dialer=dialer)


@pytest.mark.parametrize("error", [OSError("no route"), RuntimeError("a bug")])
async def test_whatever_a_dialer_raises_is_a_503(error: Exception) -> None:
    async def dialer(upstream: Upstream) -> socket.socket:
        raise error

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", "Content-Length: 3", method="POST") + b"abc")
        assert client.rest().startswith(b"HTTP/1.1 503 Service Unavailable")

    await dialogue(script, dialer=dialer)


async def test_a_dialer_that_takes_too_long_is_a_503() -> None:
    async def dialer(upstream: Upstream) -> socket.socket:
        await anyio.sleep_forever()
        raise AssertionError

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        assert client.rest().startswith(b"HTTP/1.1 503 Service Unavailable")

    await dialogue(script, dialer=dialer, dial_seconds=0.1)


async def test_a_client_that_breaks_off_just_as_its_page_is_sent_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clients: list[Wire] = []
    dialled = threading.Event()

    async def dialer(upstream: Upstream) -> socket.socket:
        clients[0].reset()
        dialled.set()
        raise OSError("down")

    def script(stage: Stage) -> None:
        clients.append(stage.client())
        clients[0].send(get("a"))
        assert dialled.wait(PATIENCE)
        assert stage.alone()

    await dialogue(script, dialer=dialer)
    assert caplog.records == []


async def test_a_client_that_is_done_while_it_is_dialled_gets_its_answer() -> None:
    go = threading.Event()

    async def dialer(upstream: Upstream) -> socket.socket:
        while not go.is_set():  # noqa: ASYNC110
            await anyio.sleep(0.005)
        return await dial(upstream)

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        client.end()
        client.sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)
        client.sock.settimeout(PATIENCE)
        go.set()
        a = stage.service("a")
        assert a.head() == sent_on("a")
        assert a.rest() == b""
        a.send(OK + b"ok")
        assert client.rest() == OK + b"ok"

    await dialogue(script, dialer=dialer, dial_seconds=PATIENCE)


async def test_a_client_that_leaves_while_it_is_dialled_cancels_that() -> None:
    dialling, cancelled = threading.Event(), threading.Event()

    async def dialer(upstream: Upstream) -> socket.socket:
        dialling.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()
        raise AssertionError

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        assert dialling.wait(PATIENCE)
        client.reset()
        assert cancelled.wait(PATIENCE)

    await dialogue(script, dialer=dialer, dial_seconds=PATIENCE)


async def test_localhost_is_both_loopbacks_and_a_unix_socket_is_a_path(tmp_path: Any) -> None:
    path = str(tmp_path / "web.sock")
    port = free_port()  # on 127.0.0.1, which is tried first, it is nobody's either

    def script(stage: Stage) -> None:
        with (
            socket.create_server(("::1", port), family=socket.AF_INET6) as v6,
            socket.socket(socket.AF_UNIX) as unix,
        ):
            unix.bind(path)
            unix.listen()
            routes = [
                route("v6", TcpUpstream(port)),
                route("literal", TcpUpstream(port, "::1")),
                Route("unix", 3000, UnixUpstream(path), "web"),
            ]
            stage.door.want(RouteTable(routes))
            for name, listener in (("v6", v6), ("literal", v6), ("unix", unix)):
                client = stage.client()
                client.send(get(name))
                listener.settimeout(PATIENCE)
                with closing(listener.accept()[0]) as sock:
                    assert Wire(sock).head() == sent_on(name)

    await dialogue(script)


async def test_stopping_just_as_clients_come_leaves_nothing() -> None:
    async def dialer(upstream: Upstream) -> socket.socket:
        raise OSError("down")

    before = held()
    table = RouteTable([route("a", TcpUpstream(1))])
    for turn in range(30):
        door = EmbeddedProxy(ports=free_ports(3), dialer=dialer)
        await door.start(table)
        clients = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(3)]
        for client in clients:
            client.sendall(get("a"))
        if turn % 3 == 0:
            await anyio.sleep(0.001)
        await door.stop()
        for client in clients:
            client.close()
        assert (turn, held() - before) == (turn, set())


async def test_stopping_cuts_what_is_under_way() -> None:
    def ask(port: int) -> Wire:
        client = Wire(socket.create_connection(("127.0.0.1", port)))
        client.send(get("a"))
        return client

    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = TcpUpstream(listener.getsockname()[1], "127.0.0.1")
        async with EmbeddedProxy(ports=free_ports(3)) as door:
            door.want(RouteTable([route("a", upstream)]))
            client = await anyio.to_thread.run_sync(ask, door.port)
            service, _ = await anyio.to_thread.run_sync(listener.accept)
        with closing(client.sock), closing(service):
            for wire in (client, Wire(service)):
                with pytest.raises((EOFError, ConnectionResetError)):
                    await anyio.to_thread.run_sync(wire.read, 1 << 20)
