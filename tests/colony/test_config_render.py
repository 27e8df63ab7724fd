"""Problems as text and as data: whole outputs."""

from __future__ import annotations

import json
import textwrap

import pytest

from colony import config
from colony.config import ConfigError, Place, Problem


def shown(text: str, *, color: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        config.parse(textwrap.dedent(text), workspace="/nonexistent/app")
    return config.render(caught.value.problems, color=color)


def test_a_misspelt_key() -> None:
    assert shown(
        """\
            [colony]
            name = "hello-colony"
            [services.web]
            comand = "python3 -m http.server 4001"
            port = 4001
            """
    ) == textwrap.dedent(
        """\
            error: unknown key `comand` in [services.web]
             --> colony.toml:4:1
              |
            4 | comand = "python3 -m http.server 4001"
              | ^^^^^^
              = help: did you mean `command`?"""
    )


def test_a_port_used_twice_has_two_carets_and_wide_numbers() -> None:
    text = '[services.web]\ncommand = "x"\nport = 3000\n' + "#\n" * 8
    text += '[services.api]\ncommand = "x"\nport = 3000\n'
    assert shown(text) == textwrap.dedent(
        """\
        error: services `web` and `api` cannot both have port 3000
          --> colony.toml:14:8
           |
         3 | port = 3000
           |        ---- `web` has it here
        ...
        14 | port = 3000
           |        ^^^^
           = help: give one of them another port: a colony's services share its localhost"""
    )


def test_two_places_on_one_line() -> None:
    assert shown("a = { b = 1, b = 2 }") == textwrap.dedent(
        """\
        error: `a.b` has been given a value before
         --> colony.toml:1:14
          |
        1 | a = { b = 1, b = 2 }
          |       - first here
          |              ^
          = help: keep one of the two"""
    )


def test_a_problem_without_a_place_and_a_help_of_several_lines() -> None:
    assert shown("") == textwrap.dedent(
        """\
        error: the file describes no service
         --> colony.toml
          = help: write one:
              [services.web]
              command = "python3 -m http.server 4001"
              port = 4001"""
    )


def test_several_problems_have_an_empty_line_between_them() -> None:
    assert shown("[services.a]\ncommand = ''\n[services.b]\ncommand = ''\n").count("\n\n") == 1
    assert config.render([]) == ""


def test_the_caret_stays_in_place_behind_tabs_and_wide_characters() -> None:
    text = '[services.w]\ncommand = "x"\nenv = { "日本e\u0301" = "",\tB = true }\n'
    assert shown(text).splitlines()[3:5] == [
        '3 | env = { "日本e\u0301" = "",    B = true }',
        "  |" + " " * 30 + "^^^^",
    ]


def test_a_wide_value_has_a_wide_mark() -> None:
    assert shown('[colony]\nname = "日本"\n[services]\n[terminal]\n').splitlines()[4] == (
        "  |        ^^^^^^"
    )


def test_of_a_long_line_the_part_around_the_caret_is_shown() -> None:
    text = (
        f'[services.w]\ncommand = "x"\nenv = {{ A = "{"a" * 500}", B = true, C = "{"c" * 500}" }}\n'
    )
    line, marks = shown(text).splitlines()[3:5]
    assert line.startswith("3 | …aaaa")
    assert line.endswith("cccc…")
    assert line[marks.index("^") : marks.rindex("^") + 1] == "true"
    assert len(line) < 180


def test_nothing_in_the_file_reaches_the_terminal_as_a_control() -> None:
    text = "[services.w]\ncommand = 'x'\n# \x1b[31m\u202e\n"
    assert shown(text).splitlines()[3] == "3 | # \ufffd[31m\ufffd"
    problem = Problem(message="a\x1bb", path="c\x07.toml", help="d\u2028e")
    assert config.render([problem]) == "error: a\ufffdb\n --> c\ufffd.toml\n  = help: d\n      e"


def test_colours_add_nothing_but_colours() -> None:
    text = '[services.web]\ncomand = "x"\nport = 1\n'
    colored = shown(text, color=True)
    assert colored.splitlines()[0] == (
        "\x1b[1;31merror\x1b[0m\x1b[1m: unknown key `comand` in [services.web]\x1b[0m"
    )
    for style in ("\x1b[1;31m", "\x1b[1;34m", "\x1b[1m", "\x1b[0m"):
        colored = colored.replace(style, "")
    assert colored == shown(text)


def test_warnings_and_notes_say_so() -> None:
    read = config.parse("[colony.ports]\nweb = 3000\n", workspace="/nonexistent/app")
    assert [line.split(":")[0] for line in config.render(read.warnings).split("\n\n")] == [
        "warning",
        "note",
    ]


def test_as_data() -> None:
    place = Place(line=2, column=8, length=4, source="port = 3000")
    other = Place(line=1, column=1, length=2, source="ab", label="here")
    problem = Problem(message="m", path="p", place=place, key="a.b", help="h", related=(other,))
    data = config.as_data([problem, Problem(message="n", path="p", severity="note")])
    assert json.loads(json.dumps(data)) == [
        {
            "severity": "error",
            "message": "m",
            "help": "h",
            "key": "a.b",
            "path": "p",
            "line": 2,
            "column": 8,
            "length": 4,
            "source": "port = 3000",
            "related": [{"line": 1, "column": 1, "length": 2, "source": "ab", "label": "here"}],
        },
        {
            "severity": "note",
            "message": "n",
            "help": "",
            "key": "",
            "path": "p",
            "line": None,
            "column": None,
            "length": None,
            "source": None,
            "related": [],
        },
    ]
