"""A file over its templates: what is merged, what is refused, and where that is shown."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import pytest

from colony import config
from colony.config import ConfigError
from colony.templates import Library, NoTemplate, merged


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "templates"


def put(mine: Path, name: str, text: str) -> Path:
    folder = mine / name
    folder.mkdir(parents=True)
    file = folder / "colony.toml"
    file.write_text(textwrap.dedent(text))
    return file


def parse(text: str, mine: Path) -> config.Config:
    return config.parse(
        textwrap.dedent(text), workspace="/nonexistent/app", templates=Library(mine)
    )


def problem(text: str, mine: Path) -> tuple[str, str, int | None, str]:
    with pytest.raises(ConfigError) as caught:
        parse(text, mine)
    [only] = caught.value.problems
    return only.message, only.help, only.line, only.path


# Merging.


@pytest.mark.parametrize(
    ("beneath", "over", "is_"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": 2, "b": 3}, {"a": 2, "b": 3}),
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": {"x": 1}}, {"a": 2}, {"a": 2}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        (
            {"services": {"web": {"ready": {"http": "/"}, "stop": {"grace": 1}}}},
            {"services": {"web": {"ready": {"log": "up"}, "stop": {"signal": 2}}}},
            {"services": {"web": {"ready": {"log": "up"}, "stop": {"grace": 1, "signal": 2}}}},
        ),
        (
            {"colony": {"name": "t", "description": "T", "template": "u", "env": {"A": "1"}}},
            {"colony": {"env": {"B": "2"}}},
            {"colony": {"env": {"A": "1", "B": "2"}}},
        ),
    ],
)
def test_merged(beneath: dict[str, Any], over: dict[str, Any], is_: dict[str, Any]) -> None:
    assert merged(beneath, over) == is_


def test_the_lower_order_is_kept_and_new_services_come_last() -> None:
    beneath: dict[str, Any] = {"services": {"web": {}, "api": {}}}
    over: dict[str, Any] = {"services": {"job": {}, "api": {}}}
    assert list(merged(beneath, over)["services"]) == ["web", "api", "job"]


def test_merging_changes_neither() -> None:
    beneath, over = {"a": {"x": 1}}, {"a": {"y": 2}}
    merged(beneath, over)
    assert (beneath, over) == ({"a": {"x": 1}}, {"a": {"y": 2}})


# The library.


def test_the_documents_templates_are_there(mine: Path) -> None:
    library = Library(mine)
    assert library.names() == ["api-service", "full-stack", "python-app", "web-app"]
    assert [template.description() for template in library.all()] == [
        "Backend API server: Express, Fastify, Hono.",
        "Frontend and backend together.",
        "Python application in a virtual environment.",
        "Single-page application with a frontend framework: React, Vue, Svelte, SolidJS.",
    ]


@pytest.mark.parametrize(
    ("name", "services", "environment"),
    [
        ("web-app", {"web": ("npm run dev", 5173, "/")}, ("22", "bun", None)),
        ("api-service", {"api": ("npm start", 3000, "/api")}, ("22", None, None)),
        (
            "full-stack",
            {"web": ("npm run dev", 5173, "/"), "api": ("npm run server", 3000, "/")},
            ("22", "bun", None),
        ),
        (
            "python-app",
            {"web": ("python -m uvicorn main:app --host 0.0.0.0 --port 8000", 8000, "/")},
            (None, None, "3.12"),
        ),
    ],
)
def test_each_is_as_the_documents_list_it(
    name: str, services: Any, environment: Any, mine: Path
) -> None:
    read = parse(f'[colony]\nname = "a"\ntemplate = "{name}"', mine)
    assert {
        service.name: (service.command, service.port, service.path)
        for service in read.services.values()
    } == services
    wants = read.colony.environment
    assert (wants.node_version, wants.package_manager, wants.python_version) == environment


def test_mine_comes_before_ours(mine: Path) -> None:
    file = put(mine, "web-app", "[services.web]\ncommand = 'mine'\n")
    found = Library(mine).find("web-app")
    assert (found.path, found.built_in) == (file, False)
    assert parse("[colony]\nname = 'a'\ntemplate = 'web-app'", mine).services["web"].command == (
        "mine"
    )


def test_a_folder_with_another_name_is_no_template(mine: Path) -> None:
    put(mine, "My Template", "")
    with pytest.raises(NoTemplate):
        Library(mine).find("My Template")


# A file over one.


def test_fields_replace_fields_and_services_are_added(mine: Path) -> None:
    read = parse(
        """
        [colony]
        name = "a"
        template = "full-stack"
        env = { A = "1" }
        [services.web]
        port = 4000
        [services.worker]
        command = "work"
        """,
        mine,
    )
    assert [(each.name, each.command, each.port) for each in read.services.values()] == [
        ("web", "npm run dev", 4000),
        ("api", "npm run server", 3000),
        ("worker", "work", None),
    ]
    assert read.colony.template == "full-stack"
    assert read.colony.env == {"A": "1"}


def test_a_chain(mine: Path) -> None:
    put(
        mine, "base", "[colony]\nenv = { A = '1', B = '1', C = '1' }\n[services.web]\nport = 3000\n"
    )
    put(mine, "next", "[colony]\ntemplate = 'base'\nenv = { B = '2', C = '2' }\n")
    put(mine, "last", "[colony]\ntemplate = 'next'\n[services.web]\ncommand = 'serve {port}'\n")
    read = parse("[colony]\nname = 'a'\ntemplate = 'last'\nenv = { C = '3' }\n", mine)
    assert read.colony.env == {"A": "1", "B": "2", "C": "3"}
    assert (read.services["web"].command, read.services["web"].port) == ("serve 3000", 3000)


def test_the_documents_own_example_names_itself(mine: Path) -> None:
    put(
        mine,
        "rust-api",
        """
        [colony]
        template = "rust-api"
        [colony.environment]
        rust_version = "stable"
        [services.api]
        command = "cargo run --release"
        port = 8080
        path = "/api"
        """,
    )
    read = parse("[colony]\nname = 'my-rust-api'\ntemplate = 'rust-api'", mine)
    assert read.services["api"].command == "cargo run --release"
    assert read.colony.environment.rust_version == "stable"


# What is refused.


def test_a_missing_one_with_its_near_miss(mine: Path) -> None:
    assert problem("[colony]\nname = 'a'\ntemplate = 'web-ap'", mine)[:3] == (
        'there is no template "web-ap"',
        "did you mean `web-app`? there are api-service, full-stack, python-app, web-app; yours go "
        f"into {mine}/NAME/colony.toml",
        3,
    )


def test_a_missing_one_with_what_exists(mine: Path) -> None:
    put(mine, "rust-api", "")
    assert problem("[colony]\ntemplate = 'zzz'\nname = 'a'", mine)[:3] == (
        'there is no template "zzz"',
        "there are api-service, full-stack, python-app, rust-api, web-app; yours go into "
        f"{mine}/NAME/colony.toml",
        2,
    )


def test_a_missing_one_that_another_names(mine: Path) -> None:
    put(mine, "one", "[colony]\ntemplate = 'nodde'\n")
    put(mine, "node", "")
    assert problem("[colony]\nname = 'a'\ntemplate = 'one'", mine)[:3] == (
        'there is no template "nodde", which the template "one" names',
        "did you mean `node`? there are api-service, full-stack, node, one, python-app, web-app; "
        f"yours go into {mine}/NAME/colony.toml",
        3,
    )


def test_a_cycle(mine: Path) -> None:
    put(mine, "a", "[colony]\ntemplate = 'b'\n")
    put(mine, "b", "[colony]\ntemplate = 'c'\n")
    file = put(mine, "c", "[colony]\ntemplate = 'b'\n")
    assert problem("[colony]\nname = 'x'\ntemplate = 'a'", mine)[:3] == (
        'the template "a" leads back to itself: b → c → b',
        f"let one of them name no template: {file.parent.parent / 'b' / 'colony.toml'}",
        3,
    )


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("[colony\n", "a table's header must end in `]`", 1),
        ("\n[services.web]\nport = 80\n", None, 3),
        ("\n[services.web]\ncomand = 'x'\n", "unknown key `comand` in [services.web]", 3),
    ],
)
def test_what_is_wrong_in_a_template_is_shown_in_its_file(
    text: str, message: str | None, line: int, mine: Path
) -> None:
    file = put(mine, "bad", text)
    said, _, where, path = problem("[colony]\nname = 'a'\ntemplate = 'bad'", mine)
    assert (where, path) == (line, str(file))
    assert message is None or said == message


def test_what_a_template_and_a_file_do_together_is_shown_at_both(mine: Path) -> None:
    text = "[colony]\nname = 'a'\ntemplate = 'web-app'\n[services.api]\ncommand = 'x'\nport = 5173"
    with pytest.raises(ConfigError) as caught:
        parse(text, mine)
    [only] = caught.value.problems
    assert only.message == "services `web` and `api` cannot both have port 5173"
    assert (only.line, [place.line for place in only.related]) == (6, [3])


def test_a_service_that_nobody_gives_a_command(mine: Path) -> None:
    put(mine, "half", "[services.web]\nport = 3000\n")
    message, _, line, _ = problem("[colony]\nname = 'a'\ntemplate = 'half'", mine)
    assert (message, line) == ("[services.web] has no `command`", 3)


def test_a_template_that_may_not_be_read(mine: Path) -> None:
    (mine / "odd").mkdir(parents=True)
    (mine / "odd" / "colony.toml").write_bytes(b"\xff")
    assert problem("[colony]\nname = 'a'\ntemplate = 'odd'", mine)[0] == (
        "the template is not UTF-8"
    )
