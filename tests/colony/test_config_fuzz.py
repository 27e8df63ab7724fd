"""Whatever the file holds: a `Config` or a `ConfigError`, and every place inside the text."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colony import config
from colony.config import Config, ConfigError, Place, Problem
from colony.config.fields import TABLES
from colony.config.fix import fix

WORKSPACE = str(Path(__file__).parent)

# A busy machine is no failure.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

VALID = """\
[colony]
name = "my-app"
description = "é日本"
restart_strategy = "one_for_all"
env = { A = "1", "B C" = "2" }
[colony.environment]
node_version = "22"
package_manager = "bun"
setup = ["echo {colony}", "x"]
[colony.ports]
web = 3000
[services.web]
command = "npm run dev"
path = '/x'
cwd = "."
restart = "always"
stop = { grace = "500ms" }
[services.api]
command = [
  "python3", # first
  "-m", "http.server",
]
port = 8080
[services.api.env]
PORT = 8080
[terminal]
command = \"\"\"
bash\"\"\"
[supervision]
intensity = 3
period = "1m"
[network]
egress = "none"
"""

KEYS = sorted({key for table in TABLES.values() for key in table})
words = st.sampled_from([*KEYS, "web", "日本", "", "a.b", "A=B", "\0", "\x1b[31m"])
leaves = st.one_of(
    words,
    st.text(max_size=10),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.dates(),
    st.datetimes(),
    st.times(),
    st.sampled_from(
        [
            "web-app",
            "full-stack",
            "{port}",
            "{{port}}",
            "${A:-b}",
            "5s",
            "always",
            "nat",
            "../..",
            "~",
            "/",
            "one_for_one",
            "x" * 300,
            3000,
            10**18,
        ]
    ),
)
documents = st.dictionaries(
    words,
    st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
        max_leaves=12,
    ),
    max_size=5,
)
snippets = st.one_of(
    st.sampled_from(
        ['"', "'", '"""', "'''", "[", "]", "[[", "]]", "{", "}", "=", ".", ",", "#", "\n", "\r",
         "\\", "\0", "\x1b", "\ufeff", "\ud800", "é", "-", "9" * 5000, "[" * 2000, "{a=" * 900,
         "\t", "0", "nan", "1979-05-27", "true", "\n[services.web]\n", "\n[colony.ports]\n",
         "\nport = 8080\n", "{port}", "{service}", "${A}", "\ntemplate = 'web-app'\n",
         "\ntemplate = 'x'\n", "\n[colony.ports]\napi = 8080\n", "ports = { web = 3000 }\n",
         "\n[services.x]\ncommand = 'x'\nport = 8080\n", "\n[[services.y]]\n", "\nservices = 1\n"]
    ),
    st.text(max_size=5),
)  # fmt: skip


def toml(value: object) -> str:
    """A value as TOML, whatever it is: everything inline."""
    if isinstance(value, str):
        return json.dumps(value).replace("\x7f", "\\u007f").replace("\\ud", "x")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def check_place(place: Place, lines: list[str]) -> None:
    assert 1 <= place.line <= len(lines)
    assert place.source == lines[place.line - 1].rstrip("\r")
    assert 1 <= place.column <= max(len(place.source), 1)
    assert 1 <= place.length <= max(len(place.source) - place.column + 1, 1)


def check(text: str) -> Config | None:
    """The law of the whole package, for one text."""
    found: tuple[Problem, ...]
    try:
        read = config.parse(text, workspace=WORKSPACE)
        found, errors = read.warnings, 0
    except ConfigError as error:
        read = None
        found, errors = error.problems, len(error.problems)
        assert found
    lines = text.removeprefix("\ufeff").encode(errors="replace").decode().split("\n")
    for problem in found:
        assert (problem.severity == "error") == bool(errors)
        assert "\n" not in problem.message
        assert problem.message.isprintable()
        for place in (problem.place, *problem.related):
            if place is not None:
                check_place(place, lines)
    assert config.render(found).count("-->") >= len(found)
    config.render(found, color=True)
    json.dumps(config.as_data(found))
    if read is not None:
        check_fix(text, read)
    return read


def check_fix(text: str, before: Config) -> None:
    """What is fixed means the same, and is fixed."""
    fixed = fix(text)
    if not fixed.done:
        assert fixed.text == text
        return
    after = config.parse(fixed.text, workspace=WORKSPACE)
    assert after.services == before.services
    assert fix(fixed.text).done == ()


def test_the_valid_one_is_valid() -> None:
    assert check(VALID) is not None


@unhurried
@given(documents)
def test_any_document(document: dict[str, object]) -> None:
    check("".join(f"{toml(key)} = {toml(value)}\n" for key, value in document.items()))


@unhurried
@given(st.data())
def test_a_mutated_valid_document(data: st.DataObject) -> None:
    text = VALID
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        length = data.draw(st.sampled_from([0, 0, 1, 1, 2, 5, 20]))
        text = text[:start] + data.draw(snippets) + text[start + length :]
    check(text)


@unhurried
@given(st.permutations(VALID.splitlines(keepends=True)), st.integers(1, 36))
def test_a_valid_document_with_its_lines_in_disorder(lines: list[str], count: int) -> None:
    check("".join(lines[:count]))


@unhurried
@given(st.text(max_size=60))
def test_any_text(text: str) -> None:
    check(text)


@unhurried
@given(content=st.binary(max_size=60))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzzed.toml"
    file.write_bytes(content)
    with contextlib.suppress(ConfigError):
        config.load(file)
