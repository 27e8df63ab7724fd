"""What a step has to work with: the workspace, an environment, commands with a log.

A step is a `Stage`: `prepare` looks at the world and returns an `Action`, which says how it is
taken back before anything is done, or a `Skip` with the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import anyio.to_thread
import msgspec

from colony.config import Config
from colony.provision.journal import Journal
from colony.provision.undo import Undo
from netns import limits

OFF_LOOP: Final = anyio.to_thread.run_sync
"""What may block is done by a thread."""

LAST_LINES: Final = 10
GRACE: Final = 3.0
"""Seconds between the signal and the kill when a command is cancelled or takes too long."""

PAUSE: Final = 0.2
TAIL: Final = 400
_PERCENT: Final = re.compile(rb"(\d{1,3})%")
"""How often, in seconds, it is looked how far a command has come, and at how many bytes."""

TRIES: Final = 3
BEFORE_AGAIN: Final = 1.0
"""Seconds between two tries of what fetches packages."""

_BROKEN: Final = re.compile(
    r"EIDLETIMEOUT|ECONNRESET|ETIMEDOUT|ERR_SOCKET_TIMEOUT|ERR_STREAM_PREMATURE_CLOSE"  # Node.js
    r"|IncompleteRead|ConnectionResetError|Read timed out"  # pip
    r"|error decoding response body|operation timed out|connection reset",  # uv, cargo
    re.IGNORECASE,
)

TIMEOUT: Final = 1800.0
"""Seconds that one command may take. A first `cargo build` on a small machine takes long."""


class StepFailed(Exception):
    """A step cannot be done. `command`, `code` and `last_lines` tell of the command that failed."""

    def __init__(
        self,
        text: str,
        help: str = "",
        *,
        command: str = "",
        code: int | None = None,
        last_lines: Sequence[str] = (),
    ) -> None:
        super().__init__(text)
        self.help = help
        self.command = command
        self.code = code
        self.last_lines = tuple(last_lines)


class Work:
    """One provisioning, from its first step to its last.

    environ
        The environment of its commands: the caller's, with what the steps have added.
    added
        What the colony's services get: the same additions alone.
    config
        The colony.toml, once the source is there.
    advance
        Is told how far the command that runs has come, in percent, by what it says itself in its
        last line; nothing by default.
    """

    def __init__(
        self,
        name: str,
        workspace: Path,
        journal: Journal,
        environ: Mapping[str, str],
        config: Config | None = None,
    ) -> None:
        self.name = name
        self.workspace = workspace
        self.journal = journal
        self.home = journal.home
        self.environ = dict(environ)
        self.added: dict[str, str] = {}
        self.loaded = config
        self.log = self.home / "provision" / f"{name}.log"
        self.advance: Callable[[int], None] = lambda percent: None

    def __repr__(self) -> str:
        return f"<Work {self.name} in {self.workspace}>"

    @property
    def config(self) -> Config:
        """The workspace's configuration. Raises `StepFailed` before it has been read."""
        if self.loaded is None:
            raise StepFailed("there is no configuration yet")
        return self.loaded

    def put(self, name: str, value: str) -> None:
        """Sets a variable for the steps to come and for the services."""
        self.environ[name] = self.added[name] = value

    def put_first(self, folder: str | Path) -> None:
        """Puts a folder first in PATH."""
        rest = self.environ.get("PATH", os.defpath).split(":")
        wanted = str(folder)
        self.put("PATH", ":".join([wanted, *(each for each in rest if each != wanted)]))

    def which(self, program: str) -> str | None:
        """A program's path, as the steps would find it."""
        return shutil.which(program, path=self.environ.get("PATH"))

    async def run(
        self, *argv: str, cwd: Path | None = None, timeout: float = TIMEOUT, shell: bool = False
    ) -> None:
        """Runs a command to its end, what it writes going to the log. Raises `StepFailed`.

        On cancellation and after `timeout` its whole process group is ended first. `shell` only
        says that the command is a user's line, for the words of the error.
        """
        shown = argv[-1] if shell else " ".join(argv)
        began = await OFF_LOOP(self._note_command, shown)
        try:
            code = await self._to_its_end(argv, cwd or self.workspace, timeout)
        except FileNotFoundError as error:
            raise StepFailed(f"{error.filename} is not installed", command=shown) from None
        if code != 0:
            lines = await OFF_LOOP(self._last_lines, began)
            why = f"after {timeout:g} s it was ended" if code is None else _ending(code)
            raise StepFailed(
                f"`{shown}` failed: {why}",
                f"all it wrote is in {self.log}",
                command=shown,
                code=code,
                last_lines=lines,
            )

    async def fetch(self, *argv: str, cwd: Path | None = None) -> None:
        """`run` for a command that installs packages: where the connection to their registry broke
        off, it is run again, `TRIES` times in all. npm and pip ask again only for what did not
        begin to come.
        """
        for left in reversed(range(TRIES)):
            try:
                await self.run(*argv, cwd=cwd)
                return
            except StepFailed as failed:
                if not left or not broke_off(failed.last_lines):
                    raise
            await anyio.sleep(BEFORE_AGAIN)

    async def _to_its_end(self, argv: Sequence[str], cwd: Path, timeout: float) -> int | None:
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            process = await anyio.open_process(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                # Nobody is there to answer git's question for a password.
                env={**self.environ, "GIT_TERMINAL_PROMPT": "0"},
                start_new_session=True,
            )
        finally:
            os.close(log)
        limits.give_back(process.pid)
        try:
            with anyio.move_on_after(timeout):
                return await self._watched(process)
            return None
        finally:
            with anyio.CancelScope(shield=True):
                await _end(process)
                await process.aclose()

    async def _watched(self, process: anyio.abc.Process) -> int:
        """Its exit code; meanwhile it is told how far it has come."""
        told = None
        while True:
            with anyio.move_on_after(PAUSE):
                return await process.wait()
            done = percentage(await OFF_LOOP(tail, self.log))
            if done is not None and done != told:
                told = done
                self.advance(done)

    async def ask(self, *argv: str) -> str:
        """What a short command prints on stdout; "" if it fails or is not there."""
        try:
            done = await anyio.run_process(
                argv, check=False, env=self.environ, stderr=subprocess.DEVNULL
            )
        except OSError:
            return ""
        return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""

    def _note_command(self, shown: str) -> int:
        self.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"$ {shown}\n")
            return file.tell()

    def _last_lines(self, offset: int) -> list[str]:
        with open(self.log, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(offset, end - 65536))
            lines = file.read().decode(errors="replace").splitlines()
        return [line for line in lines if line.strip()][-LAST_LINES:]


