from __future__ import annotations

from ipaddress import ip_address

from colony.network.watching import by_port, pause, worth_a_route
from netns.listeners import Listener


def test_listeners_are_told_by_port_without_clients_and_without_ours() -> None:
    seen = [
        Listener(3000, "tcp", ip_address("0.0.0.0")),
        Listener(3000, "tcp", ip_address("::")),
        Listener(40001, "tcp", ip_address("127.0.0.1")),
        Listener(53, "udp", ip_address("127.0.0.1")),
        Listener(40002, "udp", ip_address("0.0.0.0")),
    ]
    ports = by_port(seen, but={40001})
    assert ports == {(53, "udp"): ("127.0.0.1",), (3000, "tcp"): ("0.0.0.0", "::")}
    assert worth_a_route(ports) == (3000,)
    assert worth_a_route({(80, "tcp"): (), (40000, "tcp"): (), (5173, "tcp"): ()}) == (5173,)


def test_colonies_that_rest_look_in_the_same_moments() -> None:
    begun = (0.3, 1.75, 7.0)
    assert [now + pause(0.2, now) for now in begun] == [0.5, 1.95, 7.2]
    assert [now + pause(2.0, now) for now in begun] == [2.0, 2.0, 8.0]
    assert [now + pause(5.0, now) for now in begun] == [5.0, 5.0, 10.0]
    assert pause(2.0, 8.0) == 2.0
