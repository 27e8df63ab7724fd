"""What belongs to the whole machine: changed by the first instance that needs it, put back by the
last.

Law: an instance never undoes what another living one relies on. Settings such as ip_forward are
the machine's, while instances may have runtime directories that know nothing of each other, so the
record of who needs what is the machine's too: one file, under one lock, naming for each thing its
old state and the lock files of those that hold it. A holder whose lock nobody holds is dead and
does not count.

    {"/proc/sys/net/ipv4/ip_forward": {"old": "0", "new": "1", "by": {"a1b2c3": "/run/…/lock"}},
     "/run/netns":                    {"old": null, "new": null, "by": {…}}}

An entry whose key is under /proc/sys is a setting; /run/netns is the directory of the pins, bound
onto itself and shared, as iproute2 does it, with "old" null if it was not there before.

Rootless there is no machine to share: both the record and the pins' directory are the instance's
(`Instance.record`, `Instance.pins`), seen in its own mount namespace alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from netns import linux, locks
from netns.errors import NetnsError

RECORD: Final = Path("/run/colony-host.json")
IP_FORWARD: Final = "/proc/sys/net/ipv4/ip_forward"
PIN_DIRECTORY: Final = "/run/netns"


class Held(msgspec.Struct):
    """One thing of the machine's, who holds it, and how it was."""

    old: str | None
    new: str | None
    by: dict[str, str]


Record = dict[str, Held]

_decoder: Final = msgspec.json.Decoder(Record)


@contextlib.contextmanager
def _record(path: Path) -> Iterator[Record]:
    """The record, locked, and written back afterwards; the file goes when it is empty."""
    with locks.locked(path) as fd:
        record = _read(fd, path)
        try:
            yield record
        finally:
            _write(record, path)


def _read(fd: int, path: Path) -> Record:
    text = os.pread(fd, 1 << 20, 0)
    try:
        return _decoder.decode(text) if text else {}
    except msgspec.DecodeError as error:
        raise NetnsError(
            f"{path} is not a record of Colony's ({error}); remove it when no Colony runs"
        ) from None


def _write(record: Record, path: Path) -> None:
    if not record:
        path.unlink(missing_ok=True)
        return
    # Replaced, not rewritten: dying halfway must leave the old record whole.
    new = path.with_name(path.name + ".new")
    new.write_bytes(msgspec.json.encode(record))
    new.replace(path)


def hold_setting(setting: str, value: str, instance: str, lock: str, path: Path = RECORD) -> None:
    """Sets a setting of the kernel for as long as some instance holds it.

    The record is written before the setting is changed, so that whoever comes after a crash
    between the two puts back a value that is there already.
    """
    with _record(path) as record:
        held = record.get(setting)
        if held is None:
            held = record[setting] = Held(read_setting(setting), value, {})
        held.by[instance] = lock
    if read_setting(setting) != value:
        write_setting(setting, value)


def hold_pin_directory(
    instance: str, lock: str, path: Path = RECORD, directory: str = PIN_DIRECTORY
) -> None:
    """Makes the pins' directory what iproute2 makes of it: a shared mount of its own.

    Shared, because a namespace lives as long as any mount of it anywhere: the removal of a pin
    must reach the copies in every other mount namespace.
    """
    with _record(path) as record:
        held = record.get(directory)
        if held is None:
            held = Held("there" if _is_mounted(directory) else None, None, {})
            record[directory] = held
        held.by[instance] = lock
        os.makedirs(directory, mode=0o755, exist_ok=True)
        if not _is_mounted(directory):
            linux.bind_mount(directory, directory)
            # Where the parent is shared, the new mount is its peer, and every pin would be mounted
            # a second time beneath it: only by way of private does it become a group of its own.
            linux.set_propagation(directory, linux.MS_PRIVATE)
            linux.set_propagation(directory, linux.MS_SHARED | linux.MS_REC)


def let_go(instance: str, path: Path = RECORD) -> list[str]:
    """Lets go of all that the instance holds; puts back what no living instance holds any more.

    Returns the things that were put back.
    """
    if not path.exists():
        return []
    restored = []
    with _record(path) as record:
        for thing, held in list(record.items()):
            if held.by.pop(instance, None) is None:
                continue
            held.by = {other: lock for other, lock in held.by.items() if locks.is_held(lock)}
            if held.by:
                continue
            if _restore(thing, held):
                restored.append(thing)
            del record[thing]
    return restored


def holders(path: Path = RECORD) -> set[str]:
    """The lock files of all that hold something of the machine's; read without waiting."""
    return set(locks_of(path).values())


def locks_of(path: Path = RECORD) -> dict[str, str]:
    """Who holds something of the machine's, with his lock file; read without waiting."""
    try:
        record = _decoder.decode(path.read_bytes())
    except (OSError, msgspec.DecodeError):
        return {}
    return {id: lock for held in record.values() for id, lock in held.by.items()}


def _restore(thing: str, held: Held) -> bool:
    if held.new is None:  # the pins' directory
        return held.old is None and _remove_pin_directory(thing)
    if held.old is None or held.old == held.new or read_setting(thing) != held.new:
        return False  # as it was, or somebody else's doing meanwhile
    write_setting(thing, held.old)
    return True


def _remove_pin_directory(directory: str) -> bool:
    try:
        if os.listdir(directory):
            return False
        linux.unmount(directory)
        os.rmdir(directory)
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.ENOTEMPTY, errno.ENOENT, errno.EINVAL):
            return False  # somebody uses it, or it has gone: not ours any more
        raise
    return True


def _is_mounted(directory: str) -> bool:
    # Not os.path.ismount: a directory bound onto itself is on the same device as its parent.
    try:
        linux.set_propagation(directory, linux.MS_SHARED)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT):
            return False
        raise
    return True


def read_setting(setting: str) -> str:
    with open(setting) as file:
        return file.read().strip()


def write_setting(setting: str, value: str) -> None:
    with open(setting, "w") as file:
        file.write(value)
