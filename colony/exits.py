"""Exit statuses of the command line. They are part of its contract: `colony --help` lists them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Exit(IntEnum):
    """What a command's end means."""

    OK = 0
    FAILED = 1
    WRONG = 2
    UNREACHABLE = 4
    NOT_FOUND = 5
    CONFLICT = 6
    NOT_PROVIDED = 7
    REFUSED = 8
    TIMEOUT = 124
    HANGUP = 129
    CTRL_C = 130
    TERMINATED = 143


MEANINGS: Final = {
    Exit.OK: "done",
    Exit.FAILED: "a service, a colony or the operation failed",
    Exit.WRONG: "wrong usage, or a wrong colony.toml",
    Exit.UNREACHABLE: "no instance answers, or it went away",
    Exit.NOT_FOUND: "there is no such colony, service or template",
    Exit.CONFLICT: "it does not fit what is there",
    Exit.NOT_PROVIDED: "what a colony needs could not be provided; all is as it was before",
    Exit.REFUSED: "the right or a feature of the machine is missing",
    Exit.TIMEOUT: "--timeout has passed",
    Exit.HANGUP: "ended by SIGHUP: its terminal was closed",
    Exit.CTRL_C: "ended by Ctrl-C",
    Exit.TERMINATED: "ended by SIGTERM",
}

BY_CODE: Final = {
    "invalid_request": Exit.WRONG,
    "invalid": Exit.WRONG,
    "not_found": Exit.NOT_FOUND,
    "conflict": Exit.CONFLICT,
    "not_provided": Exit.NOT_PROVIDED,
    "unauthorized": Exit.REFUSED,
    "forbidden": Exit.REFUSED,
    "misdirected": Exit.REFUSED,
    "timeout": Exit.TIMEOUT,
    "stopping": Exit.UNREACHABLE,
}
"""By the code of an API's problem; `FAILED` for all others."""
