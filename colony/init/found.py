"""What is found in a folder, as values, and the folder as it is looked at."""

from __future__ import annotations

import json
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import msgspec

LARGEST: Final = 1024 * 1024
"""Bytes of a file that is looked at; a larger one is none that a person has written."""


class FoundService(msgspec.Struct, frozen=True, kw_only=True):
    """A service as some file describes it.

    origin
        Where it is from, as `package.json, script "dev"`.
    port_from
        Why it has its port, if that needs to be said.
    """

    name: str
    command: str
    origin: str
    port: int | None = None
    port_from: str = ""
    cwd: str = ""
    env: dict[str, str] = {}
    after: dict[str, str] = {}
    ready: str = ""
    restart: str = ""


class Wanted(msgspec.Struct, frozen=True):
    """One line of `[colony.environment]`, and where it is from."""

    field: str
    value: str
    origin: str


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a source has found; `notes` are what it saw and did not take, and why."""

    services: tuple[FoundService, ...] = ()
    environment: tuple[Wanted, ...] = ()
    notes: tuple[str, ...] = ()


class Folder:
    """A folder whose files are read and never run. A file that cannot be read is not there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.notes: list[str] = []
        """Files that were there and could not be understood."""

    def __repr__(self) -> str:
        return f"<Folder {self.path}>"

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def text(self, name: str) -> str | None:
        """A file's text; None without it."""
        path = self.path / name
        try:
            if not path.is_file() or path.stat().st_size > LARGEST:
                return None
            return path.read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            self.notes.append(f"{name} cannot be read")
            return None

    def line(self, name: str) -> str:
        """The first line of a file, stripped; "" without it."""
        text = (self.text(name) or "").strip()
        return text.splitlines()[0].strip() if text else ""

    def json(self, name: str) -> dict[str, Any]:
        """A file's JSON object; empty without it."""
        return self._parsed(name, json.loads)

    def toml(self, name: str) -> dict[str, Any]:
        """A file's TOML; empty without it."""
        return self._parsed(name, tomllib.loads)

    def yaml(self, name: str) -> dict[str, Any]:
        """A file's YAML mapping; empty without it."""
        if not self.has(name):
            return {}
        try:
            yaml: Any = import_module("yaml")
        except ImportError:
            self.notes.append(f"{name} is not read: that needs PyYAML (pip install pyyaml)")
            return {}
        return self._parsed(name, yaml.safe_load)

    def _parsed(self, name: str, parse: Any) -> dict[str, Any]:
        text = self.text(name)
        if text is None:
            return {}
        try:
            found = parse(text)
        except Exception as error:  # each parser has errors of its own, RecursionError among them
            self.notes.append(f"{name} is not understood: {_one_line(error)}")
            return {}
        return found if isinstance(found, dict) else {}


def table(value: object) -> dict[str, Any]:
    """A mapping as it is, anything else as an empty one: files hold what they like."""
    return value if isinstance(value, dict) else {}


def words(value: object) -> list[str]:
    """The strings of a list; empty for anything else."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


_WORDS: Final = re.compile(r"\{(colony|service|port)\}")


def literal(text: str) -> str:
    """Another tool's text, which means nothing special by our words in braces."""
    return _WORDS.sub(r"{{\1}}", text)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