def tail(log: Path) -> bytes:
    """The end of a log: what a command has written last. Blocks."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return file.read()
    except OSError:
        return b""


def percentage(written: bytes) -> int | None:
    """How far a command says that it is, in its last line (git draws it anew after `\\r`)."""
    last = written.rstrip(b"\r\n").rpartition(b"\n")[2]
    found = _PERCENT.findall(last)
    return min(100, int(found[-1])) if found else None


def broke_off(lines: Sequence[str]) -> bool:
    """Whether a command that failed tells of a connection that was there and broke off, and not of
    a registry that cannot be reached, or says no."""
    return any(map(_BROKEN.search, lines))


async def _end(process: anyio.abc.Process) -> None:
    """Ends what is left of a command's process group."""
    if process.returncode is None and _signal_group(process.pid, signal.SIGTERM):
        with anyio.move_on_after(GRACE):
            await process.wait()
    _signal_group(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()


def _signal_group(pid: int, number: int) -> bool:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


class Action(msgspec.Struct, frozen=True):
    """What a step is about to do.

    detail
        In a few words, for whoever watches.
    undo
        How it is taken back, the last one first.
    do
        The work.
    """

    detail: str
    do: Callable[[], Awaitable[None]]
    undo: tuple[Undo, ...] = ()


class Skip(msgspec.Struct, frozen=True):
    """A step that has nothing to do, and why; "" if that is not worth a word."""

    why: str = ""


class Stage(msgspec.Struct, frozen=True):
    """A step by its name, and what decides what it does."""

    name: str
    prepare: Callable[[Work], Awaitable[Action | Skip]]
