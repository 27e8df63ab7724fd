"""The embedded front door on the wire: whose request reaches whom, where each message ends."""

from __future__ import annotations

import msgspec
import pytest

from proxy.routes import RouteTable
from tests.proxy.support import host
from tests.proxy.wire import OK, Stage, dialogue, get, sent_on

pytestmark = pytest.mark.real_time

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


async def test_the_same_request_goes_where_the_routes_of_its_moment_say() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        routes = {route.colony: route for route in stage.door.wanted}
        for upstream in ("a", "a", "b", "b", "a"):
            to = msgspec.structs.replace(routes["a"], upstream=routes[upstream].upstream)
            stage.door.want(RouteTable([to]))
            client.send(get("a"))
            if upstream not in stage.open:
                stage.open = {upstream: stage.service(upstream)}
            assert stage.open[upstream].head() == sent_on("a")
            stage.open[upstream].send(OK + b"ok")
            assert client.read(len(OK) + 2) == OK + b"ok"
        stage.door.want(RouteTable())
        client.send(get("a"))
        assert client.head().startswith(b"HTTP/1.1 404 ")

    await dialogue(script)


async def test_the_same_request_is_passed_on_with_the_address_of_each_client() -> None:
    def script(stage: Stage) -> None:
        for address in ("127.0.0.1", "127.0.0.2", "127.0.0.1"):
            client = stage.client(address=address)
            client.send(get("a"))
            a = stage.service("a")
            for _ in range(3):
                expected = sent_on("a").replace(b"For: 127.0.0.1", b"For: " + address.encode())
                assert a.head() == expected
                a.send(OK + b"ok")
                assert client.read(len(OK) + 2) == OK + b"ok"
                client.send(get("a"))

    await dialogue(script)


async def test_the_same_answer_ends_as_the_method_of_its_request_says() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(OK + b"ok")
        client.read(len(OK) + 2)
        for method in ("HEAD", "GET", "HEAD", "HEAD", "GET"):
            client.send(get("a", method=method))
            assert a.head() == sent_on("a", method=method)
            answer = OK if method == "HEAD" else OK + b"ok"
            a.send(answer)
            assert client.read(len(answer)) == answer

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


async def test_after_an_early_answer_the_client_may_give_up() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a", "/", "Content-Length: 6", method="POST") + b"abc")
        a = stage.service("a")
        a.head()
        a.send(OK + b"ok")
        assert client.read(len(OK) + 2) == OK + b"ok"
        client.end()
        assert client.rest() == b""
        assert stage.alone()

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
        assert stage.alone()

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


async def test_a_switch_that_nobody_asked_for_is_no_tunnel() -> None:
    def script(stage: Stage) -> None:
        client = stage.client()
        client.send(get("a"))
        a = stage.service("a")
        a.head()
        a.send(SWITCHED)
        assert client.head() == SWITCHED
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
