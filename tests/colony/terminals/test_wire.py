"""The protocol of docs/terminal-protocol.md, spoken by the command line's own connection."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

import anyio
import pytest

from colony.client import Address, Problem, Unreachable, path_of
from colony.paths import SOCKET
from colony.terminals import opening
from colony.terminals.connection import Connection
from colony.terminals.frames import BINARY, accept_for
from colony.terminals.hub import Hello
from tests.colony.api.support import PATIENCE, TOKEN, Rig, rig, until

pytestmark = pytest.mark.real_time

IDLE = {"web": {"command": ["sleep", "1000"]}}


class Talk:
    """A connection, its messages gathered."""

    def __init__(self, address: Address, path: str, **query: object) -> None:
        self.connection = Connection(address, path, query)
        self.bytes = b""
        self.told: list[dict[str, Any]] = []

    def until(self, holds: Callable[[Talk], object]) -> None:
        while not holds(self):
            assert not self.connection.over, self.told
            for kind, data in self.connection.receive():
                if kind == BINARY:
                    self.bytes += data
                else:
                    self.told.append(json.loads(data))

    def until_bytes(self, wanted: bytes) -> None:
        self.until(lambda it: it.bytes.endswith(wanted))

    def first(self, t: str) -> dict[str, Any] | None:
        return next((each for each in self.told if each["t"] == t), None)


def address(one: Rig) -> Address:
    return Address(one.folder / "run" / SOCKET)


MISSED = "stty -echo; echo a; while [ ! -e {go} ]; do sleep 0.01; done; echo missed; cat"
"""Writes on when nobody looks any more."""


async def test_a_reconnect_loses_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        go = tmp_path / "go"
        await opening.start(colony, name="1", argv=["/bin/sh", "-c", MISSED.format(go=go)])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> None:
            first = Talk(address(one), path, rows=30, columns=90)
            first.until(lambda it: it.bytes.endswith(b"a\r\n"))
            hello = first.told[0]
            assert (hello["t"], hello["rows"], hello["columns"]) == ("hello", 30, 90)
            offset = hello["offset"] + len(first.bytes) - hello["replay"]
            first.connection.close()
            go.touch()
            again = Talk(address(one), path, since=offset)
            again.until_bytes(b"missed\r\n")  # the kernel may hand over the line in two
            assert again.told[0]["offset"] == offset
            assert again.told[0]["replay"] in (0, len(b"missed\r\n"))
            assert again.bytes == b"missed\r\n"
            again.connection.send(b"\x04")
            again.until(lambda it: it.first("exit"))
            assert again.first("exit") == {"t": "exit", "code": 0, "reason": "exit code 0"}
            again.until(lambda it: it.connection.over)
            again.connection.close()

        await one.ask(talk)


async def test_a_since_that_never_was_shows_everything(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="1", argv=["/bin/cat"])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> None:
            viewer = Talk(address(one), path, since=10_000)
            viewer.until(lambda it: it.told)
            assert viewer.told[0]["truncated"] is True
            viewer.connection.close()

        await one.ask(talk)


WRONG = ["{", '{"t": "fly"}', '{"t": "resize"}', '{"t": "ack", "bytes": -1}']


@pytest.mark.parametrize("message", WRONG)
async def test_what_is_no_message_ends_the_viewer_and_not_the_session(
    tmp_path: Path, message: str
) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="1", argv=["/bin/cat"])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> None:
            viewer = Talk(address(one), path)
            viewer.connection._send(1, message.encode())
            while not viewer.connection.over:
                viewer.connection.receive()
            viewer.connection.close()

        await one.ask(talk)
        [info] = await opening.describe(colony)
        assert info.name == "1"


async def test_what_cannot_be_joined_is_a_problem(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="17", argv=["/bin/cat"])

        def refused(address: Address, *parts: str, **query: object) -> tuple[int, str]:
            with pytest.raises(Problem) as raised:
                Connection(address, path_of("colonies", *parts), query)
            return raised.value.status, str(raised.value)

        def talk() -> None:
            here, name = address(one), colony.name
            assert refused(here, name[:-1], "terminals", "1", "attach") == (
                404,
                f"there is no colony {name[:-1]!r}; did you mean {name!r}?",
            )
            assert refused(here, name, "terminals", "18", "attach")[0] == 404
            assert refused(here, name, "terminals", "17", "attach", rows=-1)[0] == 422
            assert one.tcp is not None
            path = (name, "terminals", "17", "attach")
            assert refused(Address(None, "127.0.0.1", one.tcp), *path)[0] == 401
            over_tcp = Address(None, "127.0.0.1", one.tcp, TOKEN)
            Connection(over_tcp, path_of("colonies", *path)).close()
            with pytest.raises(Unreachable):
                Connection(Address(tmp_path / "none"), path_of("colonies", *path))

        await one.ask(talk)


def has_master(pid: int) -> bool:
    """Whether a process has a terminal's other end."""
    folder = f"/proc/{pid}/fd"
    for fd in os.listdir(folder):
        with suppress(FileNotFoundError):  # closed
            if "ptmx" in os.readlink(f"{folder}/{fd}"):
                return True
    return False


