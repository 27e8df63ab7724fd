"""What `apply` would do."""

from __future__ import annotations

from colony.api.diff import same, steps
from colony.api.types import Step
from colony.config import Config, parse

BASE = '[colony]\nname = "app"\n[services.web]\ncommand = "serve"\nport = 3000\n'


def made(text: str) -> Config:
    return parse(text, "/nowhere/colony.toml", workspace="/nowhere")


def diff(new: str, old: str = BASE) -> tuple[Step, ...]:
    return steps(made(old), made(new))


def test_equal_files_need_nothing() -> None:
    assert diff(BASE + "# a comment\n") == ()
    assert same(made(BASE), made(BASE))


def test_services_come_and_go() -> None:
    more = BASE + '[services.api]\ncommand = "x"\n'
    assert diff(more) == (Step("add", "api", "it is new in the file"),)
    assert diff(BASE, more) == (Step("remove", "api", "it is not in the file any more"),)


def test_a_service_restarts_because_of_what_differs() -> None:
    [step] = diff(BASE.replace("3000", "3001").replace("serve", "serve -v"))
    assert step == Step(
        "restart",
        "web",
        "command changed from `serve` to `serve -v`, port changed from `3000` to `3001`",
    )


def test_the_values_of_an_environment_are_not_shown() -> None:
    secret = BASE + '[services.web.env]\nTOKEN = "hunter2"\n'
    [step] = diff(secret)
    assert step == Step("restart", "web", "env changed")


def test_what_all_share_restarts_the_colony() -> None:
    [step] = diff(BASE + "[supervision]\nintensity = 9\n")
    assert step == Step("restart_colony", None, "[supervision] intensity changed from `5` to `9`")


def test_a_description_is_for_people() -> None:
    assert diff(BASE.replace('"app"\n', '"app"\ndescription = "mine"\n')) == ()


def test_another_folder_is_another_colony() -> None:
    other = parse(BASE, "/elsewhere/colony.toml", workspace="/elsewhere")
    assert not same(made(BASE), other)
