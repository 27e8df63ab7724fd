"""What can go wrong, one class for each thing that a program may want to do about it.

    ColonyError             all of them: `help` says what to do, `last_lines` what was written last
    ├── NotFound            no such colony or service               (a LookupError)
    ├── Conflict            what is there stands in the way
    ├── TimedOut            it took too long                        (a TimeoutError)
    ├── Failed              it was tried, and did not work
    │   ├── ColonyFailed    a colony could not be started; nothing of it is left
    │   ├── ServiceFailed   a service will not get ready
    │   └── CommandFailed   a command that had to succeed did not
    ├── Refused             the instance takes no such request
    └── InstanceLost        nobody answers, or no longer            (a ConnectionError)

They are the same for a colony in this process and for one of a running instance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from colony.api.types import Executed, Problem

_SHOWN: Final = 10
"""Lines of a failed command that its error shows."""


class ColonyError(Exception):
    """The base of them all. One line, for the person who reads it.

    `help` is what to do, "" for nothing; `last_lines` are the last lines of the process that
    failed, if one did; `code` is the kind of problem as the API names it.
    """

    def __init__(
        self, text: str, *, help: str = "", last_lines: Sequence[str] = (), code: str = ""
    ) -> None:
        super().__init__(text)
        self.help = help
        self.last_lines = tuple(last_lines)
        self.code = code


class NotFound(ColonyError, LookupError):
    """There is no such colony or service; the text has the near miss."""


class Conflict(ColonyError):
    """What is there stands in the way: a colony of that name, a service without a port."""


class TimedOut(ColonyError, TimeoutError):
    """It took too long."""


class Refused(ColonyError):
    """The instance takes no such request: a configuration that is wrong, or not from here."""


class InstanceLost(ColonyError, ConnectionError):
    """No instance answers, or it went away in the midst of an answer."""


class Failed(ColonyError):
    """It was tried, and did not work."""


class ColonyFailed(Failed):
    """A colony could not be started; nothing of it is left."""


class ServiceFailed(Failed):
    """A service will not get ready. `service` is its name."""

    def __init__(self, service: str, last_lines: Sequence[str], why: str = "") -> None:
        self.service = service
        why = why or "its colony has ended"
        text = "\n".join([f"{service} did not get ready: {why}", *last_lines])
        super().__init__(text, last_lines=last_lines, code="failed")


class CommandFailed(Failed):
    """A command ended with another code than 0. `result` has its whole output."""

    def __init__(self, command: str, result: Executed) -> None:
        self.result = result
        written = (result.stderr.strip() or result.stdout.strip()).splitlines()[-_SHOWN:]
        how = "took too long" if result.timed_out else f"ended with code {result.code}"
        text = "\n".join([f"{command} {how}", *written])
        super().__init__(text, last_lines=written, code="failed")


KINDS: Final[dict[str, type[ColonyError]]] = {
    "not_found": NotFound,
    "conflict": Conflict,
    "stopping": Conflict,
    "timeout": TimedOut,
    "failed": Failed,
    "not_provided": Failed,
}
"""By a problem's code; `Refused` for all others."""


@contextmanager
def starting() -> Iterator[None]:
    """In the block a colony is started: what fails there is a `ColonyFailed`."""
    try:
        yield
    except Failed as error:
        raise ColonyFailed(
            str(error), help=error.help, last_lines=error.last_lines, code=error.code
        ) from None


def error_of(problem: Problem) -> ColonyError:
    """The error that a problem of the API is."""
    help = "" if problem.help is msgspec.UNSET else problem.help
    kind = KINDS.get(problem.code, Refused)
    detail = "; ".join(
        [problem.detail, *(f"{each.field}: {each.message}" for each in problem.problems[1:])]
    )
    return kind(detail, help=help, last_lines=problem.last_lines, code=problem.code)
