"""Bad input for every field: refused, in one line that names it, at its own line."""

from __future__ import annotations

import pytest
from msgspec import Struct

from colony import config
from colony.config.fields import TABLES, Short, Tables
from colony.config.schema import Config


def fields(kind: type[Struct] = Config, table: str = "") -> list[tuple[str, str]]:
    """Every field with its table, as a file has it; a service's is called `web`."""
    found = []
    for name, entry in TABLES[kind].items():
        inside = f"{table}.{name}".lstrip(".")
        if isinstance(entry, Tables):
            found += fields(entry.kind, f"{inside}.web")
            continue
        if table:
            found.append((table, name))
        if isinstance(entry, Short):
            entry = entry.kind
        if isinstance(entry, type):
            found += fields(entry, inside)
    return found


FIELDS = fields()

NEVER_GOOD = ["1979-05-27", "nan", '"\\u0000"', "[[]]", "[{ a = 1979-05-27 }]", '{ "" = [] }']
"""Values that no field takes, whatever its type."""


@pytest.mark.parametrize("value", NEVER_GOOD)
@pytest.mark.parametrize(("table", "name"), FIELDS)
def test_every_field_refuses_it(table: str, name: str, value: str) -> None:
    text = f"[services.web]\ncommand = 'x'\n[{table}]\n{name} = {value}\n"
    if table == "services.web":
        text = f"[{table}]\n{name} = {value}\n" + ("command = 'x'\n" if name != "command" else "")
    with pytest.raises(config.ConfigError) as caught:
        config.parse(text)
    line = 2 if table == "services.web" else 4
    mine = [each for each in caught.value.problems if each.line == line]
    assert mine, str(caught.value)
    assert all("\n" not in each.message and "\0" not in each.message for each in mine)
    assert any(name in each.message or name in each.key for each in mine)


@pytest.mark.parametrize("text", ["setup = 3", "setup = [3]", 'setup = ""', "setup = [['a']]"])
def test_setup_is_lines(text: str) -> None:
    whole = f"[colony.environment]\n{text}\n[services.web]\ncommand = 'x'\n"
    with pytest.raises(config.ConfigError) as caught:
        config.parse(whole)
    assert [each.line for each in caught.value.problems] == [2]


@pytest.mark.parametrize(
    ("text", "lines"), [('setup = "a"', ("a",)), ('setup = ["a", "b c"]', ("a", "b c"))]
)
def test_setup(text: str, lines: tuple[str, ...]) -> None:
    whole = f"[colony.environment]\n{text}\n[services.web]\ncommand = 'x'\n"
    assert config.parse(whole).colony.environment.setup == lines
