"""The embedded front door on the wire: whose request reaches whom, and where each message ends.

Each test is a dialogue of blocking sockets: `client` is the browser's end, `a` and `b` are two
services that listen and say exactly what the test has them say.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Any

import anyio
import anyio.to_thread
import pytest

from proxy.embedded import EmbeddedProxy, dial
from proxy.routes import Route, RouteTable, TcpUpstream, UnixUpstream, Upstream
from tests.proxy.support import PATIENCE, descriptors, free_ports, host, our_threads, route

pytestmark = pytest.mark.real_time

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"


class Wire:
    """One end of a connection, read piece by piece."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.settimeout(PATIENCE)
        self._read = b""

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(self) -> bytes:
        """Up to the end of a head."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def read(self, count: int) -> bytes:
        while len(self._read) < count:
            self._more()
        data, self._read = self._read[:count], self._read[count:]
        return data

    def count(self, limit: int) -> int:
        """Reads and forgets up to `limit` bytes; how many there were before the other's end."""
        seen, self._read = len(self._read), b""
        while seen < limit and (chunk := self.sock.recv(1 << 20)):
            seen += len(chunk)
        return seen

    def rest(self) -> bytes:
        """Everything up to the other's end."""
        while chunk := self.sock.recv(65536):
            self._read += chunk
        data, self._read = self._read, b""
        return data

    def silent(self) -> bool:
        """Whether nothing has come that was not read yet."""
        if self._read:
            return False
        self.sock.settimeout(0.05)
        try:
            self._read = self.sock.recv(65536)
        except TimeoutError:
            return True
        finally:
            self.sock.settimeout(PATIENCE)
        return False

    def end(self) -> None:
        """Says that no more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Breaks the connection."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def _more(self) -> None:
        chunk = self.sock.recv(65536)
        if not chunk:
            raise EOFError(f"ended after {self._read!r}")
        self._read += chunk


class Stage:
    """Connections of one dialogue, closed at its end."""

    def __init__(self, door: EmbeddedProxy, listeners: dict[str, socket.socket]) -> None:
        self.door = door
        self._listeners = listeners
        self._open = ExitStack()

    def client(self) -> Wire:
        sock = socket.create_connection(("127.0.0.1", self.door.port))
        self._open.enter_context(closing(sock))
        return Wire(sock)

    def service(self, name: str) -> Wire:
        """The next connection that the front door makes to that service."""
        sock, _ = self._listeners[name].accept()
        self._open.enter_context(closing(sock))
        return Wire(sock)

    def dialled(self, name: str) -> bool:
        """Whether a connection to that service waits to be accepted."""
        self._listeners[name].settimeout(0.05)
        try:
            self._open.enter_context(closing(self._listeners[name].accept()[0]))
        except TimeoutError:
            return False
        finally:
            self._listeners[name].settimeout(PATIENCE)
        return True

    def close(self) -> None:
        self._open.close()


async def dialogue(script: Callable[[Stage], None], **options: Any) -> None:
    """Runs a script against an embedded front door with the services `a` and `b` behind it."""
    before = descriptors()
    listeners = {name: socket.create_server(("127.0.0.1", 0)) for name in ("a", "b")}
    routes = []
    for name, listener in listeners.items():
        listener.settimeout(PATIENCE)
        routes.append(route(name, TcpUpstream(listener.getsockname()[1], "127.0.0.1")))
    door = EmbeddedProxy(ports=free_ports(), **options)
    await door.start(RouteTable(routes))
    stage = Stage(door, listeners)

    def play() -> None:
        with closing(stage):
            script(stage)

    try:
        await anyio.to_thread.run_sync(play)
    finally:
        await door.stop()
        for listener in listeners.values():
            listener.close()
    assert (descriptors(), our_threads()) == (before, [])


def get(colony: str, path: str = "/", *fields: str, method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host(colony)}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def sent_on(colony: str, path: str = "/", *fields: str, method: str = "GET") -> bytes:
    """What the service receives for `get` of the same."""
    forwarded = (
        "X-Forwarded-For: 127.0.0.1",
        f"X-Forwarded-Host: {host(colony)}",
        "X-Forwarded-Proto: http",
    )
    return get(colony, path, *fields, *forwarded, method=method)


# one connection, many requests


async def test_requests_for_one_host_use_one_connection() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/1"))
        a = stage.service("a")
        for n in (1, 2, 3):
            assert a.head() == sent_on("a", f"/{n}")
            a.send(OK + b"%d." % n)
            assert client.read(len(OK) + 2) == OK + b"%d." % n
            client.send(get("a", f"/{n + 1}"))
        assert a.head() == sent_on("a", "/4")
        assert stage.dialled("a") is False

    await dialogue(script)


async def test_another_host_on_the_same_connection_reaches_its_own_service() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        for name in ("a", "b", "a"):
            client.send(get(name))
            service = stage.service(name)
            assert service.head() == sent_on(name)
            service.send(OK + name.encode() * 2)
            assert client.read(len(OK) + 2) == OK + name.encode() * 2
        assert stage.dialled("b") is False

    await dialogue(script)


async def test_the_connection_to_the_service_before_is_dropped() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(OK + b"aa")
        client.read(len(OK) + 2)
        client.send(get("b"))
        with pytest.raises((EOFError, ConnectionResetError)):
            a.read(1)
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


async def test_what_is_pipelined_waits_for_the_answer_before_it() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/1") + get("b", "/2") + get("b", "/3"))
        a = stage.service("a")
        assert a.head() == sent_on("a", "/1")
        assert a.silent()
        assert stage.dialled("b") is False
        a.send(OK + b"11")
        b = stage.service("b")
        assert b.head() == sent_on("b", "/2")
        assert b.silent()
        b.send(OK + b"22")
        assert b.head() == sent_on("b", "/3")
        b.send(OK + b"33")
        assert client.read(3 * len(OK) + 6) == OK + b"11" + OK + b"22" + OK + b"33"

    await dialogue(script)


async def test_a_request_hidden_in_a_body_stays_a_body() -> None:
    hidden = get("b")

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", f"Content-Length: {len(hidden)}", method="POST") + hidden)
        a = stage.service("a")
        a.head()
        assert a.read(len(hidden)) == hidden
        a.send(OK + b"ok")
        assert client.read(len(OK) + 2) == OK + b"ok"
        coded = b"%x\r\n%b\r\n0\r\n\r\n" % (len(hidden), hidden)
        client.send(get("a", "/", "Transfer-Encoding: chunked", method="POST") + coded)
        a.head()
        assert a.read(len(coded)) == coded
        a.send(OK + b"ok")
        client.send(hidden)
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


async def test_a_chunked_answer_ends_where_it_ends() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n10;x=y\r\n0123456789abcdef\r\n0\r\nT: x\r\n\r\n"
    )

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        for n in range(len(answer)):
            a.send(answer[n : n + 1])
        assert client.read(len(answer)) == answer
        client.send(get("b"))
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\n\r\n"),
        ("DELETE", b"HTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_is_complete_at_once(method: str, answer: bytes) -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", method=method))
        a = stage.service("a")
        a.head()
        a.send(answer)
        assert client.read(len(answer)) == answer
        client.send(get("b"))
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


async def test_interim_answers_come_before_the_answer() -> None:
    more = b"HTTP/1.1 100 Continue\r\n\r\n"

    def script(stage: Stage) -> None:
        client = stage.client()
        head = ("a", "/", "Expect: 100-continue", "Content-Length: 2")
        client.send(get(*head, method="POST"))
        a = stage.service("a")
        assert a.head() == sent_on(*head, method="POST")
        a.send(more)
        assert client.head() == more
        client.send(b"xx")
        assert a.read(2) == b"xx"
        a.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK + b"ok")
        assert client.head() == b"HTTP/1.1 103 Early Hints\r\n\r\n"
        assert client.read(len(OK) + 2) == OK + b"ok"
        client.send(get("b"))
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


async def test_a_proxys_absolute_target_is_routed_by_its_own_host() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        for name in ("a", "b"):
            client.send(get(name, f"http://{host(name)}/x"))
            service = stage.service(name)
            assert service.head() == sent_on(name, "/x")
            service.send(OK + b"ok")
            assert client.read(len(OK) + 2) == OK + b"ok"

    await dialogue(script)


# answers that say where they end by ending


async def test_an_answer_until_the_end_ends_the_connection() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a") + get("b"))
        a = stage.service("a")
        a.head()
        a.send(b"HTTP/1.0 200 OK\r\n\r\nall ")
        a.send(b"of it")
        a.end()
        assert client.rest() == b"HTTP/1.0 200 OK\r\n\r\nall of it"
        assert stage.dialled("b") is False

    await dialogue(script)


async def test_what_is_no_http_answer_passes_as_it_is() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a") + get("b"))
        a = stage.service("a")
        a.head()
        a.send(b"SSH-2.0-x\r\n")
        assert client.read(11) == b"SSH-2.0-x\r\n"
        a.end()
        assert client.rest() == b""
        assert stage.dialled("b") is False

    await dialogue(script)


async def test_a_broken_chunk_in_an_answer_is_passed_on_until_the_end() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
        a.send(answer)
        assert client.read(len(answer)) == answer
        client.send(get("b"))
        assert stage.dialled("b") is False
        a.end()
        assert client.rest() == b""

    await dialogue(script)


async def test_an_answer_cut_short_does_not_look_whole() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        client.read(23)
        a.reset()
        with pytest.raises(ConnectionResetError):
            client.rest()

    await dialogue(script)


async def test_more_than_was_announced_is_not_taken_for_the_next_answer() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(OK + b"ok" + OK + b"no")
        assert client.rest() == OK + b"ok"

    await dialogue(script)


async def test_an_answer_that_nobody_asked_for_is_not_passed_on() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(OK + b"ok")
        assert client.read(len(OK) + 2) == OK + b"ok"
        a.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        assert client.rest() == b""

    await dialogue(script)


async def test_a_service_that_closes_an_idle_connection_closes_the_clients() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(OK + b"ok")
        client.read(len(OK) + 2)
        a.end()
        assert client.rest() == b""

    await dialogue(script)


async def test_a_reused_connection_that_closes_without_an_answer_is_no_503() -> None:
    """The client may ask again; we may not, nor say that the service is down."""

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(OK + b"ok")
        client.read(len(OK) + 2)
        client.send(get("a", method="POST"))
        a.head()
        a.end()
        assert client.rest() == b""

    await dialogue(script)


async def test_an_early_answer_lets_the_body_go_on() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", "Content-Length: 6", method="POST") + b"abc")
        a = stage.service("a")
        a.head()
        a.send(OK + b"ok")
        assert client.read(len(OK) + 2) == OK + b"ok"
        client.send(b"def" + get("b"))
        assert a.read(6) == b"abcdef"
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


# upgrades


UPGRADE = ("Connection: Upgrade", "Upgrade: websocket")
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"


async def test_after_an_upgrade_both_directions_are_raw() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", *UPGRADE) + b"early")
        a = stage.service("a")
        assert a.head() == sent_on("a", "/", *UPGRADE)
        assert a.silent()
        a.send(SWITCHED + b"hello")
        assert client.head() == SWITCHED
        assert client.read(5) == b"hello"
        assert a.read(5) == b"early"
        client.send(get("b"))
        assert a.read(len(get("b"))) == get("b")
        a.send(OK)
        assert client.read(len(OK)) == OK
        assert stage.dialled("b") is False

    await dialogue(script)


@pytest.mark.parametrize("first", ["client", "service"])
async def test_half_a_tunnel_may_close_before_the_other(first: str) -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", *UPGRADE))
        a = stage.service("a")
        a.head()
        a.send(SWITCHED)
        client.head()
        one, other = (client, a) if first == "client" else (a, client)
        one.send(b"last")
        one.end()
        assert other.rest() == b"last"
        other.send(b"after")
        other.end()
        assert one.rest() == b"after"

    await dialogue(script)


async def test_a_refused_upgrade_is_an_answer_like_any_other() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", *UPGRADE))
        a = stage.service("a")
        a.head()
        a.send(OK + b"no")
        assert client.read(len(OK) + 2) == OK + b"no"
        client.send(get("b"))
        assert stage.service("b").head() == sent_on("b")

    await dialogue(script)


async def test_a_tunnel_outlives_a_change_of_routes() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", *UPGRADE))
        a = stage.service("a")
        a.head()
        a.send(SWITCHED)
        client.head()
        stage.door.want(RouteTable())
        client.send(b"still here")
        assert a.read(10) == b"still here"
        other = stage.client()
        other.send(get("a"))
        assert other.rest().startswith(b"HTTP/1.1 404 ")

    await dialogue(script)


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
    size = 8 * 1024 * 1024

    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()

        def pour() -> None:
            a.send(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * size)
            a.end()

        pouring = threading.Thread(target=pour)
        pouring.start()
        pouring.join(0.3)  # many times what a client is given to finish sending
        client.head()
        assert client.count(size + 1) == size
        pouring.join()

    await dialogue(script, linger_seconds=0.02)


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

    def script(stage: Stage) -> None:
        with (
            socket.create_server(("::1", 0), family=socket.AF_INET6) as v6,
            socket.socket(socket.AF_UNIX) as unix,
        ):
            unix.bind(path)
            unix.listen()
            routes = [
                route("v6", TcpUpstream(v6.getsockname()[1])),
                route("literal", TcpUpstream(v6.getsockname()[1], "::1")),
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


async def test_stopping_cuts_what_is_under_way() -> None:
    def ask(port: int) -> Wire:
        client = Wire(socket.create_connection(("127.0.0.1", port)))
        client.send(get("a"))
        return client

    with socket.create_server(("127.0.0.1", 0)) as listener:
        upstream = TcpUpstream(listener.getsockname()[1], "127.0.0.1")
        async with EmbeddedProxy(ports=free_ports()) as door:
            door.want(RouteTable([route("a", upstream)]))
            client = await anyio.to_thread.run_sync(ask, door.port)
            service, _ = await anyio.to_thread.run_sync(listener.accept)
        with closing(client.sock), closing(service):
            for wire in (client, Wire(service)):
                with pytest.raises((EOFError, ConnectionResetError)):
                    await anyio.to_thread.run_sync(wire.read, 1 << 20)
