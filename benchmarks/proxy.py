"""The embedded front door against Caddy: the same upstream, the same load, in one run, in turn.

    load (a process) ──► embedded │ Caddy │ portless ──► upstream (a process that answers 5 bytes)

Usage: python benchmarks/proxy.py [--quick] [--json] [--install]

portless stands beside them where it is installed: `--install` puts it below `build/peers` (npm).

Load and upstream are epoll loops in C (`proxy_load.c`), so that they take as little as possible of
the cores that they share with what is measured. `direct` is the same load without a proxy: what
the harness itself can do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

# This file has the name of the package that it measures, and would be imported in its place.
HERE = Path(__file__).resolve().parent
sys.path = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]

import anyio  # noqa: E402
import anyio.to_thread  # noqa: E402

from proxy import (  # noqa: E402
    BinaryNotFound,
    CaddyProcess,
    EmbeddedProxy,
    Route,
    RouteTable,
    TcpUpstream,
)

PORTLESS = HERE.parent / "build" / "peers" / "portless"
HOST = "bench-3000.colony.local"
PORTLESS_HOST = "bench.localhost"
REQUEST = (
    "GET / HTTP/1.1\r\nHost: {}\r\nUser-Agent: bench\r\nAccept: */*\r\n"
    "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n"
)
FIGURES = (
    ("p50", "µs", "<= 0.5"),
    ("requests/s", "1/s", ">= 2"),
    ("CPU per request", "µs", "<= 0.5"),
)
"""Name, unit and goal of the ratio: median latency of one connection; requests per second of 32,
and what they cost the proxy's process, which other work on the machine changes least."""


def compiled(folder: Path) -> str:
    """The two ends, compiled."""
    program = str(folder / "proxy_load")
    subprocess.run(["gcc", "-O2", "-o", program, str(HERE / "proxy_load.c")], check=True)
    return program


@contextmanager
def running_upstream(ends: str) -> Iterator[int]:
    argv = [ends, "upstream"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()


@contextmanager
def running_portless(upstream: int) -> Iterator[tuple[int, int] | None]:
    """portless with a route to the upstream: its port and process; None where it is not."""
    program = PORTLESS / "node_modules" / ".bin" / "portless"
    if not program.exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as home:
        env = {**os.environ, "HOME": home, "PORTLESS_STATE_DIR": f"{home}/.portless"}
        name = PORTLESS_HOST.partition(".")[0]
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        port = _free_port()
        argv = [str(program), "proxy", "start", "--no-tls", "-p", str(port), "--foreground"]
        with subprocess.Popen(argv, env=env, **quiet) as process:
            try:
                subprocess.run(
                    [str(program), "alias", name, str(upstream)], env=env, check=True, **quiet
                )  # type: ignore[call-overload]
                _until_answers(port)
                yield port, process.pid
            finally:
                process.send_signal(signal.SIGINT)
                process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _until_answers(port: int) -> None:
    request = REQUEST.format(PORTLESS_HOST).encode()
    for _ in range(400):
        try:
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(request)
                if sock.recv(65536).startswith(b"HTTP/1.1 200"):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("portless does not answer")


def install() -> None:
    PORTLESS.mkdir(parents=True, exist_ok=True)
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("portless comes by npm, which is not installed")
    argv = [npm, "install", "--no-audit", "--no-fund", "--loglevel=error", "portless"]
    subprocess.run(argv, cwd=PORTLESS, check=True)


def measure(ends: str, port: int, connections: int, seconds: float, host: str) -> dict[str, float]:
    argv = [ends, "load", str(port), str(connections), str(seconds), host]
    result: dict[str, float] = json.loads(subprocess.check_output(argv))
    return result


async def compare(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """The samples of every round: target → figure → values. The targets take turns."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        ends = compiled(Path(directory))
        port = stack.enter_context(running_upstream(ends))
        portless = stack.enter_context(running_portless(port))
        table = RouteTable([Route("bench", 3000, TcpUpstream(port, "127.0.0.1"), "web")])
        ports = range(18000, 19000)
        caddy = CaddyProcess(Path(directory) / "caddy", ports=ports, routes="static")
        embedded = EmbeddedProxy(ports=ports)
        try:
            await embedded.start(table)
            await caddy.start(table)
            targets = {
                "embedded": (embedded.port, os.getpid(), HOST),
                "caddy": (caddy.port, caddy.pid or 0, HOST),
                "direct": (port, 0, HOST),
            }
            if portless is not None:
                targets["portless"] = (*portless, PORTLESS_HOST)
            samples: dict[str, dict[str, list[float]]] = {
                target: {name: [] for name, _, _ in FIGURES} for target in targets
            }
            for _ in range(rounds):
                for target, (where, _, host) in targets.items():
                    one = await anyio.to_thread.run_sync(measure, ends, where, 1, seconds, host)
                    samples[target]["p50"].append(one["p50"])
                for target, (where, pid, host) in targets.items():
                    before = cpu(pid)
                    many = await anyio.to_thread.run_sync(measure, ends, where, 32, seconds, host)
                    used = cpu(pid) - before
                    samples[target]["requests/s"].append(many["rps"])
                    samples[target]["CPU per request"].append(used / many["requests"] * 1e6)
        finally:
            await caddy.stop()
            await embedded.stop()
    return samples


def cpu(pid: int) -> float:
    """The seconds of processor that a process has used; 0 for none."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def figures(samples: dict[str, dict[str, list[float]]]) -> list[dict[str, Any]]:
    found = compared(samples, "caddy", with_goal=True)
    return found + compared(samples, "portless") if "portless" in samples else found


def compared(
    samples: dict[str, dict[str, list[float]]], peer: str, *, with_goal: bool = False
) -> list[dict[str, Any]]:
    found = []
    for name, unit, goal in FIGURES:
        ours, peers = samples["embedded"][name], samples[peer][name]
        ratios = [one / other for one, other in zip(ours, peers, strict=True)]
        found.append(
            {
                "name": f"embedded front door, {name}",
                "value": statistics.median(ours),
                "unit": unit,
                "peer": peer,
                "peer_value": statistics.median(peers),
                "ratio": statistics.median(ratios),
                "goal": goal if with_goal else None,
                "spread": [min(ratios), max(ratios)],
                "direct": statistics.median(samples["direct"][name]),
            }
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--install", action="store_true", help="install portless, by npm, and end")
    options = parser.parse_args()
    if options.install:
        install()
    elif shutil.which("gcc") is None:
        sys.exit("this benchmark needs gcc: apt-get install gcc")
    else:
        rounds, seconds = (3, 0.5) if options.quick else (7, 1.5)
        try:
            found = figures(anyio.run(compare, rounds, seconds))
        except BinaryNotFound as error:
            sys.exit(f"the peer is missing: {error}")
        if options.json:
            print(json.dumps({"figures": found}))
        else:
            if not any(figure["peer"] == "portless" for figure in found):
                print("not measured: portless is not installed (--install)")
            for figure in found:
                print(
                    "{name}: {value:.0f} {unit}, {peer} {peer_value:.0f}, ratio {ratio:.2f} "
                    "({spread[0]:.2f}-{spread[1]:.2f}), goal {goal}; direct {direct:.0f}".format(
                        **figure
                    )
                )


if __name__ == "__main__":
    main()
