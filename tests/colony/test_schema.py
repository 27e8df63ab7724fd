"""The JSON Schema says of a colony.toml what reading it says."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from colony import config, schema
from colony.config.fields import TABLES

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

GOOD = """\
[colony]
name = "my-app"
description = "é日本"
restart_strategy = "one_for_all"
env = { A = "1", N = 2 }
[colony.environment]
node_version = "22"
package_manager = "bun"
[services.web]
command = "npm run dev"
port = 3000
path = "/x"
restart = "always"
stop = { grace = "500ms", signal = "SIGINT" }
ready = "/health"
env_file = ".env"
[services.api]
command = ["python3", "-m", "http.server"]
port = 8080
ready = "tcp"
after = ["web"]
health = { tcp = true, interval = "1m 30s" }
backoff = { min = 0.1, factor = 1.5, jitter = 0.5 }
env_file = [".env", ".env.local"]
[services.job]
command = "x"
after = { web = "started" }
restart = "transient"
exit_colony = true
ready = { log = "done", deadline = 5 }
[terminal]
command = "bash"
[supervision]
intensity = 3
period = "1m"
[network]
egress = "none"
"""

BAD = [
    "[colony]\nnaem = 'a'",
    "[colony]\nname = 'A b'",
    "[colony]\nname = 3",
    "[colony.ports]\nweb = 80",
    "[colony.environment]\npackage_manager = 'pip'",
    "[services.web]\nport = 3000",
    "[services.web]\ncommand = ''",
    "[services.web]\ncommand = []",
    "[services.web]\ncommand = 'x'\nport = '3000'",
    "[services.web]\ncommand = 'x'\nport = 65536",
    "[services.web]\ncommand = 'x'\npath = 'api'",
    "[services.web]\ncommand = 'x'\nrestart = 'sometimes'",
    "[services.web]\ncommand = 'x'\nstop.grace = '5 parsecs'",
    "[services.web]\ncommand = 'x'\nstop.grace = -1",
    "[services.web]\ncommand = 'x'\nready = 'soon'",
    "[services.web]\ncommand = 'x'\nenv.A = true",
    "[services.Web]\ncommand = 'x'",
    "[services.web]\ncommand = 'x'\nafter = { web = 'never' }",
    "[services.web]\ncommand = 'x'\nbackoff.factor = 0",
    "[services.web]\ncommand = 'x'\nbackoff.jitter = 2",
    "[terminal]\ncommand = 3",
    "[supervision]\nintensity = -1",
    "[network]\negress = 'all'",
    "[service.web]\ncommand = 'x'",
]


def test_the_shipped_file_is_made_of_the_types() -> None:
    # If not: .venv/bin/python -m colony schema > colony/colony.schema.json
    assert schema.SHIPPED.read_text() == schema.as_text()


def test_every_table_and_every_field_is_in_it() -> None:
    made = schema.file_schema()
    tables = {"Config": made, **made["$defs"]}
    assert {kind.__name__: set(entries) for kind, entries in TABLES.items()} == {
        title: set(table["properties"]) for title, table in tables.items()
    }
    assert all(table["additionalProperties"] is False for table in tables.values())


def test_every_field_has_a_description() -> None:
    made = schema.file_schema()
    bare = [
        f"{title}.{name}"
        for title, table in made["$defs"].items()
        for name, field in table["properties"].items()
        if not field.get("description")
    ]
    assert bare == []


def test_every_form_is_of_a_field() -> None:
    fields = {f"{kind.__name__}.{name}" for kind, entries in TABLES.items() for name in entries}
    assert set(schema.FORMS) - fields == set()


def validator() -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    kind = jsonschema.Draft7Validator
    kind.check_schema(schema.file_schema())
    return kind(schema.file_schema())


def test_what_is_read_is_valid() -> None:
    check = validator()
    for text in (GOOD, *(file.read_text() for file in ROOT.glob("examples/*/colony.toml"))):
        config.parse(text, workspace="/nonexistent")
        assert [error.message for error in check.iter_errors(tomllib.loads(text))] == []


@pytest.mark.parametrize("text", BAD)
def test_what_is_refused_is_not_valid(text: str) -> None:
    with pytest.raises(config.ConfigError):
        config.parse(text)
    assert not validator().is_valid(tomllib.loads(text))


def test_a_service_of_a_template_needs_no_command() -> None:
    check = validator()
    service = {"services": {"web": {"port": 3000}}}
    assert not check.is_valid(service)
    assert not check.is_valid({"colony": {"name": "a"}, **service})
    assert check.is_valid({"colony": {"template": "web-app"}, **service})


LINTERS = [["taplo", "lint"], ["tombi", "lint", "--offline"]]


@pytest.mark.parametrize("linter", LINTERS, ids=["taplo", "tombi"])
def test_linters_take_it(linter: list[str], tmp_path: Path) -> None:
    program = shutil.which(linter[0], path=f"{BIN}:/usr/local/bin:/usr/bin")
    if program is None:
        pytest.skip(f"{linter[0]} is not installed: pip install {linter[0]}")
    shutil.copy(schema.SHIPPED, tmp_path)
    directive = "#:schema ./colony.schema.json\n"
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(directive + GOOD)
    bad.write_text(directive + "[services.web]\ncommand = 'x'\nport = 80\n")
    for file, is_good in ((good, True), (bad, False)):
        command = [program, *linter[1:], file.name]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert (done.returncode == 0) is is_good, said
        assert "strict mode" not in said
        assert is_good or "1024" in said
