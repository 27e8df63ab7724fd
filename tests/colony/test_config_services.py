"""What colony.toml says of services: when they start, how they are asked, restarted and ended."""

from __future__ import annotations

import os
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony import config
from colony.config import ConfigError
from colony.config.order import cycle, in_order
from colony.config.schema import BackoffRule, Health, Ready, Service, Stop
from colony.services.plan import Probe
from colony.services.specs import FirstAtOnce, health_probe, ready_probe


def load(text: str) -> dict[str, Service]:
    return config.parse(f'[colony]\nname = "app"\n{text}').services


def web(lines: str, port: bool = True) -> Service:
    has_port = "port = 4001\n" if port else ""
    return load(f'[services.web]\ncommand = "x"\n{has_port}{lines}\n')["web"]


def problems(text: str) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        load(text)
    return [(problem.message, problem.help) for problem in caught.value.problems]


def problem(lines: str, port: bool = True) -> tuple[str, str]:
    has_port = "port = 4001\n" if port else ""
    [only] = problems(f'[services.web]\ncommand = "x"\n{has_port}{lines}\n')
    return only


# Values.


def test_the_defaults() -> None:
    service = web("")
    assert service.after == {}
    assert service.env_file == ()
    assert service.ready == Ready()
    assert service.health is None
    assert service.backoff == BackoffRule(min=0.5, max=30.0, factor=2.0, reset=10.0)
    assert service.stop == Stop(signal=15, grace=5.0, command=None)
    assert (service.pty, service.exit_colony) == (False, False)


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ('after = "db"', {"db": "ready"}),
        ('after = ["db", "x"]', {"db": "ready", "x": "ready"}),
        ('after = { db = "started", x = "completed" }', {"db": "started", "x": "completed"}),
    ],
)
def test_after(line: str, after: dict[str, str]) -> None:
    others = '[services.db]\ncommand="x"\n[services.x]\ncommand="x"\nrestart="transient"\n'
    assert load(f'{others}[services.web]\ncommand = "x"\n{line}\n')["web"].after == after


@pytest.mark.parametrize(
    ("line", "probe"),
    [
        ("", Probe("tcp", port=4001)),
        ('ready = "tcp"', Probe("tcp", port=4001)),
        ('ready = "none"', Probe("none")),
        ('ready = "notify"', Probe("notify")),
        ('ready = "/up"', Probe("http", port=4001, path="/up")),
        ("ready = { tcp = 5001 }", Probe("tcp", port=5001)),
        ('ready = { http = "/", port = 5001 }', Probe("http", port=5001)),
        ('ready = { exec = "true" }', Probe("exec", argv=("/bin/sh", "-c", "true"))),
        ('ready = { exec = ["true"] }', Probe("exec", argv=("true",))),
        ('ready = { log = "up" }', Probe("log", pattern="up")),
        (
            'ready = { deadline = "1m", interval = "100ms", timeout = 2 }',
            Probe("tcp", port=4001, deadline=60.0, interval=0.1, timeout=2.0),
        ),
    ],
)
def test_ready(line: str, probe: Probe) -> None:
    assert ready_probe(web(line)) == probe


def test_a_service_without_a_port_is_ready_as_soon_as_it_runs() -> None:
    assert ready_probe(web("", port=False)) == Probe("none")


@pytest.mark.parametrize(
    ("line", "probe"),
    [
        ("health = {}", Probe("tcp", port=4001, interval=10.0)),
        (
            'health = { http = "/up", interval = 1, timeout = 2, failures = 4 }',
            Probe("http", port=4001, path="/up", interval=1.0, timeout=2.0, failures=4),
        ),
        ("health = { notify = true }", Probe("notify", interval=10.0)),
    ],
)
def test_health(line: str, probe: Probe) -> None:
    service = web(line)
    assert isinstance(service.health, Health)
    assert health_probe(service, service.health) == probe


@pytest.mark.parametrize(
    ("value", "number"),
    [('"SIGINT"', 2), ('"int"', 2), ('"Quit"', 3), ("1", 1), ('"SIGKILL"', 9)],
)
def test_a_signal_by_its_name_or_number(value: str, number: int) -> None:
    assert web(f"stop = {{ signal = {value} }}").stop.signal == number == signal.Signals(number)


