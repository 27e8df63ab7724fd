from __future__ import annotations

from ipaddress import ip_address

from colony.network.watching import by_port, worth_a_route
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
