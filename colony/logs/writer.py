"""The thread that writes the log files: follows each ring from where it was last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from colony.logs.files import SIZE, RotatingFile, as_text, gap
from colony.logs.ring import Ring

FLUSH: Final = 0.2
"""Seconds after which output is written to its file, sooner if a ring fills."""

Key = tuple[str, str]


class Writer:
    """Writes to `{directory}/{colony}/{service}.log`, from its making to `close`.

    lock
        What guards the rings.
    size
        Of each file.

    on_failure
        Called, on the writer's thread, when a file cannot be written (a full disk) while all others
        can be, as far as is known. That ends nothing: the lines are in memory still.
    """

    def __init__(
        self,
        directory: Path,
        lock: threading.Lock,
        size: int = SIZE,
        on_failure: Callable[[OSError], None] = lambda error: None,
    ) -> None:
        self.directory = directory
        self._failing: set[Key] = set()
        self._size = size
        self._on_failure = on_failure
        self._lock = lock
        self._dirty: dict[Key, Ring] = {}
        self._more = threading.Event()
        self._hurry = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="log writer", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Writer to {self.directory}, {len(self._dirty)} waiting>"

    def note(self, key: Key, ring: Ring) -> None:
        """There is more of this. The lock is held."""
        self._dirty[key] = ring
        self._more.set()
        if ring.unsaved > ring.max_bytes // 2:
            self._hurry.set()

    def close(self) -> None:
        """Writes what is left and ends the thread. Blocks."""
        self._closing = True
        self._hurry.set()
        self._more.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._closing:
            self._more.wait()
            self._hurry.wait(FLUSH)
            self._more.clear()
            self._hurry.clear()
            self._flush()
        self._flush()

    def _flush(self) -> None:
        with self._lock:
            dirty, self._dirty = self._dirty, {}
            found = [(key, *ring.save()) for key, ring in dirty.items()]
        for (colony, service), chunks, lost in found:
            parts = [gap(lost)] if lost else []
            parts += [as_text(chunk) for chunk in chunks]
            file = RotatingFile(self.directory / colony / f"{service}.log", self._size)
            try:
                file.append(parts)
                self._failing.discard((colony, service))
            except OSError as error:
                if not self._failing:
                    self._on_failure(error)
                self._failing.add((colony, service))
