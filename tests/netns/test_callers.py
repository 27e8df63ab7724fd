"""Who began a connection: by what was noted, and noted by the real kernel."""

from __future__ import annotations

import socket
import subprocess
import sys
from ipaddress import IPv4Address, ip_address

import msgspec
import pytest

from netns.callers import REMEMBERED, Began, Caller, Callers, Memory, reason_against
from netns.packet_log import Attempt

HERE, THERE = IPv4Address("10.200.0.2"), IPv4Address("198.51.100.7")
PREFIX = bytes(10) + b"\xff\xff"
SOCKET = 0xFFFF_8881_0000_1000


def attempt(source_port: int = 40_000, port: int = 443) -> Attempt:
    return Attempt(HERE, THERE, "tcp", source_port, port, allowed=False)


def began(pid: int, time: int = 1, source_port: int = 0, port: int = 443) -> Began:
    return Began(pid, time, PREFIX + HERE.packed, PREFIX + THERE.packed, port, source_port)


def owner(memory: Memory, wanted: Attempt) -> int | None:
    found = memory.who(wanted)
    return None if found is None else found.pid


# -- what is remembered ------------------------------------------------------------------------


def test_nobody_is_known_of_what_was_not_noted() -> None:
    memory = Memory()
    assert memory.who(attempt()) is None
    memory.begins(SOCKET, began(11, port=80))
    assert memory.who(attempt()) is None


def test_a_connection_that_is_not_answered_yet_is_known_by_where_it_goes() -> None:
    memory = Memory()
    memory.begins(SOCKET, began(11))
    assert owner(memory, attempt()) == 11


def test_of_two_to_one_place_the_own_port_tells() -> None:
    memory = Memory()
    memory.begins(SOCKET, began(11))
    memory.settles(SOCKET, 40_000)
    memory.begins(SOCKET, began(12))  # the kernel gave the same place to the next socket
    memory.settles(SOCKET, 40_001)
    assert owner(memory, attempt(40_000)) == 11
    assert owner(memory, attempt(40_001)) == 12
    assert owner(memory, attempt(40_002)) is None


def test_of_two_without_an_answer_nobody_is_named_for_the_other() -> None:
    memory = Memory()
    memory.begins(SOCKET, began(11))
    memory.begins(SOCKET + 64, began(12))
    assert owner(memory, attempt()) is None
    memory.settles(SOCKET, 40_000)
    assert owner(memory, attempt()) == 11
    assert owner(memory, attempt(40_001)) == 12


def test_a_process_that_tries_again_and_again_is_known() -> None:
    memory = Memory()
    memory.begins(SOCKET, began(11))
    memory.begins(SOCKET + 64, began(11))
    assert owner(memory, attempt()) == 11


def test_a_port_that_was_bound_is_known_from_the_beginning() -> None:
    memory = Memory()
    memory.begins(SOCKET, began(11, source_port=40_000))
    memory.begins(SOCKET + 64, began(12))
    assert owner(memory, attempt(40_000)) == 11


def test_the_name_of_one_that_has_ended_is_not_that_of_the_numbers_last_owner() -> None:
    memory = Memory()
    memory.ends(11, 5, "make")
    assert memory.command_of(began(11, time=6)) == ""
    memory.ends(11, 7, "curl")
    assert memory.command_of(began(11, time=6)) == "curl"
    assert memory.command_of(began(12, time=6)) == ""


def test_what_settles_without_having_been_noted_is_nothing() -> None:
    memory = Memory()
    memory.settles(SOCKET, 40_000)
    assert memory.who(attempt()) is None


def test_it_remembers_so_many_and_no_more() -> None:
    memory = Memory()
    for number in range(REMEMBERED + 1):
        memory.begins(SOCKET + 64 * number, began(1 + number, port=1 + number))
        memory.ends(1 + number, 2, "curl")
    assert owner(memory, attempt(port=1)) is None
    assert owner(memory, attempt(port=2)) == 2
    assert memory.command_of(began(1)) == ""
    assert memory.command_of(began(2)) == "curl"


# -- by the kernel -----------------------------------------------------------------------------

CONNECT = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as sock:
    sock.bind((sys.argv[1], 0))
    print(sock.getsockname()[1])
    sock.connect_ex((sys.argv[2], int(sys.argv[3])))
"""


def connect(source: str, destination: str, port: int) -> tuple[int, int]:
    """A process that connects and ends: its number, and its own port."""
    argv = [sys.executable, "-I", "-c", CONNECT, source, destination, str(port)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        text, _ = process.communicate()
    assert process.returncode == 0
    return process.pid, int(text)


@pytest.mark.parametrize(
    ("source", "destination"), [("127.0.0.2", "127.0.0.3"), ("::1", "::1")], ids=["IPv4", "IPv6"]
)
@pytest.mark.parametrize("listens", [False, True], ids=["refused", "accepted"])
def test_a_process_that_has_ended_is_known(source: str, destination: str, listens: bool) -> None:
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    callers = Callers()
    with socket.socket(family) as server:
        server.bind((destination, 0))
        port = server.getsockname()[1]
        if listens:
            server.listen()
        refusal = reason_against()
        if refusal:
            with pytest.raises(OSError, match=refusal):
                callers.open()
            assert not callers.is_open
            return
        callers.open()
        try:
            pid, own = connect(source, destination, port)
            addresses = ip_address(source), ip_address(destination)
            found = callers.who(Attempt(*addresses, "tcp", own, port, allowed=listens))
            assert found is not None
            assert found.pid == pid
            assert found.command.startswith("python")
        finally:
            callers.close()
        callers.close()
        assert not callers.is_open
        assert callers.who(Attempt(*addresses, "tcp", own, port, allowed=listens)) == found


def test_of_udp_it_is_whom_the_packet_log_has_noted() -> None:
    told = Attempt(HERE, THERE, "udp", 40_000, 53, allowed=False)
    assert Callers().who(told) is None
    assert Callers().who(msgspec.structs.replace(told, sender=11, time=6)) == Caller(11)
    memory = Memory()
    memory.ends(11, 5, "make")
    assert memory.name_of(11, 6) == ""
    memory.ends(11, 7, "dig")
    assert memory.name_of(11, 6) == "dig"


def test_before_it_is_opened_nobody_is_known() -> None:
    assert Callers().who(attempt()) is None
    assert repr(Callers()) == "<Callers closed <Memory of 0 connections, 0 ended>>"
    assert Caller(1) == Caller(1, "")
