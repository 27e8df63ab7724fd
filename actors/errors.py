"""What a caller may have to catch.

    class Halve(Call["Divider", int], frozen=True):
        n: int

    class Divider(Actor):
        @on(Halve)
        def halve(self, msg: Halve) -> int:
            if msg.n % 2:
                raise Refused(f"{msg.n} is odd")    # fails this caller alone
            return 6 // msg.n                       # an exception ends the actor

    async with System() as system:
        divider = await system.start(Divider.spec())
        try:
            await divider.call(Halve(3))
        except Refused as refused:
            assert str(refused) == "3 is odd"
        try:
            await divider.call(Halve(0))
        except ActorDown as down:
            assert isinstance(down.reason, Crashed)
            assert isinstance(down.reason.error, ZeroDivisionError)

All but `InvalidSpec`, which is about a spec and not an actor, derive from `ActorError`.
"""

from __future__ import annotations

from typing import Any

from actors.reasons import Reason


class ActorError(Exception):
    """The base of everything that a ref may raise at its user."""


class ActorDown(ActorError):
    """The actor that was called is not alive, or died before it answered (R23, R24)."""

    def __init__(self, path: str, reason: Reason) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} is down: {reason}")


class Deadlock(ActorError):
    """The call would close a cycle of actors that wait for each other; `cycle` names them."""

    def __init__(self, cycle: tuple[str, ...]) -> None:
        self.cycle = cycle
        super().__init__(f"this call can never be answered: {' → '.join(cycle)}")


class CallTimeout(ActorError, TimeoutError):
    """No answer within `timeout` seconds. The actor may still handle the message (R26)."""

    def __init__(self, path: str, message: object, timeout: float) -> None:
        self.path = path
        self.message = message
        self.timeout = timeout
        super().__init__(f"{path} did not answer {type(message).__name__} within {timeout:g} s")


class NoReply(ActorError):
    """The reply handle of a deferred reply was dropped unanswered."""

    def __init__(self, path: str) -> None:
        self.path = path
        super().__init__(f"{path} dropped the reply handle without an answer")


class MailboxFull(ActorError):
    """The actor's mailbox is bounded and has no room for the message."""

    def __init__(self, path: str, limit: int) -> None:
        self.path = path
        self.limit = limit
        super().__init__(
            f"the mailbox of {path} is full: {limit} messages wait; "
            "`await ref.send(...)` waits for room where its policy is 'block'"
        )


class Unhandled(ActorError, TypeError):
    """A message was sent to an actor that has no handler for it. Raised at the sender."""

    def __init__(self, path: str, message: object, kind: type, handled: tuple[str, ...]) -> None:
        self.path = path
        self.message = message
        known = ", ".join(handled) or "nothing"
        super().__init__(
            f"{path} is a {kind.__name__} and has no handler for "
            f"{type(message).__name__}; it handles {known}"
        )


class Refused(ActorError):
    """Raised in a handler: fails the caller with this very error and leaves the actor alive.

    In a cast's handler nobody waits for it, so there it is a crash like any other.
    """


class StartFailed(ActorError):
    """The actor could not be started; `reason` says why (R15)."""

    def __init__(self, path: str, reason: Reason) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} failed to start: {reason}")


class NameTaken(ActorError):
    """The name already stands for a living actor (R12, R19)."""

    def __init__(self, name: str, holder: str) -> None:
        self.name = name
        self.holder = holder
        super().__init__(f"the name {name!r} is taken by {holder}")


class InvalidSpec(ValueError):
    """A child spec or a supervisor flag is wrong; nothing was started (R45, R47–R49).

    `code` is OTP's word for it, such as "bad_combination" or "duplicate_child_name".
    """

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


def rejected(code: str, what: str, value: Any, allowed: str) -> InvalidSpec:
    """The error for a value that is not among the allowed ones."""
    return InvalidSpec(code, f"{what} must be {allowed}, got: {value!r}")
