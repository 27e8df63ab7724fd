"""To do without root: entering a user namespace of one's own, or saying why that is not to be had.

    from netns import rootless

    try:
        rootless.enter()            # before the program's first thread
    except rootless.Forbidden as why:
        print(why)                  # in one line: the reason, and what to do about it

Law: nothing is entered that would not do. There is no way back, and a kernel that lets a process in
may still leave it without a right there (Ubuntu's AppArmor does), so a child process goes first and
tries all of it: the namespace, a network, a veth pair, a setting, a mount.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import msgspec

from netns import capability, userns
from netns.errors import NetnsError

PATIENCE: Final = 10.0
"""Seconds for the child's attempt, which takes milliseconds."""

NOT_ENTERED: Final = "this program has not called colony.enter() before its first thread"

_ANSWER: Final = 4096


class Forbidden(NetnsError):
    """There is no user namespace to be had here.

    reason, remedy
        Why, and what to do about it; each without a full stop.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason = reason
        self.remedy = remedy
        super().__init__(f"{reason}; {remedy}")


class Answer(msgspec.Struct, frozen=True):
    """What came of the attempt: how far it got, and the error if it went no further."""

    step: str = ""
    errno: int = 0
    reason: str = ""
    remedy: str = ""


class Switch(msgspec.Struct, frozen=True):
    """A setting of the kernel by which a machine's owner forbids user namespaces."""

    path: str
    forbids: str
    reason: str
    remedy: str


SWITCHES: Final = (
    Switch(
        "/proc/sys/user/max_user_namespaces",
        "0",
        "this machine allows no user namespaces (user.max_user_namespaces is 0)",
        "sudo sysctl user.max_user_namespaces=15000",
    ),
    Switch(
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "only root may make user namespaces here (kernel.unprivileged_userns_clone is 0)",
        "sudo sysctl kernel.unprivileged_userns_clone=1",
    ),
    Switch(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor lets only programs that it knows make user namespaces "
        "(kernel.apparmor_restrict_unprivileged_userns is 1)",
        "give {python} a profile with `userns,` (docs/networking.md has it), or sudo sysctl "
        "kernel.apparmor_restrict_unprivileged_userns=0",
    ),
)

_ASK: Final = "ask whoever runs this machine or container, or run Colony as root"

_refusal: str = NOT_ENTERED


def refusal() -> str:
    """Why this process is not rootless, in one line; "" if it is."""
    return "" if userns.entered() else _refusal


def enter() -> None:
    """Enters a user namespace with all that Colony needs. Blocks for some 5 ms.

    For the whole process, once and for good: from then on it has its user's number alone, so that
    programs it starts cannot become root (sudo), and a network thread lives in a hub. Calling it
    twice is no error. Raises `Forbidden`, with nothing changed.
    """
    global _refusal
    if userns.entered():
        return
    try:
        _refuse_threads()
        why = _why_not(_ask_a_child())
        if why is not None:
            raise why
        userns.enter()
    except Forbidden as why:
        _refusal = str(why)
        raise


def probe() -> Forbidden | None:
    """Why `enter` would not do in a new process; None if it would. Blocks for some 5 ms."""
    return _why_not(_ask_a_child())


def why_not(answer: Answer, read: Callable[[str], str], python: str) -> Forbidden | None:
    """What a child's answer means, given the kernel's settings. Pure.

    read
        Gives a setting's text, "" for one that this kernel does not have.
    """
    if not answer.step:
        return None
    if answer.step == "attempt":
        return Forbidden(answer.reason, answer.remedy)
    for switch in SWITCHES:
        if read(switch.path) == switch.forbids:
            return Forbidden(switch.reason, switch.remedy.format(python=python))
    words = os.strerror(answer.errno) if answer.errno else answer.reason
    return Forbidden(f"this process cannot make a user namespace: {words}", _ASK)


def _why_not(answer: Answer) -> Forbidden | None:
    return why_not(answer, _read, os.path.realpath(sys.executable))


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return ""


def _refuse_threads() -> None:
    count = userns.threads()
    if count > 1:
        raise Forbidden(
            f"this program has {count} threads already, and one alone can enter a user namespace",
            "call colony.enter() before the first one starts",
        )


def _ask_a_child() -> Answer:
    """What a child process gets to that tries all of it, and ends."""
    read, write = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        _try(write)
    os.close(write)
    try:
        ready, _, _ = select.select([read], [], [], PATIENCE)
        data = os.read(read, _ANSWER) if ready else b""
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)  # it has ended, or never will
        os.waitpid(child, 0)
    if not data:
        return Answer("enter", reason="the kernel does not answer")
    return msgspec.json.decode(data, type=Answer)


def _try(write: int) -> NoReturn:
    """In the child, which never returns: there is another process's stack above."""
    try:
        os.write(write, msgspec.json.encode(_attempt()))
    finally:
        os._exit(0)


def _attempt() -> Answer:
    try:
        userns.enter()
    except OSError as error:
        return Answer("enter", errno=error.errno or 0, reason=str(error))
    reason, remedy = capability.attempt()
    return Answer("attempt", reason=reason, remedy=remedy) if reason else Answer()
