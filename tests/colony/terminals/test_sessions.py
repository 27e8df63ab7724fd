"""Sessions with real shells, on both event loops, on the host's network."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from actors import ActorDown
from colony.terminals import opening, session
from colony.terminals.answers import GRACE
from colony.terminals.driven import ExpectTimeout, TerminalEnded
from colony.terminals.hub import Exit, Hello, Resized, Viewers
from colony.terminals.opening import NoSession, NotStarted
from colony.terminals.session import Look
from colony.terminals.sizes import Size
from tests.colony.api.support import PATIENCE, is_alive, rig, until

pytestmark = pytest.mark.real_time

IDLE = {"web": {"command": ["sleep", "1000"]}}
SH = ["/bin/sh"]


async def test_a_shell_is_driven(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        async with colony.terminal(argv=SH, size=(30, 100)) as t:
            await t.expect(r"[$#] ")
            await t.send("stty size; tty; echo $TERM-$COLONY_NAME-$((6*7))\n")
            assert await t.expect(r"\n(\d+ \d+)\n(/dev/pts/\d+)\n(.*)\n")
            await t.expect(r"[$#] ")
            await t.send("echo wörld; exit 3\n")
            assert await t.expect("\nwörld\n")
            assert await t.wait() == Exit(3, None, "exit code 3")
        assert await opening.sessions(colony) == {}


async def test_size_comes_before_the_first_byte_and_travels(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        argv = ["/bin/sh", "-c", "trap 'stty size' WINCH; stty size; while :; do sleep 0.01; done"]
        async with colony.terminal(argv=argv, size=(30, 100)) as t:
            await t.expect("^30 100\n")
            await t.resize(31, 90)
            await t.expect("31 90\n")


async def test_erasing_takes_a_character(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        async with colony.terminal(argv=["/bin/sh", "-c", "echo go; read x; echo =$x="]) as t:
            await t.expect("go\n")
            await t.send("a漢\x7fb\n")
            assert await t.expect("=ab=\n")


async def test_job_control(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        async with colony.terminal(argv=["/bin/bash", "--norc", "-i"]) as t:
            await t.expect(r"[$#] ")
            await t.send("sh -c 'echo go-$((1+1)); exec sleep 1000'\n")
            await t.expect("\ngo-2\n")
            await t.send("\x1a")
            await t.expect(r"Stopped +sh -c")
            await t.send("fg\n")
            await t.expect("\nsh -c .*\n")
            # bash names the job before it gives it the terminal: a key in between is lost
            for patience in (0.2, 1.0, PATIENCE):
                await t.send("\x03")
                with suppress(ExpectTimeout):
                    await t.expect(r"[$#] ", patience)
                    break
            await t.send("echo st-$?\n")
            await t.expect("\nst-130\n")


async def test_a_session_is_left_and_found_as_it_was(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="7", argv=SH)
        async with colony.terminal("7") as t:
            await t.expect(r"[$#] ")
            await t.send("X=kept; echo ok-$X\n")
            await t.expect("ok-kept")
        async with colony.terminal("7", read_only=True) as t:
            await t.expect("ok-kept\n.*[$#] ")
            await t.send("echo never\n")
            async with colony.terminal("7") as other:
                await other.send("echo again-$X\n")
                await other.expect("\nagain-kept\n")
            await t.expect("\nagain-kept\n")
            assert "never" not in t.before
            assert "again-kept" in (await t.screen()).text
        assert [each.name for each in await opening.describe(colony)] == ["7"]


async def test_viewers_agree_on_the_smallest_size(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        await opening.start(colony, name="1", argv=["/bin/cat"], size=Size(50, 150))
        a = await opening.attach(colony, "1", size=Size(50, 100))
        hello = await a.take()
        assert isinstance(hello, Hello)
        assert (hello.offset, hello.rows, hello.columns) == (0, 50, 100)
        assert isinstance(await a.take(), bytes)
        b = await opening.attach(colony, "1", size=Size(30, 120))
        c = await opening.attach(colony, "1", size=Size(3, 3), read_only=True)
        assert [await a.take() for _ in range(2)] == [Resized(30, 100), Viewers(3)]
        b.leave()
        with anyio.fail_after(PATIENCE):
            while await a.take() != Resized(50, 100):
                pass
        a.leave()
        c.leave()


async def test_two_viewers_terminals_answer_once(tmp_path: Path) -> None:
    asks = "stty raw -echo; echo go; head -c 1; printf 'asked\\033[6n'; head -c 7 | od -An -c"
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        async with (
            colony.terminal("1", argv=["/bin/sh", "-c", asks]) as first,
            colony.terminal("1") as second,
        ):
            await first.expect("go")
            await anyio.sleep(GRACE)
            await first.send("?")
            await first.expect("asked")
            await second.expect("asked")
            await first.send("\x1b[3;1R")
            await second.send("\x1b[4;1R")
            await first.send("x")
            assert await first.expect(r"033 +\[ +3 +; +1 +R +x")


async def test_the_ends_of_a_session(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        with pytest.raises(NotStarted, match="cannot start 'no-such': no such program in PATH"):
            await opening.start(colony, argv=["no-such"])
        with pytest.raises(NoSession, match="there is no terminal '9'; there are none"):
            await opening.attach(colony, "9")
        async with colony.terminal(argv=["/bin/sh", "-c", "echo one; kill -9 $$"]) as t:
            with pytest.raises(TerminalEnded, match=r"ended \(killed by SIGKILL\) before 'two'"):
                await t.expect("two")
        async with colony.terminal(argv=["/bin/cat"]) as t:
            with pytest.raises(ExpectTimeout, match=r"no 'x' within 0\.01 s"):
                await t.expect("x", timeout=0.01)
        name, ref = await opening.start(colony, argv=["/bin/sh", "-c", "trap '' HUP; sleep 1000"])
        [info] = await opening.describe(colony)
        assert (name, info.name, info.viewers) == ("1", "1", 0)
        await opening.end(colony, "1")
        await until(lambda: not is_alive(info.pid))
        with pytest.raises(ActorDown):
            await opening.join(ref)


async def test_who_comes_after_a_short_programs_end_sees_all_of_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        name, ref = await opening.start(colony, argv=["/bin/sh", "-c", "echo hi; exit 5"])
        hub = await ref.call(Look())
        await until(lambda: hub.exit is not None)
        attached = await opening.join(ref)
        items = [await attached.take() for _ in range(4)]
        assert isinstance(items[0], Hello)
        assert isinstance(items[1], bytes)
        assert items[1].endswith(b"hi\r\n")
        assert items[2:] == [Viewers(1), Exit(5, None, "exit code 5")]
        attached.leave()
        with anyio.fail_after(PATIENCE):
            while name in await opening.sessions(colony):  # noqa: ASYNC110 - nobody tells us
                await anyio.sleep(0.01)


async def test_a_colonys_end_hangs_its_sessions_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (session, opening):  # a busy machine's shell may need longer than a second
        monkeypatch.setattr(module, "HANGUP", PATIENCE)
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        mark = tmp_path / "hung-up"
        _, ref = await opening.start(
            colony, argv=["/bin/bash", "-c", f"trap 'echo > {mark}; exit' HUP; echo up; read x"]
        )
        attached = await opening.join(ref)
        seen = b""
        while b"up" not in seen:
            item = await attached.take()
            seen += item if isinstance(item, bytes) else b""
        [info] = await opening.describe(colony)
        await colony.stop()
        assert mark.exists()
        assert not is_alive(info.pid)
        while not isinstance(last := await attached.take(), Exit):
            pass
        assert last == Exit(0, None, "exit code 0")
        assert await attached.take() is None


async def test_ten_megabytes_arrive_whole_and_in_order(tmp_path: Path) -> None:
    lines = b"".join(b"%07d\n" % number for number in range(1_250_000))
    (tmp_path / "big").write_bytes(lines)
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        _, ref = await opening.start(
            colony, argv=["/bin/sh", "-c", f"stty raw; read x; cat {tmp_path}/big"], size=Size(9, 9)
        )
        attached = await opening.join(ref)
        await attached.write(b"\n")
        seen = bytearray()
        hello = await attached.take()
        assert isinstance(hello, Hello)
        while not isinstance(item := await attached.take(), Exit):
            if isinstance(item, bytes):
                seen += item
        assert bytes(seen[hello.replay :]).endswith(lines)
        assert len(seen) - hello.replay - len(lines) <= 2  # the echo of the first line


async def test_a_stopped_viewer_stops_nobody(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add(IDLE)
        _, ref = await opening.start(colony, argv=["/usr/bin/yes"])
        stopped, reading = await opening.join(ref), await opening.join(ref)
        count = 0
        with anyio.fail_after(PATIENCE):
            while count < 4 * 1024 * 1024:
                item = await reading.take()
                count += len(item) if isinstance(item, bytes) else 0
        items = [await stopped.take() for _ in range(40)]
        assert "Resync" in {type(item).__name__ for item in items}
        stopped.leave()
        reading.leave()


REPL = {
    "command": ["/bin/sh", "-c", "echo begun; while read x; do echo got-$x; done; exit 3"],
    "pty": True,
    "restart": "transient",
}


async def test_a_services_terminal(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add({**IDLE, "web": REPL, "plain": IDLE["web"]})
        async with colony.service("web").terminal() as t:
            await t.expect("begun\n")
            await t.send("a\n")
            await t.expect("\ngot-a\n")
            await t.send("\x04")
            await t.expect(r"\[web has ended: exit code 3\]\n")
            await t.expect(r"\[web is started\]\nbegun\n")
            await t.send("b\n")
            await t.expect("\ngot-b\n")
            assert "got-b" in (await t.screen()).text
            found = {each.name: each for each in await opening.describe(colony)}
            assert (found["web"].service, found["web"].viewers) == ("web", 1)
            await colony.service("web").stop()
            await t.expect(r"\[web was stopped; .*\]\n")
            await t.send("nobody\n")
            await colony.service("web").start()
            await t.expect("begun\n")
            await colony.stop()
            assert await t.wait() == Exit(reason="the colony has ended")
        with pytest.raises(NoSession):
            await opening.attach(colony, "web")
        with pytest.raises(opening.NoTerminal, match=r"write pty = true in \[services.plain\]"):
            await opening.session(colony, "plain")


async def test_a_flooding_service_waits_for_the_viewer_who_types(tmp_path: Path) -> None:
    """Every byte comes, though far more is written than is kept anywhere; the logs have it too."""
    count = 400_000
    script = f"read x; stty raw; i=0; seq -f %09.0f {count}; exec sleep 1000"
    async with rig(tmp_path) as one:
        colony = await one.add({"web": {"command": ["/bin/sh", "-c", script], "pty": True}})
        attached = await opening.attach(colony, "web")
        await attached.write(b"\r")
        seen, last = bytearray(), b"%09d\n" % count
        with anyio.fail_after(4 * PATIENCE):
            while not seen.endswith(last):
                item = await attached.take()
                seen += item if isinstance(item, bytes) else b""
        attached.leave()
        first = seen.index(b"000000001\n")
        assert bytes(seen[first:]) == b"".join(b"%09d\n" % n for n in range(1, count + 1))
        assert (await colony.last_lines("web", 1)) == (last[:-1],)


async def test_a_service_is_never_stopped_by_who_looks_at_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as one:
        colony = await one.add({"web": {"command": ["/usr/bin/yes"], "pty": True}})
        stopped = await opening.attach(colony, "web")
        reading = await opening.attach(colony, "web", read_only=True)
        count = 0
        with anyio.fail_after(PATIENCE):
            while count < 4 * 1024 * 1024:
                item = await reading.take()
                count += len(item) if isinstance(item, bytes) else 0
        items = [await stopped.take() for _ in range(40)]
        assert "Resync" in {type(item).__name__ for item in items}
        stopped.leave()
        reading.leave()