async def test_no_child_inherits_a_master(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        _, first = await opening.start(colony, argv=["/bin/cat"])
        await opening.start(colony, argv=["/bin/cat"])
        for info in await opening.describe(colony):
            # For an instant of its exec it has: the spawn is over before they are closed.
            await until(lambda pid=info.pid: not has_master(pid))  # type: ignore[misc]
        assert first.alive


async def test_the_routes(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        base = path_of("colonies", colony.name, "terminals")
        made = await one.ask(
            one.client.post, base, {"argv": ["/bin/cat"], "rows": 30, "columns": 99}
        )
        assert (made["name"], made["rows"], made["columns"]) == ("1", 30, 99)
        await one.ask(one.client.post, f"{base}/1/input", {"text": "hé\r"})

        async def shown() -> list[str]:
            screen = await one.ask(one.client.get, f"{base}/1/screen")
            assert (screen["rows"], screen["cursor_visible"]) == (30, True)
            return [line for line in screen["lines"] if line]

        while await shown() != ["hé", "hé"]:
            pass
        with pytest.raises(Problem, match="no such program in PATH"):
            await one.ask(one.client.post, base, {"argv": ["no-such"]})
        assert len(await one.ask(one.client.get, base)) == 1
        gone = await one.ask(one.client.delete, f"{base}/1")
        assert gone == {"colony": colony.name, "name": "1"}
        with pytest.raises(Problem, match="there is no terminal"):
            await one.ask(one.client.delete, f"{base}/1")


async def test_a_flood_with_a_stopped_viewer_leaves_another_session_quick(tmp_path: Path) -> None:
    """No figure is asserted: every echo comes, while three floods run and one viewer is stopped."""
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        for number in "123":
            await opening.start(colony, name=number, argv=["/usr/bin/yes"])
        await opening.start(colony, name="4", argv=["/bin/sh", "-c", "stty raw -echo; exec cat"])
        path = path_of("colonies", colony.name, "terminals")

        def talk() -> None:
            stopped = [Connection(address(one), f"{path}/{n}/attach") for n in "123"]
            quick = Talk(address(one), f"{path}/4/attach")
            quick.until(lambda it: it.told)
            for number in range(200):
                quick.connection.send(b"<%d>" % number)
                quick.until_bytes(b"<%d>" % number)
            quick.connection.close()
            for each in stopped:
                each.close()

        await one.ask(talk)


RAW = ["/bin/sh", "-c", "stty raw -echo; echo up; exec cat"]


async def test_every_byte_is_typed_and_shown_as_it_is(tmp_path: Path) -> None:
    """The high ones too, and none of them is anything to the terminal."""
    every = bytes(range(256)) * 64
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="1", argv=RAW)
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> bytes:
            viewer = Talk(address(one), path)
            viewer.until_bytes(b"up\n")
            before = len(viewer.bytes)
            viewer.connection.send(every)
            viewer.until(lambda it: len(it.bytes) >= before + len(every))
            viewer.connection.close()
            return viewer.bytes[before:]

        assert await one.ask(talk) == every


async def test_what_two_paste_is_not_mixed(tmp_path: Path) -> None:
    """Frames far larger than what the terminal takes at once; both viewers see the same."""
    size, times = 50_000, 4
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="1", argv=RAW)
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> list[bytes]:
            viewers = [Talk(address(one), path) for _ in range(2)]
            for viewer in viewers:
                viewer.until_bytes(b"up\n")
            begins = [len(viewer.bytes) for viewer in viewers]
            for _ in range(times):
                for viewer, letter in zip(viewers, (b"a", b"b"), strict=True):
                    viewer.connection.send(letter * size)
            total = 2 * times * size

            def typed() -> list[bytes]:
                return [viewer.bytes[begin:] for viewer, begin in zip(viewers, begins, strict=True)]

            while any(len(each) < total for each in typed()):
                for viewer, each in zip(viewers, typed(), strict=True):
                    if len(each) < total and viewer.connection.ready(seconds=0.01):
                        for kind, data in viewer.connection.receive():
                            viewer.bytes += data if kind == BINARY else b""
            for viewer in viewers:
                viewer.connection.close()
            return typed()

        one_saw, other_saw = await one.ask(talk)
        assert one_saw == other_saw
        runs = [len(list(group)) for _, group in groupby(one_saw)]
        assert sum(runs) == 2 * times * size
        assert all(run % size == 0 for run in runs)