def test_files_of_variables_are_absolute_once_loaded(tmp_path: Path) -> None:
    (tmp_path / ".env").touch()
    file = tmp_path / "colony.toml"
    file.write_text('[services.web]\ncommand = "x"\nenv_file = [".env"]\n')
    assert config.load(file).services["web"].env_file == (f"{tmp_path.resolve()}/.env",)


# Refusals.


@pytest.mark.parametrize(
    ("line", "message", "help"),
    [
        (
            "after = 3",
            "`after` in [services.web] must be a list of services or a table of conditions: "
            "got the integer 3",
            'as in ["db"], or { db = "ready", migrate = "completed" }',
        ),
        ('after = "web"', "service `web` cannot be after itself", ""),
        (
            'after = "dv"',
            '`after` in [services.web] names no service of the file: "dv"',
            "there are no others",
        ),
        (
            'after = { db = "redy" }',
            '`after` in [services.web] must have one of started, ready, completed for "db": '
            'got the string "redy"',
            "did you mean `ready`?",
        ),
        (
            'ready = "http"',
            "`ready` in [services.web] must be tcp, notify, none, a path, or a table: "
            'got the string "http"',
            'as in "tcp", "/health", or { log = "listening on", deadline = "60s" }',
        ),
        (
            'ready = { tcp = true, log = "x" }',
            "[services.web.ready] asks in 2 ways, and one is allowed: tcp, log",
            "remove all but one",
        ),
        (
            'ready = { log = "(" }',
            '`log` in [services.web.ready] must be a regular expression: missing ): (: got "("',
            "",
        ),
        (
            "health = { failures = 0 }",
            "`failures` in [services.web.health] must be 1 or more: got 0",
            "",
        ),
        (
            'stop = { signal = "SIGTREM" }',
            '`signal` in [services.web.stop] must be a signal: got the string "SIGTREM"',
            "did you mean `SIGTERM`?",
        ),
        (
            "stop = { signal = 99 }",
            "`signal` in [services.web.stop] must be a signal: got the integer 99",
            "as in SIGTERM, SIGINT, SIGQUIT; or a number, 1 to 31 or 34 to 64",
        ),
        (
            'stop = { signal = "STOP" }',
            "`signal` in [services.web.stop] must be a signal that ends a process: "
            'got the string "STOP"',
            "",
        ),
        (
            'pty = "true"',
            '`pty` in [services.web] must be true or false: got the string "true"',
            "write it without quotes: true",
        ),
        (
            "exit_colony = true",
            "service `web` has exit_colony, and restart permanent, with which it is restarted "
            "whenever it ends",
            'write restart = "transient" or "temporary" beside it',
        ),
        (
            "backoff = { min = 5, max = 1 }",
            "`max` in [services.web.backoff] must not be less than `min`: 1 s < 5 s",
            "",
        ),
        (
            "backoff = { factor = 0.5 }",
            "`factor` in [services.web.backoff] must be a number from 1 to 100: got the float 0.5",
            "",
        ),
        (
            "backoff = { jitter = 2 }",
            "`jitter` in [services.web.backoff] must be a number from 0 to 1: got the integer 2",
            "",
        ),
        (
            'depends_on = ["db"]',
            "unknown key `depends_on` in [services.web]",
            "did you mean `after`?",
        ),
        (
            "healthcheck = {}",
            "unknown key `healthcheck` in [services.web]",
            "did you mean `health`?",
        ),
        (
            'env_file = "../secrets"',
            "`env_file` in [services.web] leads out of the colony's folder: "
            f'"../secrets" is {Path.cwd().resolve().parent}/secrets',
            f"stay inside {Path.cwd().resolve()}",
        ),
        (
            'env_file = "none-such.env"',
            "`env_file` in [services.web] does not exist: "
            f'"none-such.env" in {Path.cwd().resolve()}',
            "",
        ),
    ],
)
def test_a_line_that_is_refused(line: str, message: str, help: str) -> None:
    assert problem(line) == (message, help)


