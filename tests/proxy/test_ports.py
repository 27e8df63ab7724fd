"""Ports: claimed, bound, handed over, in turn."""

from __future__ import annotations

import contextlib
import errno
import secrets
import socket

import pytest

from proxy.errors import PortsTaken
from proxy.ports import (
    Claim,
    Claims,
    Reservation,
    listeners,
    listening,
    on_some_port,
    reason,
    reserve,
)
from tests.ports import free_ports
from tests.proxy.support import PATIENCE, taken_port


def test_a_name_is_claimed_by_one_at_a_time() -> None:
    name = secrets.token_hex()
    claim = Claim(name)
    with pytest.raises(OSError, match="in use"):
        Claim(name)
    claim.release()
    claim.release()
    Claim(name).release()


def test_a_reserved_port_is_nobody_elses() -> None:
    [port] = free_ports(1)
    with reserve(port) as reservation:
        assert reservation.addresses == ("127.0.0.1", "::1")
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
        with pytest.raises(OSError, match="in use"):
            reserve(port)
        reservation.unbind()
        socket.create_server(("127.0.0.1", port)).close()
        with pytest.raises(OSError, match="in use"):
            reserve(port)
    reserve(port).release()


def test_a_port_is_free_although_a_process_that_starts_has_a_copy_of_its_socket() -> None:
    [port] = free_ports(1)
    reservation = reserve(port)
    copies = [sock.dup() for sock in reservation.sockets]  # as between fork and exec
    reservation.unbind()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
    socket.create_server(("127.0.0.1", port)).close()
    reservation.release()
    for copy in copies:
        copy.close()


def test_tcp_and_udp_are_reserved_together() -> None:
    [port] = free_ports(1)
    kinds = (socket.SOCK_DGRAM, socket.SOCK_STREAM)
    with reserve(port, kinds) as reservation:
        assert [sock.type for sock in reservation.sockets] == [*kinds, *kinds]
        assert reservation.addresses == ("127.0.0.1", "::1")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port))
        reserve(port).release()
        with pytest.raises(OSError, match="in use"):
            reserve(port, kinds)


def test_somebody_on_all_addresses_is_in_the_way() -> None:
    with socket.create_server(("0.0.0.0", 0)) as other, pytest.raises(OSError, match="in use"):
        reserve(other.getsockname()[1])


def test_listeners_are_counted() -> None:
    table = (
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
        "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
        "   1: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000     0\n"
        "   2: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
        "   3: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0\n"
    )
    assert listening(table, 8080) == 2
    assert listening(table, 8082) == 0
    [port] = free_ports(1)
    assert listeners(port) == 0
    with reserve(port):
        assert listeners(port) == 2


async def test_ports_are_tried_in_turn() -> None:
    first, second, third = free_ports(3)
    seen: list[int] = []

    async def attempt(reservation: Reservation) -> bool:
        seen.append(reservation.port)
        return reservation.port != second

    with taken_port() as taken:
        reservation = await on_some_port("a test", [taken, second, third, first], attempt)
    assert (seen, reservation.port) == ([second, third], third)
    reserve(second).release()
    reservation.release()


async def test_no_port_left() -> None:
    with taken_port() as taken, pytest.raises(PortsTaken) as caught:
        await on_some_port("a test", [taken] * 3, lambda _: pytest.fail("it is taken"))
    assert caught.value.tried == {taken: "taken"}


async def test_what_an_attempt_raises_ends_the_search() -> None:
    async def attempt(_: Reservation) -> bool:
        raise ValueError("no")

    [port] = free_ports(1)
    with pytest.raises(ValueError, match="no"):
        await on_some_port("a test", [port], attempt)
    reserve(port).release()


def test_many_tried_ports_are_not_all_listed() -> None:
    error = PortsTaken("a test", dict.fromkeys(range(1, 101), "taken"))
    assert str(error) == (
        "no port for a test: tried 1 (taken), 2 (taken), 3 (taken), 4 (taken), 5 (taken), "
        "and 95 more; free one of them or name another"
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EADDRINUSE, "taken"),
        (errno.EACCES, "not allowed without root"),
        (errno.EINVAL, "Invalid argument"),
    ],
)
def test_a_reason_in_words(number: int, words: str) -> None:
    assert reason(OSError(number, "Invalid argument")) == words


async def test_between_two_lives_nobody_else_has_the_port() -> None:
    port, other = free_ports(2)
    claims = Claims()

    async def live() -> Reservation:
        async def attempt(_: Reservation) -> bool:
            return True

        return await on_some_port("a test", [port, other], attempt, claims=claims)

    def others() -> list[int]:
        """Which of the two another could have."""
        found = []
        for each in (port, other):
            with contextlib.suppress(OSError), reserve(each):
                found.append(each)
        return found

    for _ in range(2):
        held = await live()
        assert (held.port, others()) == (port, [other])
        for _ in range(2):
            held.release()
        assert others() == [other]
    with socket.create_server(("127.0.0.1", port)):  # somebody who knows no claims
        held = await live()
        assert held.port == other
    assert others() == [port]
    held.release()
    assert others() == [port]
    for _ in range(2):
        claims.close()
    assert others() == [port, other]
