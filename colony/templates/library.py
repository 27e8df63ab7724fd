"""Where templates are, and what a document is over the ones it names.

    document ── template = "a" ──▶ a/colony.toml ── template = "b" ──▶ b.toml
        └───────────── merged ◀──────────┴────────────── merged ◀───────┘

Reads files; the user's templates come before ours of the same name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import msgspec

from colony.config import syntax, values
from colony.config.problems import ConfigError
from colony.config.schema import Config
from colony.config.sheet import Sheet
from colony.config.walk import fields_of
from colony.paths import home_directory
from colony.templates.merge import merged

BUILT_IN: Final = Path(__file__).with_name("builtin")
FILE: Final = "colony.toml"
FIELD: Final = ("colony", "template")


class NoTemplate(LookupError):
    """There is no template of that name. `known` are those that there are."""

    def __init__(self, name: str, known: Iterable[str], mine: Path | None) -> None:
        self.name = name
        self.known = tuple(known)
        near = values.meant(name, list(self.known))
        yours = "" if mine is None else f"; yours go into {mine}/NAME/{FILE}"
        listed = f"there are {', '.join(self.known)}{yours}"
        self.help = f"{near} {listed}" if near else listed
        super().__init__(f"there is no template {values.quoted(name)}")


class Template(msgspec.Struct, frozen=True):
    """One template: its name, its file, and whether it is one of ours."""

    name: str
    path: Path
    built_in: bool

    def text(self) -> str:
        """Its file's text. Raises `ConfigError`."""
        try:
            return self.path.read_text("utf-8")
        except UnicodeDecodeError:
            syntax.reject(str(self.path), "the template is not UTF-8", "save it as UTF-8")
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            syntax.reject(str(self.path), f"the template cannot be read: {why}")

    def description(self) -> str:
        """What it says of itself: its description, else the comment in its first line."""
        text = self.text()
        document, _ = syntax.read(text, str(self.path))
        colony = document.get("colony")
        said = colony.get("description") if isinstance(colony, dict) else None
        first = text.partition("\n")[0]
        return said if isinstance(said, str) else first.lstrip("# ") if first[:1] == "#" else ""


class Library:
    """The templates that there are: a folder of the user's, and a folder of ours."""

    def __init__(self, mine: Path | None, built_in: Path = BUILT_IN) -> None:
        self.mine = mine
        self.built_in = built_in

    def __repr__(self) -> str:
        return f"<Library {self.mine} {self.built_in}>"

    def names(self) -> list[str]:
        """Every name that can be used, sorted."""
        return sorted({template.name for template in self.all()})

    def all(self) -> list[Template]:
        """Every template by name; one of ours that the user's hides is not among them."""
        found = {
            path.stem: Template(path.stem, path, True)
            for path in sorted(self.built_in.glob("*.toml"))
        }
        if self.mine is not None:
            for path in sorted(self.mine.glob(f"*/{FILE}")):
                name = path.parent.name
                if values.valid_name(name) == name:
                    found[name] = Template(name, path, False)
        return [found[name] for name in sorted(found)]

    def find(self, name: str) -> Template:
        """The template of a name. Raises `NoTemplate`."""
        for template in self.all():
            if template.name == name:
                return template
        raise NoTemplate(name, self.names(), self.mine)

    def write(self, name: str, text: str) -> Path:
        """Makes a template of the user's; its file. Raises `FileExistsError` if there is one."""
        assert self.mine is not None
        folder = self.mine / name
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / FILE, "x", encoding="utf-8") as file:
            file.write(text)
        return folder / FILE

    def chain(self, name: str) -> list[Template]:
        """A template and those beneath it. Raises `NoTemplate`, and `ConfigError`."""
        found = [self.find(name)]
        while True:
            document, _ = syntax.read(found[-1].text(), os.fspath(found[-1].path))
            beneath = _named(document)
            if beneath is None or any(template.name == beneath for template in found):
                return found
            found.append(self.find(beneath))

    # -- what a document is over its templates -------------------------------------------------

    def complete(self, document: dict[str, Any], sheet: Sheet) -> dict[str, Any]:
        """The document over the templates that it names, which have been checked by themselves.

        A name of no template and a cycle are reported on the sheet; the document then stays as it
        is. Raises `ConfigError` for what is wrong in a template's own file.
        """
        name = _named(document)
        if name is None:
            return document
        sheet.fallback = FIELD
        found = self._over(document, sheet, [])
        return document if found is None else found

    def _over(
        self, document: dict[str, Any], sheet: Sheet, trail: list[str]
    ) -> dict[str, Any] | None:
        """None once something has been reported."""
        name = _named(document)
        if name is None or (trail and name == trail[-1]):
            return document
        if name in trail:
            way = " → ".join([*trail[trail.index(name) :], name])
            sheet.report(
                f"the template {values.quoted(trail[0])} leads back to itself: {way}",
                FIELD,
                help=f"let one of them name no template: {self.find(name).path}",
            )
            return None
        try:
            template = self.find(name)
        except NoTemplate as missing:
            asker = f", which the template {values.quoted(trail[-1])} names" if trail else ""
            sheet.report(f"{missing}{asker}", FIELD, help=missing.help)
            return None
        beneath = self._over(_checked(template), sheet, [*trail, name])
        return None if beneath is None else merged(beneath, document)


def default_library() -> Library:
    """The user's templates, in `$COLONY_HOME/templates`, and ours."""
    return Library(home_directory() / "templates")


def _named(document: dict[str, Any]) -> str | None:
    """The template that a document names, if it does so by a good name."""
    colony = document.get("colony")
    name = colony.get("template") if isinstance(colony, dict) else None
    return name if isinstance(name, str) and values.valid_name(name) == name else None


def _checked(template: Template) -> dict[str, Any]:
    """A template's document, each of its fields good. Raises `ConfigError`."""
    document, sheet = syntax.read(template.text(), os.fspath(template.path))
    sheet.partial = True
    fields_of(sheet, (), document, Config)
    errors = [problem for problem in sheet.problems if problem.severity == "error"]
    if errors:
        raise ConfigError(errors)
    return document
