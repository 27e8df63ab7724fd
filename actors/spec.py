"""Child specs: what to start, and what to do when it ends (R46–R48).

    class Counter(Actor):
        def __init__(self, start: int = 0) -> None:
            self.n = start

    spec = Counter.spec(3)
    assert (spec.id, spec.restart, spec.shutdown) == ("counter", "permanent", 5.0)
    hits = spec.options(id="hits", restart="transient", shutdown=10.0)
    assert (hits.id, hits.args) == ("hits", (3,))
    try:
        spec.options(restart="sometimes")
    except InvalidSpec as error:
        assert error.code == "invalid_restart_type"

A spec is a frozen value, made by the actor's class and adjusted by `options`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypedDict, TypeVar, Unpack, get_args

import msgspec

from actors.control import Mailbox
from actors.errors import rejected
from actors.restarts import Backoff
from actors.strict import Strict, one_of, unknown_option

if TYPE_CHECKING:
    from actors.actor import Actor

A = TypeVar("A", bound="Actor")

Restart = Literal["permanent", "transient", "temporary"]
"""Restarted always; only after a reason that is not orderly; never (R67)."""

ShutdownTime = float | Literal["brutal_kill", "infinity"]
"""Seconds to stop in before the kill; at once; however long it takes (R94)."""

ChildType = Literal["worker", "supervisor"]

_RESTARTS: Final = get_args(Restart)
_TYPES: Final = get_args(ChildType)

BRUTAL_KILL: Final = "brutal_kill"
INFINITY: Final = "infinity"
DEFAULT_SHUTDOWN: Final = 5.0
"""Seconds that a worker has to stop in; a supervisor has as long as its children need (R46)."""


class Options(TypedDict, total=False):
    """The fields of a spec that `ChildSpec.options` changes."""

    id: str
    name: str | None
    restart: Restart
    significant: bool
    shutdown: ShutdownTime
    start_timeout: float | None
    type: ChildType
    backoff: Backoff | None
    mailbox: Mailbox | None


class ChildSpec(msgspec.Struct, Generic[A], metaclass=Strict, frozen=True):
    """How one child of a supervisor is started, restarted and stopped.

    id
        Its name among its siblings, and the last part of its path. No "/" in it.
    factory, args, kwargs
        The actor's class and what to make it with. Each life is a new instance (R80).
    name
        A name in the whole system, for `System.whereis`. Default none.
    restart
        "permanent" (default), "transient" or "temporary" (R67).
    significant
        Whether its own end may shut its supervisor down (R88). Default false.
    shutdown
        Seconds from the request to stop until the kill; "brutal_kill"; "infinity". Default 5
        for a worker, "infinity" for a supervisor (R46, R99).
    start_timeout
        Seconds after which a `start` that is not done is killed, and has failed with
        `StartTimeout` (R16). Default None: it takes as long as it takes. A plain `def start`
        cannot be interrupted.
    type
        "worker" (default) or "supervisor".
    backoff
        How long its restarts are put off. Default None: not at all.
    mailbox
        How many messages may wait, and what a full mailbox does. Default None: without limit.

    Raises `InvalidSpec` when a field is wrong, or for one that there is not.
    """

    id: str
    factory: Callable[..., A]
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    name: str | None = None
    restart: Restart = "permanent"
    significant: bool = False
    shutdown: ShutdownTime = DEFAULT_SHUTDOWN
    type: ChildType = "worker"
    backoff: Backoff | None = None
    mailbox: Mailbox | None = None
    start_timeout: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not self.id or "/" in self.id:
            raise rejected("invalid_id", "a child's id", self.id, 'a non-empty string without "/"')
        if not callable(self.factory):
            raise rejected("invalid_mfa", "a child's factory", self.factory, "an actor's class")
        if not isinstance(self.args, tuple | list):
            raise rejected("invalid_mfa", "a child's args", self.args, "a tuple")
        if not isinstance(self.kwargs, dict):
            raise rejected("invalid_mfa", "a child's kwargs", self.kwargs, "a dict")
        if self.name is not None and (not isinstance(self.name, str) or not self.name):
            raise rejected("invalid_name", "name", self.name, "a non-empty string or None")
        if self.restart not in _RESTARTS:
            raise rejected("invalid_restart_type", "restart", self.restart, one_of(_RESTARTS))
        if not isinstance(self.significant, bool):
            raise rejected("invalid_significant", "significant", self.significant, "true or false")
        if self.type not in _TYPES:
            raise rejected("invalid_child_type", "type", self.type, one_of(_TYPES))
        check_shutdown(self.shutdown)
        if self.start_timeout is not None and not _is_time(self.start_timeout):
            raise rejected(
                "invalid_start_timeout",
                "start_timeout",
                self.start_timeout,
                "a number of seconds above 0, or None",
            )
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise rejected("invalid_backoff", "backoff", self.backoff, "a Backoff or None")
        if self.mailbox is not None and not isinstance(self.mailbox, Mailbox):
            raise rejected("invalid_mailbox", "mailbox", self.mailbox, "a Mailbox or None")

    def options(self, **changes: Unpack[Options]) -> ChildSpec[A]:
        """The same spec with some fields changed. An unknown one is an `InvalidSpec`."""
        unknown = [name for name in changes if name not in Options.__annotations__]
        if unknown:
            raise unknown_option("a child spec", unknown[0], Options.__annotations__)
        return msgspec.structs.replace(self, **changes)


def default_id(factory: Callable[..., Any]) -> str:
    """`Counter` → "counter", `PortActor` → "port_actor"."""
    name = getattr(factory, "__name__", type(factory).__name__)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def check_shutdown(value: object) -> None:
    """Raises `InvalidSpec` when a value is no `ShutdownTime`."""
    if isinstance(value, str):
        good = value in (BRUTAL_KILL, INFINITY)
    else:
        good = _is_time(value) or (value == 0 and not isinstance(value, bool))
    if not good:
        raise rejected(
            "invalid_shutdown",
            "shutdown",
            value,
            'a number of seconds from 0 up, "brutal_kill" or "infinity"',
        )


def _is_time(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value > 0 and not math.isnan(value)
