"""Reads colony.toml and checks it: `load` a file, `parse` a text.

The law: all problems are found at once, and whatever comes out is either a `Config` that can be
started as it stands or a `ConfigError`; no other exception, whatever the file holds.

    bytes ─ load ─▶ text ─ syntax ─▶ document + positions ─ walk ─▶ fields ─ checks ─▶ Config
                                                             └── fields.TABLES, values ──┘
"""

from __future__ import annotations

import os
import stat
from difflib import get_close_matches
from typing import Any, Final

import msgspec

from colony.config import checks, interpolation, service_checks, syntax
from colony.config.schema import Colony, Config, Network, Service, Supervision, Terminal
from colony.config.sheet import Sheet
from colony.config.walk import fields_of
from colony.templates.library import Library, default_library

_HINT: Final = "a colony is described by a file colony.toml, with a [services.NAME] table or more"


def load(path: str | os.PathLike[str]) -> Config:
    """Reads and checks a file; its folder is the workspace.

    Reads from the disk, so an event loop calls it in a thread. Raises `ConfigError` with every
    problem found: also for a file that is missing, not readable, a folder, or not UTF-8.
    """
    filename = os.fspath(path)
    return parse(read_text(filename), filename)


def read_text(filename: str, hint: str = _HINT) -> str:
    """A file's text. `hint` says what should be there, for one that is not.

    Raises `ConfigError` for a file that is missing, not readable, a folder, or not UTF-8.
    """
    content = _content(filename, hint)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise syntax.at_character(
            content.decode(errors="replace"),
            filename,
            len(content[: error.start].decode()),
            f"the file is not UTF-8: byte 0x{content[error.start]:02x} cannot stand here",
            "save it as UTF-8",
        ) from None


def parse(
    text: str,
    filename: str = "colony.toml",
    *,
    workspace: str | None = None,
    templates: Library | None = None,
) -> Config:
    """Checks a text as if it were the file `filename`, which need not exist.

    If it names a template, it is what it says over that one; `templates` are the user's and ours
    by default, and read from the disk then.

    `workspace` is the folder that services run in; the file's own by default. It is looked at for
    the services' `cwd` if it exists. Raises `ConfigError` with every problem found.
    """
    document, sheet = syntax.read(text, filename)
    document = (templates or default_library()).complete(document, sheet)
    root = os.path.realpath(workspace or os.path.dirname(filename) or ".")
    fields = fields_of(sheet, (), document, Config)
    fields |= _completed(sheet, fields, root)
    _check(sheet, fields)
    checks.something_to_run(sheet, document)
    return Config(**fields, path=filename, workspace=root, warnings=sheet.finish())


def _completed(sheet: Sheet, fields: dict[str, Any], root: str) -> dict[str, Any]:
    """What follows from several fields together, as the names, words and folders in them."""
    colony: Colony = fields.get("colony", Colony())
    services: dict[str, Service] = fields.get("services", {})
    if not colony.name:
        colony = msgspec.structs.replace(colony, name=checks.default_name(sheet, root))
    services = checks.with_old_ports(sheet, colony, services)
    colony = interpolation.colony_with_words(sheet, colony)
    services = interpolation.with_words(sheet, colony, services)
    terminal = interpolation.terminal_with_words(sheet, colony, fields.get("terminal", Terminal()))
    services = checks.with_directories(sheet, services, root)
    services = service_checks.with_env_files(sheet, services, root)
    supervision = checks.one_strategy(sheet, colony, fields.get("supervision", Supervision()))
    return {
        "colony": colony,
        "services": services,
        "terminal": terminal,
        "supervision": supervision,
    }


def _check(sheet: Sheet, fields: dict[str, Any]) -> None:
    """What has to hold between fields, once they are complete."""
    colony, services = fields["colony"], fields["services"]
    checks.ports_differ(sheet, colony, services)
    service_checks.dependencies_hold(sheet, services)
    service_checks.probes_make_sense(sheet, services)
    service_checks.terminals_have_names(sheet, services)
    service_checks.exits_can_come(sheet, services)
    service_checks.backoffs_grow(sheet, services)
    checks.network_makes_sense(sheet, colony, fields.get("network", Network()))


def _content(filename: str, hint: str) -> bytes:
    """A file's bytes. Raises `ConfigError` in words for each way in which there are none."""
    try:
        # O_NONBLOCK: opening a named pipe would wait for its writer, for ever perhaps.
        descriptor = os.open(filename, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            _regular(filename, os.fstat(descriptor).st_mode, hint)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(syntax.LARGEST + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        syntax.reject(filename, *_in_words(filename, error, hint))
    except ValueError:  # a NUL character in the name
        syntax.reject(filename.replace("\0", "\\0"), "a file's name cannot hold a NUL character")
    if len(content) > syntax.LARGEST:
        syntax.reject(filename, f"the file is too large: more than {syntax.LARGEST // 1024} KiB")
    return content


def _regular(filename: str, mode: int, hint: str) -> None:
    if stat.S_ISDIR(mode):
        inside = os.path.join(filename, "colony.toml")
        help = f"the file in it is {inside}" if os.path.isfile(inside) else hint
        syntax.reject(filename, "this is a folder, not a file", help)
    if not stat.S_ISREG(mode):
        syntax.reject(filename, "this is a device or a pipe, not a file", hint)


def _in_words(filename: str, error: OSError, hint: str) -> tuple[str, str]:
    if isinstance(error, FileNotFoundError):
        return "there is no such file", _nearby(filename, hint)
    if isinstance(error, PermissionError):
        return "this file may not be read by you", f"ls -l {filename} shows who may"
    return f"this file cannot be read: {(error.strerror or str(error)).lower()}", ""


def _nearby(filename: str, hint: str) -> str:
    """What was probably meant by the name of a file that does not exist."""
    folder, name = os.path.split(filename)
    try:
        present = [entry for entry in os.listdir(folder or ".") if entry.endswith(".toml")]
    except OSError:
        return f"there is no folder {folder} either"
    close = get_close_matches(name, present, n=1, cutoff=0.6) or sorted(present)[:1]
    if close:
        return f"did you mean {os.path.join(folder, close[0])}?"
    return hint