async def test_no_more_is_sent_than_the_window_until_it_is_acknowledged(tmp_path: Path) -> None:
    window, piece, total = 100_000, 64 * 1024, 1_000_000
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        script = f"stty raw -echo; read x; head -c {total} /dev/zero; echo END; exec cat"
        await opening.start(colony, name="1", argv=["/bin/bash", "-c", script])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> None:
            paced, other = Talk(address(one), path, window=window), Talk(address(one), path)
            paced.connection.send(b"\n")
            other.until_bytes(b"END\n")
            paced.until(lambda it: len(it.bytes) >= window)
            while paced.connection.ready(seconds=0.3):
                for kind, data in paced.connection.receive():
                    paced.bytes += data if kind == BINARY else b""
            assert window <= len(paced.bytes) < window + piece
            dealt_with = 0

            def more(it: Talk) -> bool:
                return len(it.bytes) > dealt_with

            while not paced.bytes.endswith(b"END\n"):
                paced.connection.tell("ack", bytes=len(paced.bytes) - dealt_with)
                dealt_with = len(paced.bytes)
                paced.until(more)
            assert paced.first("resync") is None
            assert paced.bytes.count(b"\0") == total
            paced.connection.close()
            other.connection.close()

        await one.ask(talk)


async def test_what_was_typed_last_arrives_though_the_connection_is_cut(tmp_path: Path) -> None:
    """Without a farewell: the socket is closed at once."""
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        mark = tmp_path / "typed"
        script = f"stty raw -echo; echo up; read x; echo $x > {mark}; exec sleep 1000"
        await opening.start(colony, name="1", argv=["/bin/bash", "-c", script])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> None:
            viewer = Talk(address(one), path)
            viewer.until(lambda it: b"up" in it.bytes)
            for letter in "last wörds":
                viewer.connection.send(letter.encode())
            viewer.connection.send(b"\n")
            viewer.connection._socket.close()

        await one.ask(talk)
        await until(lambda: mark.exists() and mark.read_text() == "last wörds\n")


