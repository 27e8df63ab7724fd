"""The kernel's network settings (/proc/sys/net), written at the same cost however many there are.

Law: a setting is written as a file, in the network namespace that the thread stands in.

The kernel finds `/proc/sys/net/ipv4` by its name among all that were ever looked up under that
name, one for each network namespace. With 500 namespaces such a search took 0.3 ms, four times a
colony. A procfs of our own, mounted nowhere, knows only who asked it; it is renewed now and then.
Where the kernel gives none (before 5.2, or in a user namespace) /proc itself serves.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

from netns import linux
from netns.errors import NetnsError

RENEWED: Final = 256
"""Settings written by way of one procfs; giving one up takes the kernel 0.1 ms."""


class Settings:
    """A way to read and write settings; its maker's to close. For one thread at a time."""

    __slots__ = ("_left", "_proc")

    def __init__(self) -> None:
        self._proc: int | None = None
        self._left = 0

    def __repr__(self) -> str:
        return f"<Settings by {'/proc' if self._proc is None else f'fd {self._proc}'}>"

    def write(self, setting: str, value: str, *, optional: bool = False) -> None:
        """Writes a file below /proc/sys/net.

        optional
            A setting that this kernel lacks is passed over.
        """
        if not self._left:
            self._renew()
        self._left -= 1
        try:
            fd = self._open(setting, os.O_WRONLY)
            try:
                os.write(fd, value.encode())
            finally:
                os.close(fd)
        except FileNotFoundError:
            if not optional:
                raise NetnsError(f"this kernel has no setting /proc/sys/net/{setting}") from None
        except OSError as error:
            where = f"/proc/sys/net/{setting}"
            raise NetnsError(f"setting {where} to {value}: {error.strerror}") from None

    def read(self, setting: str) -> str | None:
        """What the file says; None if this kernel lacks it."""
        if not self._left:
            self._renew()
        self._left -= 1
        try:
            fd = self._open(setting, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return os.read(fd, 4096).decode().strip()
        finally:
            os.close(fd)

    def _open(self, setting: str, flags: int) -> int:
        path = f"sys/net/{setting}" if self._proc is not None else f"/proc/sys/net/{setting}"
        return os.open(path, flags | os.O_CLOEXEC, dir_fd=self._proc)

    def close(self) -> None:
        """Closing twice is no error."""
        proc, self._proc = self._proc, None
        self._left = 0
        if proc is not None:
            os.close(proc)

    def _renew(self) -> None:
        self.close()
        self._left = RENEWED
        with contextlib.suppress(OSError):
            self._proc = linux.own_procfs()