def test_an_env_file_has_to_be_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "nowhere").symlink_to("none-such")
    file = tmp_path / "colony.toml"
    file.write_text(
        '[services.web]\ncommand = "x"\nenv_file = ["folder", "pipe", "circle", "nowhere"]\n'
    )
    with pytest.raises(config.ConfigError) as refused:
        config.load(file)
    assert [each.message for each in refused.value.problems] == [
        f'`env_file` in [services.web] {wrong}: "{name}" in {tmp_path.resolve()}'
        for name, wrong in (
            ("folder", "must be a file, and is a folder"),
            ("pipe", "must be a plain file"),
            ("circle", "is a link in a circle"),
            ("nowhere", "does not exist"),
        )
    ]


def test_a_probe_of_a_port_needs_one() -> None:
    assert problem('ready = "/up"', port=False) == (
        "[services.web.ready] asks a port, and service `web` has none",
        "write port = … in [services.web]",
    )


def test_a_services_terminal_takes_no_sessions_name() -> None:
    for name in ("terminal", "17"):
        assert problems(f'[services.{name}]\ncommand = "x"\npty = true') == [
            (
                f"service `{name}` cannot have a terminal: a terminal called {name} is a session",
                "give the service another name, or remove pty",
            )
        ]


def test_waiting_for_the_end_of_what_never_ends_is_refused() -> None:
    text = (
        '[services.web]\ncommand = "x"\nafter = { db = "completed" }\n[services.db]\ncommand = "x"'
    )
    assert problems(text) == [
        (
            "`web` waits until `db` has completed, which it never will: it is restarted whenever "
            "it ends",
            'write restart = "transient" in [services.db]',
        )
    ]


def test_a_cycle_is_shown_as_one() -> None:
    text = "".join(
        f'[services.{name}]\ncommand = "x"\nafter = ["{other}"]\n'
        for name, other in (("a", "b"), ("b", "c"), ("c", "b"))
    )
    assert problems(text) == [
        (
            "these services wait for each other, so that none can start: b → c → b "
            "(each is after the next)",
            "remove one of these",
        )
    ]


# The order.

GRAPHS = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefg")))


def test_the_order_is_the_files_unless_a_service_comes_after_a_later_one() -> None:
    assert in_order({"a": [], "b": [], "c": []}) == ["a", "b", "c"]
    assert in_order({"a": ["c"], "b": [], "c": []}) == ["c", "a", "b"]
    assert in_order({"a": ["b"], "b": ["c", "d"], "c": ["d"], "d": []}) == ["d", "c", "b", "a"]


@given(GRAPHS)
def test_every_name_is_in_the_order_once_and_behind_what_it_is_after(
    after: dict[str, list[str]],
) -> None:
    order = in_order(after)
    assert sorted(order) == sorted(after)
    if not cycle(after):
        for name, others in after.items():
            for other in others:
                assert other not in after or order.index(other) < order.index(name)


@given(GRAPHS)
def test_a_cycle_is_a_way_back_to_where_it_began(after: dict[str, list[str]]) -> None:
    found = cycle(after)
    assert not found or found[0] == found[-1]
    for name, other in pairwise(found):
        assert other in after[name]


# Backoff.


def test_the_first_restart_is_at_once_and_the_delays_begin_with_the_second() -> None:
    backoff = FirstAtOnce(0.5, 30.0, 2.0, jitter=0.1)
    delays = [backoff.delay(attempt, 0.0) for attempt in range(1, 10)]
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert backoff.delay(2, 1.0) == 0.55


def test_a_plan_does_not_show_the_environment() -> None:
    from colony.services.plan import ServicePlan

    values: dict[str, Any] = {"env": {"SECRET": "hunter2"}, "env_over": {"S": "hunter2"}}
    plan = ServicePlan("app", "web", ("x",), "/", port=None, instance="0", isolated=False, **values)
    assert "hunter2" not in repr(plan)
    assert msgspec.structs.replace(plan, service="api").service == "api"
