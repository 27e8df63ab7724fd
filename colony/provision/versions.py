"""Which version satisfies which wish, and which lock file asks for which command. Pure."""

from __future__ import annotations

import re
from typing import Final

import msgspec

_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")


def satisfies(version: str, wanted: str) -> bool:
    """Whether a version is what was asked for: each number of the wish counts, "22" is any 22.

    A wish that holds no number (`stable`, `lts`, `latest`) is met by any version.
    """
    numbers = _VERSION.search(wanted)
    if numbers is None:
        return bool(version)
    found = _VERSION.search(version)
    if found is None:
        return False
    asked = numbers[0].split(".")
    return found[0].split(".")[: len(asked)] == asked


def number_in(text: str) -> str:
    """The version in what a program says of itself: `Python 3.11.2` → `3.11.2`."""
    found = _VERSION.search(text)
    return found[0] if found else ""


class Lock(msgspec.Struct, frozen=True):
    """What is to be done about one kind of lock file.

    file, manager
        The file that is there, and the program that it belongs to.
    argv
        Installs exactly what it says.
    makes
        What that leaves in the workspace, which decides whether it has to run again.
    """

    file: str
    manager: str
    argv: tuple[str, ...]
    makes: str


NODE_LOCKS: Final = (
    Lock("bun.lock", "bun", ("bun", "install", "--frozen-lockfile"), "node_modules"),
    Lock("bun.lockb", "bun", ("bun", "install", "--frozen-lockfile"), "node_modules"),
    Lock("pnpm-lock.yaml", "pnpm", ("pnpm", "install", "--frozen-lockfile"), "node_modules"),
    Lock("yarn.lock", "yarn", ("yarn", "install", "--frozen-lockfile"), "node_modules"),
    Lock("package-lock.json", "npm", ("npm", "ci", "--no-audit", "--no-fund"), "node_modules"),
)

NODE_INSTALL: Final[dict[str, tuple[str, ...]]] = {
    "npm": ("npm", "install", "--no-audit", "--no-fund"),
    "pnpm": ("pnpm", "install"),
    "yarn": ("yarn", "install"),
    "bun": ("bun", "install"),
}
"""Where the wanted manager has no lock file of its own."""

NODE_LOCK_OF: Final = {
    "npm": ("package-lock.json",),
    "pnpm": ("pnpm-lock.yaml",),
    "yarn": ("yarn.lock",),
    "bun": ("bun.lock", "bun.lockb"),
}

OTHER_LOCKS: Final = (
    Lock("Gemfile.lock", "bundle", ("bundle", "install"), "vendor/bundle"),
    Lock("Cargo.lock", "cargo", ("cargo", "fetch", "--locked"), ""),
)


def node_install(present: set[str], wanted: str | None) -> Lock | None:
    """How the JavaScript dependencies are installed: by the wanted manager, else by the lock file
    that is there, else by npm. None without a package.json.
    """
    if "package.json" not in present:
        return None
    for lock in NODE_LOCKS:
        if lock.file in present and wanted in (None, lock.manager):
            return lock
    manager = wanted or "npm"
    return Lock("package.json", manager, NODE_INSTALL[manager], "node_modules")
