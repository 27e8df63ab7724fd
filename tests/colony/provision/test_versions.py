"""Which version satisfies which wish; which lock file asks for which command."""

from __future__ import annotations

import pytest

from colony.provision.source import Source, name_of
from colony.provision.versions import node_install, number_in, satisfies


@pytest.mark.parametrize(
    ("version", "wanted", "does"),
    [
        ("22.3.1", "22", True),
        ("v22.3.1", "22.3", True),
        ("22.3.1", "22.3.1", True),
        ("22.30.1", "22.3", False),
        ("2.22.0", "22", False),
        ("3.12.1", "3.12", True),
        ("3.1.2", "3.12", False),
        ("1.95.0", "stable", True),
        ("", "stable", False),
        ("", "22", False),
        ("20.1.0", "v20", True),
    ],
)
def test_satisfies(version: str, wanted: str, does: bool) -> None:
    assert satisfies(version, wanted) is does


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("Python 3.11.2", "3.11.2"),
        ("v20.11.0", "20.11.0"),
        ("rustc 1.95.0 (abc 2026-01-01)", "1.95.0"),
        ("ruby 3.1.2p20", "3.1.2"),
        ("", ""),
    ],
)
def test_number_in(said: str, number: str) -> None:
    assert number_in(said) == number


@pytest.mark.parametrize(
    ("present", "wanted", "argv"),
    [
        (set(), "npm", None),
        ({"package-lock.json"}, None, None),
        ({"package.json"}, None, "npm install --no-audit --no-fund"),
        ({"package.json"}, "bun", "bun install"),
        ({"package.json", "package-lock.json"}, None, "npm ci --no-audit --no-fund"),
        ({"package.json", "package-lock.json"}, "bun", "bun install"),
        ({"package.json", "bun.lock"}, None, "bun install --frozen-lockfile"),
        ({"package.json", "pnpm-lock.yaml"}, "pnpm", "pnpm install --frozen-lockfile"),
        ({"package.json", "yarn.lock"}, None, "yarn install --frozen-lockfile"),
        (
            {"package.json", "yarn.lock", "package-lock.json"},
            "npm",
            "npm ci --no-audit --no-fund",
        ),
    ],
)
def test_node_install(present: set[str], wanted: str | None, argv: str | None) -> None:
    lock = node_install(present, wanted)
    assert (None if lock is None else " ".join(lock.argv)) == argv


@pytest.mark.parametrize(
    ("repository", "name", "is_url"),
    [
        ("https://example.org/a/My_App.git", "my-app", True),
        ("git@example.org:a/blog.git", "blog", True),
        ("ssh://git@example.org/a/b/", "b", True),
        ("file:///srv/git/app", "app", True),
        ("/home/me/app", "app", False),
    ],
)
def test_source(repository: str, name: str, is_url: bool) -> None:
    assert (name_of(repository), Source(repository).is_url) == (name, is_url)
