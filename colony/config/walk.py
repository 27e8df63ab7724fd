"""Walks a document along `fields.TABLES`: every good value is kept, every bad one reported.

A value that is refused is left out, so that the checks that follow see the field's default and
one mistake is reported once.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct

from colony.config import values
from colony.config.fields import HOMES, SYNONYMS, TABLES, Each, Entry, Short, Tables
from colony.config.positions import Path
from colony.config.schema import Service
from colony.config.sheet import Sheet, table_name
from colony.config.values import Refused

Fields = dict[str, Any]

_ABSENT: Final = object()


def fields_of(sheet: Sheet, path: Path, table: object, kind: type[Struct]) -> Fields:
    """The fields of one table that are good; the others are reported."""
    if not isinstance(table, dict):
        _not_a_table(sheet, path, table, kind)
        return {}
    entries = TABLES[kind]
    found: Fields = {}
    for key, item in table.items():
        if key not in entries:
            _unknown(sheet, path, key, item, entries)
            continue
        value = _read(sheet, (*path, key), item, entries[key])
        if value is not _ABSENT:
            found[key] = value
    return found


def _read(sheet: Sheet, path: Path, value: object, entry: Entry) -> Any:
    """One field's value, read as its entry says; `_ABSENT` if it is refused."""
    if isinstance(entry, Each):
        return _each(sheet, path, value, entry)
    if isinstance(entry, Tables):
        return _services(sheet, path, value, entry)
    if isinstance(entry, Short) and isinstance(value, dict):
        entry = entry.kind
    if isinstance(entry, type):
        return entry(**fields_of(sheet, path, value, entry))
    try:
        if isinstance(entry, Short):
            return entry.kind(**entry.word(value))
        return entry(value)
    except Refused as refused:
        sheet.report(
            f"`{values.plain(str(path[-1]))}` in {table_name(path[:-1])} {refused.message}",
            (*path, *refused.part),
            help=refused.help,
        )
        return _ABSENT


def _each(sheet: Sheet, path: Path, table: object, entry: Each) -> Any:
    """A table of the user's own keys, each value read in the same way."""
    if not isinstance(table, dict):
        _not_a_table(sheet, path, table, None)
        return _ABSENT
    found: Fields = {}
    for key, item in table.items():
        if not _good_key(sheet, (*path, key), entry):
            continue
        value = _read(sheet, (*path, key), item, entry.value)
        if value is not _ABSENT:
            found[key] = value
    return found


def _services(sheet: Sheet, path: Path, table: object, entry: Tables) -> dict[str, Service]:
    """`[services]`: the good ones of its tables."""
    found: dict[str, Service] = {}
    if not isinstance(table, dict):
        _not_a_table(sheet, path, table, None)
        return found
    for key, item in table.items():
        here = (*path, key)
        _good_key(sheet, here, entry)
        before = len(sheet.problems)
        fields = fields_of(sheet, here, item, entry.kind)
        if isinstance(item, dict) and "command" not in item:
            _no_command(sheet, here, before)
        if isinstance(item, dict):
            # A service whose name or command was refused still takes part in the later checks.
            found[key] = Service(**{"command": "", **fields}, name=key)
    return found


def _no_command(sheet: Sheet, path: Path, before: int) -> None:
    """Reports a missing command, unless a misspelt one has been reported."""
    found = sheet.problems[before:]
    if sheet.partial or any("did you mean `command`?" in problem.help for problem in found):
        return
    sheet.report(
        f"{table_name(path)} has no `command`",
        path,
        help='say what it runs: command = "npm run dev"',
    )


def _good_key(sheet: Sheet, path: Path, entry: Each | Tables) -> bool:
    try:
        entry.key(str(path[-1]))
    except Refused as refused:
        sheet.report(
            f"a name in {table_name(path[:-1])} {refused.message}",
            path,
            place=sheet.key(path),
            help=refused.help,
        )
        return False
    return True


def _not_a_table(sheet: Sheet, path: Path, value: object, kind: type[Struct] | None) -> None:
    shorthand = kind is Service and isinstance(value, (str, list))
    array = isinstance(value, list) and value and isinstance(value[0], dict)
    help = f"write a table {table_name(path)}" + (" with a `command`" if shorthand else "")
    if array:
        help = f"write {table_name(path)} with single brackets"
    sheet.report(
        f"{table_name(path)} must be a table: got {values.described(value)}", path, help=help
    )


def _unknown(sheet: Sheet, path: Path, key: str, value: object, entries: dict[str, Entry]) -> None:
    """An unknown key: the near miss, or the table it belongs in, or what this table knows."""
    known = list(entries)
    kind = "table" if isinstance(value, dict) and not path else "key"
    name = values.plain(key)
    shown = f"[{name}]" if kind == "table" else f"`{name}`"
    help = values.meant(SYNONYMS.get(key, key), known)
    if not help and not path and isinstance(value, dict) and {"command", "port"} & set(value):
        help = f"a service is written as [services.{values.valid_name(key) or 'NAME'}]"
    if not help and key in HOMES:
        help = f"`{key}` belongs in {HOMES[key]}"
    if not help:
        help = f"known here: {', '.join(known)}"
    sheet.report(
        f"unknown {kind} {shown}" + (f" in {table_name(path)}" if path else ""),
        (*path, key),
        place=sheet.key((*path, key)),
        help=help,
    )
