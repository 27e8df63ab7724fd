"""Options that do not exist are named, and so are those that do (R45).

    try:
        Backoff(minimum=0.5)
    except InvalidSpec as error:
        assert str(error) == (
            'unknown option "minimum": did you mean "min"? '
            'Backoff has "min", "max", "factor", "jitter" or "reset_after"'
        )

Erlang ignores what it does not know in a spec, and a misspelt option is the commonest fault in a
tree. msgspec refuses it with a `TypeError` that tells neither what there is nor what was meant.

The values whose fields are options (`ChildSpec`, `Flags`, `Backoff`, `Mailbox`) have the metaclass
`Strict`. It looks at the names only when making one has failed, so that a good one costs no more
than a Python call, half a microsecond; `Actor.spec`, which makes them by the hundred thousand and
knows what it passes, goes past it by `made`.

Values are looked at where they are given, too. A struct checks its fields; and an `__init__` that
is marked with `@trial`, such as a supervisor's, is run once by `Actor.spec`, whose caller then has
the error, and not whoever starts the actor, as `StartFailed`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from actors.errors import InvalidSpec

F = TypeVar("F", bound=Callable[..., None])

_TRIALS: Final[set[object]] = set()


class Strict(msgspec.StructMeta):
    """The metaclass of a struct whose unknown options are an `InvalidSpec` "invalid_option"."""

    if not TYPE_CHECKING:  # a `__call__` would take the fields' types away from type checkers

        def __call__(cls, *args: Any, **options: Any) -> Any:
            try:
                return made(cls, *args, **options)
            except TypeError:
                for name in options:
                    if name not in cls.__struct_fields__:
                        raise unknown_option(cls.__name__, name, cls.__struct_fields__) from None
                raise


made: Final[Any] = msgspec.StructMeta.__call__
"""`made(kind, *args, **fields)` is `kind(*args, **fields)` without the look at the names."""


def trial(init: F) -> F:
    """Marks an `__init__` that only checks its arguments and keeps them: `Actor.spec` may try it.

    A class that has an `__init__` of its own is not tried for what it inherits.
    """
    _TRIALS.add(init)
    return init


def is_trial(kind: type) -> bool:
    """Whether the `__init__` of a class is marked so."""
    return getattr(kind, "__init__", None) in _TRIALS


def unknown_option(owner: str, name: str, known: Collection[str]) -> InvalidSpec:
    """The error for an option that `owner` does not have."""
    return InvalidSpec(
        "invalid_option",
        f'unknown option "{name}"{near_miss(name, known)} {owner} has {one_of(known)}',
    )


def near_miss(name: str, known: Collection[str]) -> str:
    """What was meant, as the question after a colon; if nothing is like it a mere semicolon."""
    from difflib import get_close_matches  # imports slowly, and is for those who erred

    close = get_close_matches(name, known, n=1, cutoff=0.6)
    return f': did you mean "{close[0]}"?' if close else ";"


def one_of(words: Collection[str]) -> str:
    """`"a", "b" or "c"`."""
    *first, last = (f'"{word}"' for word in words)
    return f"{', '.join(first)} or {last}" if first else last
