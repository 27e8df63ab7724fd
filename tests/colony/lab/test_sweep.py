"""A policy in many variants: how a sweep is read, and what it makes of a colony.toml."""

from __future__ import annotations

import pytest

from colony.config import ConfigError
from colony.lab.sweep import MOST, Point, Sweep, SweepError, parse_sweep, points, with_value

FILE = """\
[colony]
name = "shop"
[services.web]
command = "true"   # the front
backoff = { min = "1s" }
[services.api]
command = "true"
backoff.min = "2s"
[services.db]
command = "true"
"""


def made(*sweeps: str, text: str = FILE) -> list[Point]:
    return points(text, "colony.toml", [parse_sweep(each) for each in sweeps])


def refused(*sweeps: str) -> tuple[str, str]:
    with pytest.raises(SweepError) as caught:
        made(*sweeps)
    return str(caught.value), caught.value.help


# -- reading -------------------------------------------------------------------------------------


def test_a_sweep_is_a_key_and_its_values() -> None:
    sweep = parse_sweep("services.web.backoff.max=1s,5s, 30s")
    assert sweep == Sweep("services.web.backoff.max", ("1s", "5s", "30s"))
    assert str(sweep) == "services.web.backoff.max=1s,5s,30s"


def test_commas_inside_quotes_and_brackets_are_the_values() -> None:
    assert parse_sweep('a.b="x,y",[1, 2],{ c = 1, d = 2 }').values == (
        '"x,y"',
        "[1, 2]",
        "{ c = 1, d = 2 }",
    )


@pytest.mark.parametrize("text", ["", "=", "services.web.port", "a..b=1", ".=1"])
def test_what_is_no_sweep_is_refused(text: str) -> None:
    with pytest.raises(SweepError, match="KEY=VALUE,VALUE") as caught:
        parse_sweep(text)
    assert str(caught.value).endswith(f"got {text!r}")


@pytest.mark.parametrize("text", ["a=", "a=1,", "a=,1"])
def test_an_empty_value_is_refused(text: str) -> None:
    with pytest.raises(SweepError, match="a value is empty"):
        parse_sweep(text)


def test_a_value_stands_there_once() -> None:
    with pytest.raises(SweepError, match="the value 1s stands there twice"):
        parse_sweep("a=1s,2s,1s")


# -- making --------------------------------------------------------------------------------------


def test_each_value_makes_a_configuration() -> None:
    found = made("services.web.backoff.max=1s,5s,30s")
    assert [point.settings for point in found] == [
        (("services.web.backoff.max", value),) for value in ("1s", "5s", "30s")
    ]
    assert [point.config.services["web"].backoff.max for point in found] == [1.0, 5.0, 30.0]
    assert [str(point) for point in found] == ["max=1s", "max=5s", "max=30s"]


def test_several_sweeps_are_combined_the_last_one_varying_fastest() -> None:
    found = made("supervision.strategy=one_for_one,one_for_all", "supervision.intensity=1,2")
    assert [(p.config.supervision.strategy, p.config.supervision.intensity) for p in found] == [
        ("one_for_one", 1),
        ("one_for_one", 2),
        ("one_for_all", 1),
        ("one_for_all", 2),
    ]


def test_no_sweep_is_the_file_itself() -> None:
    assert [point.settings for point in made()] == [()]


@pytest.mark.parametrize("service", ["web", "api", "db"])
def test_a_table_may_be_written_in_any_way(service: str) -> None:
    [point] = made(f"services.{service}.backoff.max=7s")
    assert point.config.services[service].backoff.max == 7.0
    others = [each.backoff.max for each in point.config.services.values() if each.name != service]
    assert others == [30.0, 30.0]


def test_all_else_in_the_text_stays() -> None:
    assert with_value(FILE, "services.db.restart", "never") == FILE + 'restart = "never"\n'


@pytest.mark.parametrize(
    ("value", "toml"), [("5s", '"5s"'), ("3", "3"), ("true", "true"), ("[1, 2]", "[1, 2]")]
)
def test_a_value_is_toml_or_a_text(value: str, toml: str) -> None:
    assert with_value("", "key", value) == f"key = {toml}\n"


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sweep", "message", "help"),
    [
        ("services.wbe.port=4001", ".port: there is no service 'wbe'", "did you mean `web`?"),
        (
            "services.web.backof.max=1s",
            ".max=1s: unknown key `backof` in [services.web]",
            "did you mean `backoff`?",
        ),
        (
            "services.web.backoff.mx=1s",
            ".mx=1s: unknown key `mx` in [services.web.backoff]",
            "did you mean `max`?",
        ),
        (
            "supervision.intensity=3,-1",
            "=-1: `intensity` in [supervision] must be a whole number from 0 to 1000000: "
            "got the integer -1",
            "",
        ),
        (
            "supervision.strategy=one_for_al",
            "=one_for_al: `strategy` in [supervision] must be one of one_for_one, rest_for_one, "
            'one_for_all: got "one_for_al"',
            "did you mean `one_for_all`?",
        ),
        ("services.web.command.x=1", ".x: command is no table", ""),
    ],
)
def test_a_bad_sweep_has_the_error_of_the_file(sweep: str, message: str, help: str) -> None:
    text, advice = refused(sweep)
    assert text.startswith("--sweep ")
    assert text.endswith(message)
    assert advice == help


def test_a_key_is_swept_once() -> None:
    text, _ = refused("supervision.intensity=1", "supervision.intensity=2")
    assert text.startswith("--sweep supervision.intensity: the key is swept twice")


def test_the_number_of_combinations_is_bounded() -> None:
    values = ",".join(str(number) for number in range(MOST + 1))
    text, _ = refused(f"supervision.intensity={values}")
    assert text == f"the sweeps have {MOST + 1} combinations; at most {MOST} are tried at once"


def test_a_bad_file_has_its_own_error() -> None:
    with pytest.raises(ConfigError):
        made("supervision.intensity=1", text="[colony\n")