async def test_what_is_typed_before_anything_is_read_arrives(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        mark = tmp_path / "typed"
        script = f"stty raw; read x; echo $x > {mark}; exec sleep 1000"
        await opening.start(colony, name="1", argv=["/bin/bash", "-c", script])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")

        def talk() -> None:
            with Connection(address(one), path) as connection:
                connection.send(b"last\n")

        await one.ask(talk)
        await until(lambda: mark.exists() and mark.read_text() == "last\n")


async def test_a_farewell_in_a_flood(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="1", argv=["/bin/bash", "--norc", "-i"])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")
        mark = tmp_path / "typed"

        def talk() -> None:
            flooded = Talk(address(one), path)
            flooded.connection.send(b"yes\r")
            flooded.until(lambda it: len(it.bytes) > 1_000_000)
            flooded.connection.send(b"\x03")
            flooded.connection.send(f"echo > {mark}\r".encode())
            flooded.connection.close()

        await one.ask(talk)
        await until(mark.exists)


async def test_more_is_typed_than_anybody_reads(tmp_path: Path) -> None:
    """A viewer that types much into what writes more: neither waits for the other for ever."""
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        path = path_of("colonies", colony.name, "attach")
        count, times = 2_000_000, 10

        def talk() -> int:
            connection = Connection(address(one), path)
            script = f"{{for(i=0;i<{times};i++) print}}"
            connection.tell("start", argv=["awk", script])
            written = 0
            for _ in range(count // 20_000):
                connection.send(b"0123456789abcdefghi\n" * 1000)
            connection.tell("eof")
            while True:
                for kind, data in connection.receive():
                    if kind == BINARY:
                        written += len(data) - 1
                    elif json.loads(data)["t"] == "exit":
                        connection.close()
                        return written

        assert await one.ask(talk) == count * times


def shaken(port: int, path: str, **headers: str) -> tuple[int, dict[str, str]]:
    """The handshake of a WebSocket as a browser does it: the answer's status and headers."""
    asked = {
        "Host": f"127.0.0.1:{port}",
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "websocket",
        "Origin": f"http://127.0.0.1:{port}",
        "Sec-Fetch-Site": "same-origin",
        "Sec-Fetch-Mode": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{k}: {v}" for k, v in asked.items() if v), "", ""]
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
        sock.sendall("\r\n".join(lines).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += sock.recv(65536)
    first, *rest = data.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return int(first.split()[1]), dict(line.lower().split(": ", 1) for line in rest)


async def test_a_page_shakes_hands_with_the_token_in_a_subprotocol(tmp_path: Path) -> None:
    async with rig(tmp_path, tcp=True) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="1", argv=["/bin/cat"])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")
        port = one.tcp or 0
        good = f"colony, colony.token.{TOKEN}"

        async def status(**headers: str) -> int:
            found, _ = await one.ask(shaken, port, path, **headers)
            return found

        code, answer = await one.ask(shaken, port, path, Sec_WebSocket_Protocol=good)
        assert (code, answer["sec-websocket-protocol"]) == (101, "colony")
        assert answer["sec-websocket-accept"] == accept_for(b"dGhlIHNhbXBsZSBub25jZQ==").lower()
        assert "sec-websocket-extensions" not in answer
        assert TOKEN not in str(answer)
        assert await status() == 401
        assert await status(Sec_WebSocket_Protocol="colony") == 401
        assert await status(Sec_WebSocket_Protocol=f"colony.token.{TOKEN}") == 401
        assert await status(Sec_WebSocket_Protocol=f"colony, colony.token.{'x' * 40}") == 401
        evil = {"Origin": "http://evil.example", "Sec_WebSocket_Protocol": good}
        assert await status(**evil) == 403
        assert await status(Sec_Fetch_Site="cross-site", Sec_WebSocket_Protocol=good) == 403
        assert await status(Host="evil.example", Sec_WebSocket_Protocol=good) == 421
        assert await status(Origin="", Sec_Fetch_Site="", Sec_WebSocket_Protocol="") == 401
        # For a request that is no WebSocket it is no token.
        plain = {"Upgrade": "", "Connection": "close", "Sec_WebSocket_Protocol": good}
        assert await status(**plain) == 401


VOLUME = 32 * 1024 * 1024
"""Thirty-two times what a session keeps. (Of memory: tests/end_to_end/test_terminals_flood.py.)"""


async def test_a_viewer_that_reads_nothing_stops_nobody(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        script = f"stty raw -echo; read x; head -c {VOLUME} /dev/zero; echo END; exec cat"
        _, ref = await opening.start(colony, name="1", argv=["/bin/bash", "-c", script])
        path = path_of("colonies", colony.name, "terminals", "1", "attach")
        stuck = await one.ask(Connection, address(one), path)
        reading = await opening.join(ref)
        assert isinstance(await reading.take(), Hello)
        await reading.write(b"\n")
        count, last = 0, b""
        with anyio.fail_after(4 * PATIENCE):
            while not last.endswith(b"END\n"):
                item = await reading.take()
                if isinstance(item, bytes):
                    count += item.count(b"\0")
                    last = (last + item)[-4:]
        assert count == VOLUME  # the other one has had every byte
        await reading.write(b"still")
        while (await reading.take()) != b"still":
            pass

        def catch_up() -> Talk:
            talk = Talk.__new__(Talk)
            talk.connection, talk.bytes, talk.told = stuck, b"", []
            talk.until_bytes(b"still")
            stuck.close()
            return talk

        late = await one.ask(catch_up)
        assert late.first("resync") is not None
        assert len(late.bytes) < VOLUME // 4
        reading.leave()
