"""The colony's own SQLite database: a file, its path in `COLONY_DATABASE`."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from colony.provision.undo import RemoveTree
from colony.provision.work import OFF_LOOP, Action, Skip, Stage, Work

VARIABLE = "COLONY_DATABASE"


def database_path(home: Path, colony: str) -> Path:
    """Where it is."""
    return home / "databases" / f"{colony}.sqlite3"


async def _prepare(work: Work) -> Action | Skip:
    path = database_path(work.home, work.name)
    work.put(VARIABLE, str(path))
    if path.exists():
        return Skip("it is there")

    async def do() -> None:
        await OFF_LOOP(_make, path)

    beside = tuple(RemoveTree(f"{path}{suffix}") for suffix in ("-wal", "-shm", "-journal", ""))
    return Action(str(path), do, beside)


def _make(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    try:
        # Writers and readers of several services at once. It also makes the file.
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


DATABASE = Stage("database", _prepare)
