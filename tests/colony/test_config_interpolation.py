"""What `{port}` and `${VAR}` stand for, and where they stand for nothing."""

from __future__ import annotations

import pytest

from colony import config
from colony.config import ConfigError
from colony.config.interpolation import Unset, arguments, expand, merged, put_words, resolved

WORDS = {"colony": "app", "service": "web", "port": "3000"}


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("serve --port {port}", "serve --port 3000"),
        ("{colony}/{service}:{port}", "app/web:3000"),
        ("{{port}}", "{port}"),
        ("echo ${port}", "echo ${port}"),
        ("docker ps --format '{{.Names}}'", "docker ps --format '{{.Names}}'"),
        ('{"a": {"port": 1}}', '{"a": {"port": 1}}'),
        ("{Port} {ports} { port }", "{Port} {ports} { port }"),
        ("{{{port}}}", "{{port}}"),
    ],
)
def test_words(text: str, is_: str) -> None:
    assert put_words(text, WORDS) == is_


def test_a_file_with_words_everywhere() -> None:
    read = config.parse(
        """
        [colony]
        name = "app"
        env = { DB = "/tmp/{colony}.db" }
        [services.web]
        command = ["serve", "--port", "{port}", "--name={service}"]
        port = 3000
        path = "/{colony}"
        env = { SELF = "http://localhost:{port}" }
        ready.http = "/{service}/health"
        health.exec = "curl localhost:{port}"
        stop.command = "stop {port}"
        [terminal]
        command = "bash --rcfile {colony}.rc"
        env = { PS1 = "{colony}> " }
        """
    )
    web = read.services["web"]
    assert read.colony.env == {"DB": "/tmp/app.db"}
    assert web.command == ("serve", "--port", "3000", "--name=web")
    assert web.path == "/app"
    assert web.env == {"SELF": "http://localhost:3000"}
    assert web.ready.http == "/web/health"
    assert web.health is not None
    assert web.health.exec == "curl localhost:3000"
    assert web.stop.command == "stop 3000"
    assert read.terminal.command == "bash --rcfile app.rc"
    assert read.terminal.env == {"PS1": "app> "}


def test_the_deprecated_table_gives_the_word_its_port() -> None:
    read = config.parse(
        '[colony]\nname = "a"\nports = { web = 3000 }\n[services.web]\ncommand = "x {port}"\n'
    )
    assert read.services["web"].command == "x 3000"


def test_a_word_that_stands_for_nothing_is_reported_at_its_place() -> None:
    text = (
        '[colony]\nname = "a"\nenv.A = "{port}"\n'
        '[services.worker]\ncommand = ["work", "{port}"]\nready.exec = "{port}"\n'
        '[terminal]\ncommand = "{service}"\n'
    )
    with pytest.raises(ConfigError) as caught:
        config.parse(text)
    assert [(each.line, each.message, each.help) for each in caught.value.problems] == [
        (
            3,
            "{port} stands for nothing in [colony]: it has none",
            "known here: {colony}; or {{port}} if {port} itself is meant",
        ),
        (
            5,
            "{port} stands for nothing in [services.worker]: it has none",
            "give it a port, or {{port}} if {port} itself is meant",
        ),
        (
            6,
            "{port} stands for nothing in [services.worker]: it has none",
            "give it a port, or {{port}} if {port} itself is meant",
        ),
        (
            8,
            "{service} stands for nothing in [terminal]: it has none",
            "known here: {colony}; or {{service}} if {service} itself is meant",
        ),
    ]


# Variables.


@pytest.mark.parametrize(
    ("text", "is_"),
    [
        ("${HOME}/x", "/root/x"),
        ("${NONE:-fallback}", "fallback"),
        ("${NONE:-}", ""),
        ("${EMPTY:-fallback}", "fallback"),
        ("${EMPTY}", ""),
        ("${HOME:-fallback}", "/root"),
        ("$${HOME}", "${HOME}"),
        ("$HOME ${1} ${} ${a b} ${x:+y} $", "$HOME ${1} ${} ${a b} ${x:+y} $"),
        ("${ODD}", "${HOME}"),
    ],
)
def test_variables(text: str, is_: str) -> None:
    env = {"HOME": "/root", "EMPTY": "", "ODD": "${HOME}"}
    assert expand(text, env, "it") == is_


def test_a_variable_that_is_not_set() -> None:
    with pytest.raises(Unset) as caught:
        resolved({"URL": "http://${HOST}/"}, {})
    assert str(caught.value) == (
        "URL needs the variable HOST, which is not set: set it before Colony is started, or write "
        "${HOST:-a default}"
    )


def test_a_layer_sees_those_beneath_and_what_stands_above_in_itself() -> None:
    layers = (
        {"PATH": "${PATH}:/colony", "HOST": "db", "URL": "http://${HOST}", "LATE": "${SOON}"},
        {"PATH": "/service:${PATH}", "SOON": "now", "API": "${URL}/api", "KEEP": "$${URL}"},
    )
    over = merged(*layers)
    assert over["PATH"] == "/service:${PATH}:/colony"
    assert resolved(over, {"PATH": "/bin", "SOON": "before"}) == {
        "PATH": "/service:/bin:/colony",
        "HOST": "db",
        "URL": "http://db",
        "LATE": "before",
        "SOON": "now",
        "API": "http://db/api",
        "KEEP": "${URL}",
    }


def test_the_environment_of_a_service() -> None:
    read = config.parse(
        '[colony]\nname = "a"\nenv = { HOST = "db" }\n'
        '[services.web]\ncommand = "x"\nenv = { URL = "${HOST}:${PORT}" }\n'
    )
    assert read.environment(read.services["web"]) == {"HOST": "db", "URL": "db:${PORT}"}


def test_arguments_are_filled_and_a_shell_line_is_the_shells() -> None:
    env = {"PORT": "3000"}
    assert arguments(["serve", "${PORT}"], env) == ("serve", "3000")
    assert arguments(["/bin/sh", "-c", "serve ${PORT}"], env) == ("/bin/sh", "-c", "serve ${PORT}")
