"""A machine with an outside, for tests of the way out: two network namespaces and a link between.

    with outside() as there:
        shop.run(colony, prefix=there.prefix)    # on that machine

    machine   198.51.100.2, 2001:db8::2      default routes by .1 and ::1
    outside   203.0.113.9,  2001:db8:9::9    counts what is sent to port 7777, and says so

The machine has a server on its own loopback, too, that nobody in a colony is to reach, and its own
/run. Both end, with all that is in them, when the block does.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final, NamedTuple

OUTSIDE4: Final = "203.0.113.9"
OUTSIDE6: Final = "2001:db8:9::9"
GATEWAY4: Final = "198.51.100.1"
GATEWAY6: Final = "2001:db8::1"
PORT: Final = 7777
SECRET: Final = 7778

# A new network forwards as this machine does just now.
_BEGIN = 'mount -t tmpfs none /run && echo 0 >/proc/sys/net/ipv4/ip_forward && exec "$@"'

# Told which addresses when they are there.
_COUNT = """
import socket, sys, threading
print(flush=True)
def serve(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = socket.create_server((address, port), family=family)
    def loop():
        while True:
            client, _ = server.accept()
            with client:
                count = 0
                while data := client.recv(1 << 16):
                    count += len(data)
                client.sendall(str(count).encode())
    threading.Thread(target=loop).start()
for address in sys.stdin.readline().split():
    serve(address, int(sys.argv[1]))
print(flush=True)
"""


class There(NamedTuple):
    """`pid` is a process on the machine."""

    pid: int

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a command to run it there."""
        return ("nsenter", f"--target={self.pid}", "--net", "--mount", "--wd=.", "--")

    def run(self, *argv: str) -> str:
        """What a command says there."""
        whole = [*self.prefix, *argv]
        done = subprocess.run(whole, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout


@contextmanager
def outside(*, ipv6: bool = True) -> Iterator[There]:
    """`ipv6`: whether the machine has any."""
    with ExitStack() as stack:
        machine = stack.enter_context(_server(SECRET))
        world = stack.enter_context(_server(PORT))
        pair = ("link", "add", "u0", "type", "veth", "peer", "name", "u0", "netns", str(world.pid))
        _ip(machine, *pair)
        for each in (machine, world):
            _ip(each, "link", "set", "lo", "up")
            _ip(each, "link", "set", "u0", "up")
        _ip(machine, "address", "add", "198.51.100.2/24", "dev", "u0")
        _ip(world, "address", "add", f"{GATEWAY4}/24", "dev", "u0")
        _ip(world, "address", "add", f"{OUTSIDE4}/32", "dev", "lo")
        _ip(machine, "route", "add", "default", "via", GATEWAY4)
        if ipv6:
            _ip(machine, "address", "add", "2001:db8::2/64", "dev", "u0", "nodad")
            _ip(machine, "route", "add", "default", "via", GATEWAY6)
        _ip(world, "address", "add", f"{GATEWAY6}/64", "dev", "u0", "nodad")
        _ip(world, "address", "add", f"{OUTSIDE6}/128", "dev", "lo", "nodad")
        _tell(machine, "127.0.0.1", "::1")
        _tell(world, OUTSIDE4, OUTSIDE6)
        yield There(machine.pid)


@contextmanager
def _server(port: int) -> Iterator[subprocess.Popen[str]]:
    """In a network namespace of its own, waiting to be told its addresses."""
    own = ("unshare", "--net", "--mount", "--propagation=private", "--", "sh", "-c", _BEGIN, "sh")
    argv: Sequence[str] = (*own, sys.executable, "-Ic", _COUNT, str(port))
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()  # it is in there
            yield process
        finally:
            process.kill()


def _tell(server: subprocess.Popen[str], *addresses: str) -> None:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(" ".join(addresses) + "\n")
    server.stdin.flush()
    assert server.stdout.readline()  # it listens


def _ip(there: subprocess.Popen[str], *argv: str) -> None:
    There(there.pid).run("ip", *argv)
