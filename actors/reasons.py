"""Why an actor ended: exit reasons as values (R1, R2, R6).

    assert Shutdown("moved").orderly
    assert not Abnormal("disk full").orderly
    assert str(Crashed(ValueError("no"))) == "ValueError: no"

A reason is *orderly* or not, and nothing else about it matters to a supervisor: a transient child
is restarted after a reason that is not orderly.

  ==================  =======  =======================================================
  reason              orderly  when
  ==================  =======  =======================================================
  `Normal()`          yes      the actor stopped by itself, its work done
  `Shutdown()`        yes      its supervisor, or whoever started it, told it to stop
  `Shutdown(term)`    yes      the same with a word why; also an actor's own choice
  `Crashed(error)`    no       an exception left a handler
  `Abnormal(term)`    no       it stopped by itself with a term that is none of these
  `Killed()`          no       somebody killed it; it had no say
  `StartTimeout(s)`   no       its `start` took longer than its spec allows
  `NoProc()`          no       there was no such actor in the first place
  ==================  =======  =======================================================

A package that needs a reason of its own (an operating system process that exited with a status)
derives one from `Reason` and says whether it is `orderly`.
"""

from __future__ import annotations

import traceback
from typing import Any

import msgspec


class Reason(msgspec.Struct, frozen=True, tag=True):
    """The base of all exit reasons. Not orderly unless a subclass says so."""

    @property
    def orderly(self) -> bool:
        """Whether a transient child that ended so stays down (R67)."""
        return False

    def __str__(self) -> str:
        return type(self).__name__.lower()


class Normal(Reason, frozen=True):
    """The actor ended by itself, in good order."""

    @property
    def orderly(self) -> bool:
        return True


class Shutdown(Reason, frozen=True):
    """The actor was told to stop, or chose to; `term` may say why."""

    term: Any = None

    @property
    def orderly(self) -> bool:
        return True

    def __str__(self) -> str:
        return "shutdown" if self.term is None else f"shutdown ({self.term})"


class Killed(Reason, frozen=True):
    """The actor was killed from outside: no `stopping`, no last word (R6)."""


class StartTimeout(Reason, frozen=True):
    """The actor's `start` was not done within `seconds`, and it was killed (R16)."""

    seconds: float

    def __str__(self) -> str:
        return f"its start was not done within {self.seconds:g} s"


class NoProc(Reason, frozen=True):
    """There was no living actor to link to, monitor or call (R8, R9, R23)."""

    def __str__(self) -> str:
        return "no such actor"


class Abnormal(Reason, frozen=True):
    """The actor ended by itself with an abnormal `term`."""

    term: Any

    def __str__(self) -> str:
        return str(self.term)


class Crashed(Reason, frozen=True):
    """An exception left a handler; `error` keeps it, traceback included."""

    error: BaseException

    @property
    def traceback(self) -> str:
        """The traceback as text, as Python prints it."""
        return "".join(traceback.format_exception(self.error))

    def __str__(self) -> str:
        if isinstance(self.error, BaseExceptionGroup):
            each = tuple(str(Crashed(error)) for error in self.error.exceptions)
            return f"{len(each)} errors at once: {'; '.join(each)}"
        name, text = type(self.error).__name__, _text(self.error)
        return f"{name}: {text}" if text else name


def _text(error: BaseException) -> str:
    """An exit reason can be shown whatever the exception's own `__str__` does."""
    try:
        return str(error)
    except Exception as failure:
        return f"<its text raises {type(failure).__name__}>"


class FailedToStart(msgspec.Struct, frozen=True):
    """The term with which a supervisor shuts down when child `id` failed to start (R54)."""

    id: str
    reason: Reason

    def __str__(self) -> str:
        return f"{self.id} failed to start: {self.reason}"


class Stop(Exception):
    """Raised by an actor's own code to end with `reason`, from wherever it is (R2, R30).

    A caller that waits for the handler's reply gets `ActorDown` with that reason. To answer first
    and stop then, use `Context.stop` (R29).
    """

    def __init__(self, reason: Reason | None = None) -> None:
        self.reason = Normal() if reason is None else reason
        super().__init__(str(self.reason))


def reason_of(error: BaseException) -> Reason:
    """The exit reason that an exception stands for.

    A group with a single exception in it counts as that exception: it comes from a task group
    that a handler opened, and says nothing more (§6.2.5 of the research).
    """
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error.reason if isinstance(error, Stop) else Crashed(error)
