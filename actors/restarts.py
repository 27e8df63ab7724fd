"""How often, and after what delay, an ended child is started again (R67, R70, R81–R87).

    class Web(Actor): ...

    spec = Web.spec().options(backoff=Backoff(min=0.5, max=30.0, jitter=0.0))
    assert [spec.backoff.delay(n, dice=0.0) for n in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 30.0]

Erlang restarts at once and gives up when it had to do so too often. That is the default here. A
`Backoff` adds a delay that grows while the child keeps failing, for a service whose database is
not up yet. It is a field of the child's spec and no second kind of supervisor, and there is still
one limit: every decision to restart counts in the supervisor's window, however long it waits.

Everything here is a pure function of numbers that the caller brings, the dice included.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

from actors.errors import InvalidSpec, rejected
from actors.reasons import Reason
from actors.strict import Strict

RESTARTED: Final = {
    ("permanent", True): True,
    ("permanent", False): True,
    ("transient", True): False,
    ("transient", False): True,
    ("temporary", True): False,
    ("temporary", False): False,
}
"""Whether a child of this restart type, after an (orderly?) end, is started again (R67)."""

FIRST_STEP: Final = 0.1
"""Seconds before the second restart when `Backoff.min` is 0 and the first was made at once."""


class Backoff(msgspec.Struct, metaclass=Strict, frozen=True):
    """The delay before a restart: `min`, then `factor` times the last, up to `max`.

    min
        Seconds before the first restart. Default 0.1. With 0 the first is made at once, and the
        delays begin with the second, at 0.1 s.
    max
        Seconds that a delay has at most, jitter aside. Default 30.0.
    factor
        What each delay is multiplied by to give the next. Default 2.0; 1.0 keeps it the same.
    jitter
        The part of a delay that is added to it at random, at most: children that fell together do
        not come back together. Default 0.1, which makes 1 s something from 1 to 1.1 s.
    reset_after
        Seconds that a life must have lasted for its end to count as the first again. Default 30.0.

    Raises `InvalidSpec` when a number is out of its range, or for a field that there is not.
    """

    min: float = 0.1
    max: float = 30.0
    factor: float = 2.0
    jitter: float = 0.1
    reset_after: float = 30.0

    def __post_init__(self) -> None:
        for name, lowest, highest in _RANGES:
            value = getattr(self, name)
            if not _in_range(value, lowest, highest):
                limits = (
                    f"from {lowest} up" if highest == math.inf else f"from {lowest} to {highest}"
                )
                raise rejected("invalid_backoff", f"backoff.{name}", value, f"a number {limits}")
        if self.max < self.min:
            raise InvalidSpec(
                "invalid_backoff",
                f"backoff.max must not be less than backoff.min, got: {self.max} < {self.min}",
            )

    def delay(self, attempt: int, dice: float) -> float:
        """Seconds to wait before restart number `attempt`, 1 being the first.

        `dice` is the random part of the jitter, from 0 to 1.
        """
        if attempt == 1 and self.min == 0:
            return 0.0
        base, doublings = (self.min, attempt - 1) if self.min else (FIRST_STEP, attempt - 2)
        return min(base * _power(self.factor, doublings), self.max) * (1 + self.jitter * dice)


_RANGES: Final = (
    ("min", 0, math.inf),
    ("max", 0, math.inf),
    ("factor", 1, math.inf),
    ("jitter", 0, 1),
    ("reset_after", 0, math.inf),
)


def _in_range(value: object, lowest: float, highest: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return lowest <= value <= highest and value < math.inf


def _power(factor: float, exponent: int) -> float:
    """`factor ** exponent`; infinity where that overflows, after some thousand failures."""
    try:
        return float(factor) ** exponent
    except OverflowError:
        return math.inf


class RestartLimit(Reason, frozen=True):
    """A supervisor gave up: `child` needed more than `intensity` restarts in `period` seconds.

    The exit reason of a supervisor with `limit_is_failure`. It is not orderly, so that a parent
    restarts a transient supervisor that ended so. Erlang's `shutdown` is, and such a supervisor
    stays down unnoticed (R86). `reason` is the child's last.
    """

    child: str
    reason: Reason
    intensity: int
    period: float

    def __str__(self) -> str:
        return (
            f"{self.child} needed more than {self.intensity} "
            f"restart{'' if self.intensity == 1 else 's'} in {self.period:g} s, "
            f"last ended with: {self.reason}"
        )


def count(window: deque[float], now: float, period: float) -> int:
    """Adds a restart to the window; returns how many lie in it (R81).

    Both ends of the period are in it, in fractions of a second: Erlang cuts `now` to whole seconds
    first, so that its period is up to one second longer (R83).
    """
    while window and now - window[0] > period:
        window.popleft()
    window.append(now)
    return len(window)
