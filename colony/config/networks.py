"""Readers for `[network]`: ports, names, addresses, who may talk to whom. Pure.

As in `values`: each takes what tomllib made and returns the field's value, or raises `Refused`.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Any, Final

from colony.config import values
from colony.config.values import Refused, described
from colony.network import egress, forms

LOCALHOST: Final = "localhost"

_SOME_PORTS: Final = 'as in ["8080:8080", "53:53/udp", "0.0.0.0:443:443"]'


def ports(value: object) -> tuple[str, ...]:
    """Forwards, each in the form that `forms.Forward` writes."""
    if not isinstance(value, list):
        written = value if isinstance(value, str | int) and not isinstance(value, bool) else "8080"
        help = f'write it in brackets: ["{written}"]'
        raise Refused(f"must be a list of ports: got {described(value)}", help)
    read = [_forward(index, item) for index, item in enumerate(value)]
    clash = forms.doubles(read)
    if clash is not None:
        words = f"has one port of the host twice: {clash[0]} and {clash[1]}"
        raise Refused(words, part=(len(read) - 1 - read[::-1].index(clash[1]),))
    return tuple(str(forward) for forward in read)


def _forward(index: int, item: object) -> forms.Forward:
    text = str(item) if isinstance(item, int) and not isinstance(item, bool) else item
    if not isinstance(text, str):
        words = f"must be a list of ports: number {index + 1} is {described(item)}"
        raise Refused(words, part=(index,))
    try:
        return forms.parse(text)
    except ValueError as error:
        words = f"has a bad port, number {index + 1}: {error}"
        raise Refused(words, _SOME_PORTS, (index,)) from None


def hostname(value: object) -> str:
    """A further name of the colony, for its neighbours, who have a `localhost` of their own."""
    found = values.name(value)
    if found == LOCALHOST:
        raise Refused("must not be localhost: that is each colony's name for itself")
    return found


def address(value: object) -> str:
    """An IPv4 address for the colony."""
    text = values.filled(value)
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise Refused(f"must be an IPv4 address, as 10.200.1.10: got {described(value)}") from None


def colonies(value: object) -> tuple[str, ...]:
    """The names of colonies."""
    return _each(value, values.name, "the names of colonies")


def destinations(value: object) -> tuple[str, ...]:
    """Where a colony may go: `host:port` and `CIDR:port`."""
    return _each(value, _destination, "destinations")


def _destination(value: object) -> str:
    text = values.filled(value)
    try:
        return str(egress.parse(text))
    except ValueError as error:
        raise Refused(f"is none: {error}") from None


def _each(value: object, read: Callable[[Any], str], what: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise Refused(f"must be a list of {what}: got {described(value)}")
    found = []
    for index, item in enumerate(value):
        try:
            found.append(read(item))
        except Refused as refused:
            words = f"must be a list of {what}: number {index + 1} {refused.message}"
            raise Refused(words, refused.help, (index,)) from None
    return tuple(dict.fromkeys(found))
