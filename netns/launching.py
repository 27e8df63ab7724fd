"""Becoming a program, by `posix_spawn` with what Python's leaves out.

    pid = launching.start("/bin/ls", Terms(argv=("ls",), env={}, cwd="/", standard=(None, 1, 2)))

Law: between fork and exec runs the C library's code alone, and the child has the descriptors that
it was given and no others.

Theory of operation. Where the C library can change the child's directory and close all of its
descriptors from the third on (`able`), it is asked to, through ctypes: the parent then neither goes
to that directory itself, which takes a thread with one of its own, nor lists what is open, which
takes a tenth of a millisecond that each restart of a service waits for.

What says how a program is to be started is kept once it is made, since the next life of a service
mostly takes the same, descriptors included: their numbers are given out again.

The interpreter's lock is kept over the call (`PyDLL`), as `os.posix_spawn` does: until the child is
its program it holds all that is open here, so a listener that another thread closed then would
still be open.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
from collections.abc import Callable
from typing import Final

import msgspec

# <spawn.h>
_SETPGROUP: Final = 0x02
_SETSIGDEF: Final = 0x04
_SETSIGMASK: Final = 0x08
_SETSID: Final = 0x80
_ROOM: Final = 1024
"""Bytes for each of the C library's structures, of which the longest has 336."""

_FIRST_FREE: Final = 3  # the descriptors after stdin, stdout and stderr
_KEPT: Final = (signal.SIGKILL, signal.SIGSTOP)  # which nobody may change
_NEEDED: Final = (
    "posix_spawn_file_actions_addchdir_np",  # glibc 2.29
    "posix_spawn_file_actions_addclosefrom_np",  # glibc 2.34
)

_NUL: Final = "embedded null byte"

_c: Final = ctypes.PyDLL(None)
_Buffer = ctypes.Array[ctypes.c_char]
_Strings = ctypes.Array[ctypes.c_char_p]

Standard = tuple[int | None, int | None, int | None]
"""What become stdin, stdout and stderr; None: /dev/null."""


class Terms(msgspec.Struct, frozen=True):
    """What a program is started with. `standard` are stdin, stdout and stderr, None for /dev/null;
    `session` says that it gets a session of its own, and not only a process group."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    standard: Standard
    session: bool = False


@functools.cache
def able() -> bool:
    """Whether this C library can do all of it."""
    return all(hasattr(_c, name) for name in _NEEDED)


def start(program: str, terms: Terms) -> int:
    """Starts a program and returns its number. Raises `OSError`, and `ValueError` for a NUL.

    An error does not say whether it was the program or the directory.
    """
    path, argv = _text(program), _arguments(terms.argv)
    env = _environment(tuple(terms.env.items()))
    actions = _actions(terms.standard, terms.cwd)
    pid = ctypes.c_int()
    attributes = _attributes(terms.session)
    _check(_c.posix_spawn(ctypes.byref(pid), path, actions.made, attributes, argv, env), program)
    return pid.value


class _Actions:
    """What the child does with its descriptors and its directory before it becomes the program."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made = ctypes.create_string_buffer(_ROOM)
        _check(_c.posix_spawn_file_actions_init(self.made))

    # Bound here: when the interpreter ends, the module's own names are gone before this object.
    def __del__(self, destroy: Callable[..., int] = _c.posix_spawn_file_actions_destroy) -> None:
        destroy(self.made)


@functools.lru_cache(maxsize=128)
def _actions(standard: Standard, directory: str) -> _Actions:
    cwd = _text(directory)
    actions = _Actions()
    _add_actions(actions.made, standard, cwd)
    return actions


def _add_actions(actions: _Buffer, standard: Standard, cwd: bytes) -> None:
    for target, source in enumerate(standard):
        if source is not None:
            _check(_c.posix_spawn_file_actions_adddup2(actions, source, target))
            continue
        mode = os.O_RDONLY if target == 0 else os.O_WRONLY
        null = os.fsencode(os.devnull)
        _check(_c.posix_spawn_file_actions_addopen(actions, target, null, mode, 0))
    _check(_c.posix_spawn_file_actions_addclosefrom_np(actions, _FIRST_FREE))
    _check(_c.posix_spawn_file_actions_addchdir_np(actions, cwd))


_made: Final[dict[bool, _Buffer]] = {}


def _attributes(session: bool) -> _Buffer:
    """A group or session of its own, no signal blocked, each doing what it does by default: made
    once, since it is only read."""
    found = _made.get(session)
    if found is None:
        found = ctypes.create_string_buffer(_ROOM)
        signals = ctypes.create_string_buffer(_ROOM)
        _check(_c.posix_spawnattr_init(found))
        _c.sigemptyset(signals)
        _check(_c.posix_spawnattr_setsigmask(found, signals))
        _c.sigfillset(signals)
        for number in _KEPT:
            _c.sigdelset(signals, int(number))
        _check(_c.posix_spawnattr_setsigdefault(found, signals))
        flags = _SETSIGDEF | _SETSIGMASK | (_SETSID if session else _SETPGROUP)
        _check(_c.posix_spawnattr_setflags(found, ctypes.c_short(flags)))
        _made[session] = found
    return found


def _strings(words: list[str]) -> _Strings:
    """Encoded all at once: an environment has many, and a restart waits for it."""
    encoded = os.fsencode("\0".join(words)).split(b"\0") if words else []
    if len(encoded) != len(words):
        raise ValueError(_NUL)
    return (ctypes.c_char_p * (len(words) + 1))(*encoded, None)


@functools.lru_cache(maxsize=64)
def _arguments(words: tuple[str, ...]) -> _Strings:
    return _strings([*words])


@functools.lru_cache(maxsize=64)
def _environment(variables: tuple[tuple[str, str], ...]) -> _Strings:
    return _strings([f"{name}={value}" for name, value in variables])


def _text(word: str) -> bytes:
    if "\0" in word:
        raise ValueError(_NUL)
    return os.fsencode(word)


def _check(number: int, what: str | None = None) -> None:
    """posix_spawn(3) and its like return their error."""
    if number:
        raise OSError(number, os.strerror(number), what)
