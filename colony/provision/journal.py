"""What provisioning has begun, done and has yet to take back: a SQLite file that a crash survives.

    run: running ─▶ done                    all steps are done
            │  └──▶ kept                    a step failed, and the debris was asked for (--keep)
            ▼
          undoing ─▶ undone                 a step failed, or the process died

The law: a step is in the journal with its undo before its work begins, and is taken out of reach
only after its undo is done. Whoever runs holds a lock for its colony; a run that is `running` or
`undoing` without one belongs to a process that died, and `abandoned` gives it to be undone.

All methods block; each opens the file anew, so that no connection changes threads.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from colony.provision.undo import Undo, decode, encode

UNFINISHED: Final = ("running", "undoing")

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS runs (
    id INTEGER PRIMARY KEY, colony TEXT NOT NULL, workspace TEXT NOT NULL, state TEXT NOT NULL,
    began REAL NOT NULL, ended REAL, reason TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS steps (
    run INTEGER NOT NULL REFERENCES runs(id), number INTEGER NOT NULL, name TEXT NOT NULL,
    state TEXT NOT NULL, undo BLOB NOT NULL, PRIMARY KEY (run, number)
);
CREATE TABLE IF NOT EXISTS facts (
    workspace TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (workspace, name)
);
CREATE TABLE IF NOT EXISTS consents (hash TEXT PRIMARY KEY, given REAL NOT NULL);
"""


class Busy(Exception):
    """Somebody else is provisioning this colony at this moment."""


class Record(msgspec.Struct, frozen=True):
    """A step as the journal knows it: state is begun, done or undone."""

    number: int
    name: str
    state: str
    undo: tuple[Undo, ...]


class Run(msgspec.Struct, frozen=True):
    """A run as the journal knows it."""

    id: int
    colony: str
    workspace: str
    state: str
    reason: str = ""


class Journal:
    """The journal in a folder, `$COLONY_HOME` for us."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.path = home / "state.db"
        self.locks = home / "locks"

    def __repr__(self) -> str:
        return f"<Journal {self.path}>"

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=10)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.executescript(_TABLES)
            with connection:
                yield connection
        finally:
            connection.close()

    @contextmanager
    def lock(self, colony: str) -> Iterator[None]:
        """Holds the colony for the block. Raises `Busy` if another process, or task, has it."""
        self.locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.locks / colony, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Busy(f"colony {colony} is being provisioned by another process") from None
            yield
        finally:
            os.close(descriptor)

    # -- runs ----------------------------------------------------------------------------------

    def begin(self, colony: str, workspace: str) -> int:
        """A new run's number."""
        with self._open() as db:
            cursor = db.execute(
                "INSERT INTO runs (colony, workspace, state, began) VALUES (?, ?, 'running', ?)",
                (colony, workspace, time.time()),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def mark(self, run: int, state: str, reason: str = "") -> None:
        """Moves a run to a state."""
        with self._open() as db:
            db.execute(
                "UPDATE runs SET state = ?, reason = ?, ended = ? WHERE id = ?",
                (state, reason, time.time(), run),
            )

    def runs(self, *states: str, colony: str | None = None) -> list[Run]:
        """The runs in some states, or all, the oldest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT id, colony, workspace, state, reason FROM runs ORDER BY id"
            ).fetchall()
        found = [Run(*row) for row in rows]
        return [
            run
            for run in found
            if (not states or run.state in states) and colony in (None, run.colony)
        ]

    # -- steps ---------------------------------------------------------------------------------

    def begin_step(self, run: int, name: str, undo: tuple[Undo, ...]) -> int:
        """Writes down a step that is about to begin; its number."""
        with self._open() as db:
            [[number]] = db.execute(
                "SELECT coalesce(max(number), 0) + 1 FROM steps WHERE run = ?", (run,)
            ).fetchall()
            db.execute(
                "INSERT INTO steps VALUES (?, ?, ?, 'begun', ?)", (run, number, name, encode(undo))
            )
            return int(number)

    def mark_step(self, run: int, number: int, state: str) -> None:
        """Moves a step to a state."""
        with self._open() as db:
            db.execute(
                "UPDATE steps SET state = ? WHERE run = ? AND number = ?", (state, run, number)
            )

    def unmake_step(self, run: Run, step: Record) -> None:
        """A step is undone: what is noted of the workspace under its name is no longer true."""
        with self._open() as db:
            db.execute(
                "UPDATE steps SET state = 'undone' WHERE run = ? AND number = ?",
                (run.id, step.number),
            )
            db.execute(
                "DELETE FROM facts WHERE workspace = ? AND name = ?", (run.workspace, step.name)
            )

    def run(self, number: int) -> Run:
        """One run. Raises `LookupError`."""
        for run in self.runs():
            if run.id == number:
                return run
        raise LookupError(f"run {number} is no longer in {self.path}: was that file removed?")

    def steps(self, run: int) -> list[Record]:
        """A run's steps, the first one first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT number, name, state, undo FROM steps WHERE run = ? ORDER BY number", (run,)
            ).fetchall()
        return [Record(number, name, state, decode(undo)) for number, name, state, undo in rows]

    # -- facts and consents --------------------------------------------------------------------

    def fact(self, workspace: str, name: str) -> str | None:
        """What was last noted of a workspace by the step of a name, such as the hash of what it
        has installed; it is forgotten when that step is undone."""
        with self._open() as db:
            row = db.execute(
                "SELECT value FROM facts WHERE workspace = ? AND name = ?", (workspace, name)
            ).fetchone()
        return None if row is None else str(row[0])

    def note(self, workspace: str, name: str, value: str) -> None:
        """Notes a fact."""
        with self._open() as db:
            db.execute("INSERT OR REPLACE INTO facts VALUES (?, ?, ?)", (workspace, name, value))

    def facts(self, name: str) -> dict[str, str]:
        """Workspace → what was last noted under a name."""
        with self._open() as db:
            rows = db.execute("SELECT workspace, value FROM facts WHERE name = ?", (name,))
            return {str(workspace): str(value) for workspace, value in rows.fetchall()}

    def forget(self, workspace: str) -> None:
        """Removes what is noted of a workspace that is gone."""
        with self._open() as db:
            db.execute("DELETE FROM facts WHERE workspace = ?", (workspace,))

    def consents_to(self, fingerprint: str) -> bool:
        """Whether the user has said yes to what has this hash."""
        with self._open() as db:
            return bool(
                db.execute("SELECT 1 FROM consents WHERE hash = ?", (fingerprint,)).fetchone()
            )

    def consent(self, fingerprint: str) -> None:
        """Notes that the user has said yes."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO consents VALUES (?, ?)", (fingerprint, time.time()))
