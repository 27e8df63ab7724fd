"""What goes wrong in `netns`, each error one line for the person who reads it."""

from __future__ import annotations

import os


class NetnsError(Exception):
    """Anything that this package refuses or fails to do. Its text is one line and complete."""


class NetlinkError(NetnsError):
    """The kernel refused a netlink request.

    doing
        What was being done, in words.
    errno
        The kernel's error number.
    detail
        The kernel's own explanation (extended ack), "" if it gave none.
    """

    def __init__(self, doing: str, errno: int, detail: str = "") -> None:
        self.doing = doing
        self.errno = errno
        self.detail = detail
        reason = os.strerror(errno) + (f" ({detail})" if detail else "")
        super().__init__(f"{doing}: {reason}")


class PacketFilterError(NetnsError):
    """nftables refused a ruleset, or its library is missing."""


class StepFailed(NetnsError):
    """A step of a namespace's creation failed; the steps before it have been undone.

    step
        The failed step's name, as in `namespace.STEPS`.
    colony
        The colony whose network was being made.
    """

    def __init__(self, colony: str, step: str, cause: BaseException) -> None:
        self.colony = colony
        self.step = step
        super().__init__(f"cannot make the network of colony {colony!r}, step {step!r}: {cause}")


class NameTaken(NetnsError):
    """The namespace's name belongs to somebody else.

    instance
        The id of the instance that holds it, None if it is not Colony's.
    """

    def __init__(self, message: str, instance: str | None) -> None:
        self.instance = instance
        super().__init__(message)


class SpawnError(NetnsError):
    """A process could not be started; the text says why and what to do."""


class ThreadClosed(NetnsError):
    """The network thread has ended, or never began."""
