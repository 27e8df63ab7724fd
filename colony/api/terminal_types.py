"""What the API says of terminals. Pure."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class Terminal(Struct, frozen=True):
    """A terminal session, or the terminal of a service, which then is `service`. `pid` is 0 while
    no process runs; `bytes` is how much has been written so far."""

    colony: str
    name: str
    command: tuple[str, ...]
    pid: int
    rows: int
    columns: int
    viewers: int
    title: str
    bytes: int
    service: str = ""


class CreateTerminal(Struct, frozen=True, forbid_unknown_fields=True):
    """A session to start. Without `argv` it runs what [terminal] of the colony's file says."""

    argv: Annotated[tuple[str, ...], Meta(max_length=4096)] = ()
    env: dict[str, str] = {}
    cwd: str | None = None
    rows: Annotated[int, Meta(ge=1, le=4096)] = 24
    columns: Annotated[int, Meta(ge=1, le=4096)] = 80


class TerminalEnded(Struct, frozen=True):
    """A session is gone."""

    colony: str
    name: str


class TypeTerminal(Struct, frozen=True, forbid_unknown_fields=True):
    """What is typed: Enter is a carriage return, Ctrl-C is U+0003."""

    text: Annotated[str, Meta(max_length=65536)]


class TerminalScreen(Struct, frozen=True):
    """What a terminal shows: lines without the spaces at their ends; the cursor counts from 0."""

    rows: int
    columns: int
    lines: tuple[str, ...]
    cursor_row: int
    cursor_column: int
    cursor_visible: bool
    alternate: bool
    title: str
