from __future__ import annotations

import socket
from ipaddress import ip_address
from pathlib import Path

import anyio
import pytest

from netns.listeners import Listener, Listeners, out_of_reach
from tests.netns.support import rig, unique


def tcp(address: str, port: int, *, only6: bool = False) -> Listener:
    return Listener(port, "tcp", ip_address(address), only6)


def test_out_of_reach_is_who_is_not_on_127_0_0_1() -> None:
    everywhere = [tcp("0.0.0.0", 1), tcp("127.0.0.1", 2), tcp("::", 3)]
    assert out_of_reach(everywhere) == {}
    assert out_of_reach([*everywhere, tcp("::1", 4), tcp("::", 5, only6=True)]) == {
        4: (ip_address("::1"),),
        5: (ip_address("::"),),
    }
    assert out_of_reach([tcp("::1", 4), tcp("127.0.0.1", 4)]) == {}
    assert out_of_reach([tcp("10.200.0.2", 6)]) == {6: (ip_address("10.200.0.2"),)}
    udp = Listener(7, "udp", ip_address("::1"))
    assert out_of_reach([udp]) == {}
    assert out_of_reach([udp, tcp("::1", 8)], "udp") == {7: (ip_address("::1"),)}


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_whoever_listens_inside_is_seen_and_nobody_else(tmp_path: Path, backend: str) -> None:
    async def main() -> None:
        async with rig(tmp_path / "run") as (thread, _, network):
            space = await network.create(unique("l"))
            listeners = await Listeners.open(thread, space)
            assert listeners.look() == frozenset()
            four = await thread.socket(space)
            four.bind(("127.0.0.1", 3000))
            four.listen()
            six = await thread.socket(space, socket.AF_INET6)
            six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            six.bind(("::", 3001))
            six.listen()
            udp = await thread.socket(space, kind=socket.SOCK_DGRAM)
            udp.bind(("0.0.0.0", 5353))
            assert sorted(map(str, listeners.look())) == [
                "0.0.0.0:5353/udp",
                "127.0.0.1:3000/tcp",
                "[::]:3001/tcp",
            ]
            assert listeners.look(udp=False) == {
                tcp("127.0.0.1", 3000),
                tcp("::", 3001, only6=True),
            }
            for sock in (four, six, udp):
                sock.close()
            assert listeners.look() == frozenset()
            listeners.close()
            await network.destroy(space)

    anyio.run(main, backend=backend)
