"""Environment files: what is read, and what is refused in which words."""

from __future__ import annotations

from pathlib import Path

import pytest

from colony import config
from colony.environment import (
    EnvFileError,
    parse_env,
    read_env_files,
    service_environment,
    variable_name,
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("A=1", "1"),
        ("A = 1 ", "1"),
        ("export A=1", "1"),
        ("A=", ""),
        ("A=''", ""),
        ("A=a b", "a b"),
        ("A=a # said", "a"),
        ("A=a#b", "a#b"),
        ("A='a # b'", "a # b"),
        ('A="a # b" # c', "a # b"),
        (r"A='a\nb'", r"a\nb"),
        (r'A="a\nb\t\"c\" \\ \$D"', 'a\nb\t"c" \\ $D'),
        ("A=$B", "$B"),
        ("A=https://x/?a=b&c=d", "https://x/?a=b&c=d"),
        ("A=ü", "ü"),
        ("# A=2\n\nA=1\n# A=3", "1"),
        ("A=2\nA=1", "1"),
        ("A=1\r\n", "1"),
        ("\t A=1\r\n\r\n", "1"),
        ('A="a"#b', "a"),
        ('A="-----BEGIN\r\nx y # z\n-----END"  # c', "-----BEGIN\nx y # z\n-----END"),
        ("A='a\n\nb'\n", "a\n\nb"),
        ("A=a\u2028b\x0cc", "a\u2028b\x0cc"),
        ('A={"a": 1}', '{"a": 1}'),
    ],
)
def test_what_a_line_means(text: str, value: str) -> None:
    assert parse_env(text) == {"A": value}


@pytest.mark.parametrize("line", ["A", "1A=2", "=1", 'A="x" y', "A B=1"])
def test_a_line_that_is_none_is_named_by_its_number_and_not_shown(line: str) -> None:
    with pytest.raises(EnvFileError) as refused:
        parse_env(f"OK=1\n{line}\n", "a/.env")
    assert str(refused.value) == "env_file a/.env, line 2 is not of the form NAME=value"


@pytest.mark.parametrize("line", ["A='x", 'A="x', "A='x\ny", "export A = 'it", "A='x\nB='y'"])
def test_a_quote_that_is_not_closed_is_named(line: str) -> None:
    with pytest.raises(EnvFileError) as refused:
        parse_env(f"OK=1\n{line}\n", "a/.env")
    quote = '"' if '"' in line else "'"
    assert str(refused.value) == f"env_file a/.env, line 2 opens a {quote} that is not closed"


def test_what_no_process_can_be_given_is_refused_where_it_stands() -> None:
    with pytest.raises(EnvFileError) as refused:
        parse_env("OK='1\n2'\nA=x\0y\n", "a/.env")
    assert str(refused.value) == "env_file a/.env, line 3 holds a NUL character"


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    file = tmp_path / "windows.env"
    file.write_bytes(b"\xef\xbb\xbfA=1\r\nB=2\r\n")
    assert read_env_files([str(file)]) == {"A": "1", "B": "2"}


def test_later_files_win_and_a_missing_one_is_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("A=1\nB=1\n")
    two.write_text("B=2\n")
    assert read_env_files([str(one), str(two)]) == {"A": "1", "B": "2"}
    with pytest.raises(EnvFileError) as refused:
        read_env_files([str(tmp_path / "three")])
    assert str(refused.value) == (
        f"env_file {tmp_path}/three cannot be read: No such file or directory"
    )


def test_a_services_name_in_a_variables() -> None:
    assert variable_name("api-v2") == "API_V2"


def test_a_service_with_a_terminal_is_told_of_that_and_another_of_what_colony_has(
    tmp_path: Path,
) -> None:
    """Colony may have been started where there is none, or in one of its own kind."""
    file = tmp_path / "colony.toml"
    file.write_text(
        '[colony]\nname = "x"\n[services.web]\ncommand = "a"\npty = true\n'
        '[services.job]\ncommand = "b"\n'
    )
    loaded = config.load(file)
    known = {"TERM", "COLORTERM", "LANG", "LC_ALL", "COLUMNS"}

    def told(service: str, outside: dict[str, str]) -> dict[str, str]:
        env = service_environment(outside, loaded, loaded.services[service], {})
        return {name: value for name, value in env.items() if name in known}

    outside = {"TERM": "dumb", "LC_ALL": "C", "COLUMNS": "9"}
    own = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    assert (told("web", {}), told("job", {})) == (own, {})
    assert (told("web", outside), told("job", outside)) == (own, outside)
    assert told("web", {"LANG": "de_DE.UTF-8"}) == own | {"LANG": "de_DE.UTF-8"}
