"""What `config.load` says of whole files: tables, what must fit together, folders, syntax."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from colony import config
from colony.config import Config, ConfigError
from colony.config.fields import HOMES, SYNONYMS, TABLES
from tests.colony.configs import MINIMAL, parse, pointed, problem, problems, service

# Tables.


@pytest.mark.parametrize(
    ("text", "message", "help", "at"),
    [
        ("[service.web]\n", "unknown table [service]", "did you mean `services`?", "service"),
        (
            '[frontend]\ncommand = "x"\n',
            "unknown table [frontend]",
            "a service is written as [services.frontend]",
            "frontend",
        ),
        ('name = "x"\n', "unknown key `name`", "`name` belongs in [colony]", "name"),
        ("port = 3000\n", "unknown key `port`", "`port` belongs in [services.NAME]", "port"),
        (
            "zzz = 1\n",
            "unknown key `zzz`",
            "known here: colony, services, terminal, supervision, network",
            "zzz",
        ),
        (
            'services = "x"\n',
            '[services] must be a table: got the string "x"',
            "write a table [services]",
            '"x"',
        ),
        (
            'services.web = "npm run dev"\n',
            '[services.web] must be a table: got the string "npm run dev"',
            "write a table [services.web] with a `command`",
            '"npm run dev"',
        ),
        (
            '[[services.web]]\ncommand = "x"\n',
            "[services.web] must be a table: got an array",
            "write [services.web] with single brackets",
            "web",
        ),
        (
            '[colony]\nname = "x"\nstrategy = "one_for_one"\n',
            "unknown key `strategy` in [colony]",
            "did you mean `restart_strategy`?",
            "strategy",
        ),
        (
            '[colony]\nname = "x"\ntemplate = "Web App"\n',
            "`template` in [colony] must be lower-case letters, digits and hyphens, with no hyphen "
            'at either end: got "Web App"',
            "for example `web-app`",
            '"Web App"',
        ),
        (
            '[colony]\nname = "x"\nrestart_strategy = "one-for-one"\n',
            "`restart_strategy` in [colony] must be one of one_for_one, rest_for_one, "
            'one_for_all: got "one-for-one"',
            "did you mean `one_for_one`?",
            '"one-for-one"',
        ),
        (
            "[supervision]\nintensity = -1\n",
            "`intensity` in [supervision] must be a whole number from 0 to 1000000: "
            "got the integer -1",
            "",
            "-1",
        ),
        (
            "[supervision]\nperiod = 0\n",
            "`period` in [supervision] must be from 0.001 to 86400 seconds: got the integer 0",
            "",
            "0",
        ),
        (
            '[network]\nports = ["80:80/sctp"]\n',
            "`ports` in [network] has a bad port, number 1: a port's protocol is tcp or udp, "
            "got: 'sctp'",
            'as in ["8080:8080", "53:53/udp", "0.0.0.0:443:443"]',
            '"80:80/sctp"',
        ),
        (
            '[network]\nports = [\n  "80:80",\n  "80:81",\n]\n',
            "`ports` in [network] has one port of the host twice: 80:80 and 80:81",
            "",
            '"80:81"',
        ),
        (
            '[network]\nhostname = "localhost"\n',
            "`hostname` in [network] must not be localhost: that is each colony's name for itself",
            "",
            '"localhost"',
        ),
        (
            '[network.policy.egress]\nallow = ["a.b:1", "*:443"]\n',
            "`allow` in [network.policy.egress] must be a list of destinations: number 2 is none: "
            "'*' is no host name; every address is 0.0.0.0/0; a destination is HOST:PORT or "
            "NETWORK/BITS:PORT; PORT may be * for every one, got: '*:443'",
            "",
            '"*:443"',
        ),
        (
            '[network.policy.egress]\nallow = ["*.example.com:443"]\n',
            "`allow` in [network.policy.egress] has *.example.com:443, and egress is nat: names "
            "that nobody can list cannot be looked up",
            'set egress = "proxy" in [network], or write the names themselves',
            '["*.example.com:443"]',
        ),
        (
            "[colony.environment]\nnode_version = 22\n",
            "`node_version` in [colony.environment] must be a string: got the integer 22",
            'put it in quotes: "22"',
            "22",
        ),
        (
            '[colony.environment]\npackage_manager = "pnmp"\n',
            "`package_manager` in [colony.environment] must be one of npm, yarn, pnpm, bun: "
            'got "pnmp"',
            "did you mean `pnpm`?",
            '"pnmp"',
        ),
        (
            '[terminal]\nshell = "zsh"\n',
            "unknown key `shell` in [terminal]",
            "known here: command, env",
            "shell",
        ),
    ],
)
def test_a_bad_table(text: str, message: str, help: str, at: str, tmp_path: Path) -> None:
    complete = text if "services" in text or "[service." in text else text + "[services]\n"
    if "[terminal]" not in complete:
        complete += "[terminal]\n"
    assert problem(complete, tmp_path) == (message, help, at)


@pytest.mark.parametrize("text", ["", "# nothing\n", "[services]\n", "[supervision]\n"])
def test_a_file_that_would_start_nothing(text: str) -> None:
    [found] = problems(text)
    assert found.message == "the file describes no service"
    assert found.help.splitlines()[1] == "[services.web]"


def test_all_problems_at_once_in_the_order_of_the_file() -> None:
    found = problems(
        '[network]\negress = "x"\n[colony]\nnme = "x"\n[services.a]\nport = 1\n'
        '[services.b]\ncommand = ""\ncwd = "/"\n[services.b.env]\nA = []\n'
    )
    assert [(one.key, one.line) for one in found] == [
        ("network.egress", 2),
        ("colony.nme", 4),
        ("services.a", 5),
        ("services.a.port", 6),
        ("services.b.command", 8),
        ("services.b.cwd", 9),
        ("services.b.env.A", 11),
    ]


# Between fields.


def test_the_two_words_for_the_strategy_must_agree() -> None:
    both = '{}[colony]\nname = "x"\nrestart_strategy = "one_for_all"\n[services.w]\ncommand = "x"'
    assert parse(both.format("")).supervision.strategy == "one_for_all"
    same = both.format('[supervision]\nstrategy = "one_for_all"\n')
    assert parse(same).supervision.strategy == "one_for_all"
    [found] = problems(both.format('[supervision]\nstrategy = "rest_for_one"\n'))
    assert found.message == (
        "`strategy` is rest_for_one, and `restart_strategy` in [colony], which means the same, "
        "is one_for_all"
    )
    assert (found.line, [place.line for place in found.related]) == (2, [5])


def test_old_ports_are_accepted_with_the_block_that_replaces_them() -> None:
    read = parse(
        '[colony]\nname = "x"\n[colony.ports]\nweb = 3000\napi = 8080\n'
        '[services.web]\ncommand = "x"\n'
    )
    assert read.colony.ports == {"web": 3000, "api": 8080}
    assert read.services["web"].port == 3000
    [warning] = read.warnings
    assert (warning.severity, warning.line, pointed(warning)) == ("warning", 3, "[colony.ports]")
    assert warning.message == "[colony.ports] is deprecated: a port belongs to its service"
    assert warning.help == (
        "write instead:\n[services.web]\n# as before, and\nport = 3000\n"
        '[services.api]\ncommand = "…"\nport = 8080'
    )


def test_old_ports_alone_and_inline() -> None:
    read = parse('[colony]\nname = "x"\nports = { web = 3000 }\n')
    assert read.services == {}
    assert pointed(read.warnings[0]) == "ports"


def test_old_ports_that_are_already_replaced() -> None:
    text = '[colony]\nname = "x"\nports.web = 3000\n[services.web]\ncommand = "x"\nport = 3000\n'
    assert parse(text).warnings[0].help == ("remove it: each service has its port already")


def test_old_ports_must_not_contradict_the_services() -> None:
    found = problems(
        '[colony]\nname = "x"\n[colony.ports]\nweb = 3000\napi = 4000\nold = 80\n'
        '[services.web]\ncommand = "x"\nport = 3001\n[services.other]\ncommand = "x"\nport = 4000'
    )
    assert [(one.line, one.message) for one in found] == [
        (6, "`old` in [colony.ports] must be a whole number from 1024 to 65535: got 80"),
        (9, "`web` has port 3001, and 3000 in the deprecated [colony.ports]"),
        (12, "services `api` and `other` cannot both have port 4000"),
    ]


# Where services run.


def test_a_cwd_inside_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    for cwd, expected in (
        ("a", "a"),
        ("./a/../a/b/", "a/b"),
        ("link", "a/b"),
        (str(tmp_path / "a"), "a"),
    ):
        read = parse(service(f'cwd = "{cwd}"'), tmp_path)
        assert read.services["web"].cwd == str(tmp_path / expected)
    read = parse(service('cwd = "."'), tmp_path)
    assert read.services["web"].cwd == str(tmp_path)


def test_a_workspace_that_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "real" / "a").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    read = parse(service('cwd = "a"'), tmp_path / "link")
    assert read.workspace == str(tmp_path / "real")
    assert read.services["web"].cwd == str(tmp_path / "real" / "a")


def test_a_cwd_that_leads_out(tmp_path: Path) -> None:
    inside = tmp_path / "app"
    inside.mkdir()
    (tmp_path / "app-2").mkdir()
    (inside / "out").symlink_to(tmp_path)
    for cwd, target in (
        ("..", tmp_path),
        ("../app-2", tmp_path / "app-2"),
        ("out", tmp_path),
        ("out/app-2", tmp_path / "app-2"),
        ("/", "/"),
    ):
        assert problem(service(f'cwd = "{cwd}"'), inside) == (
            f'`cwd` in [services.web] leads out of the colony\'s folder: "{cwd}" is {target}',
            f"stay inside {inside}",
            f'"{cwd}"',
        )


def test_a_cwd_that_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert problem(service('cwd = "file"'), tmp_path)[0] == (
        '`cwd` in [services.web] must be a folder: "file" is a file'
    )
    assert problem(service('cwd = "~/x"'), tmp_path)[0] == (
        f'`cwd` in [services.web] does not exist: "~/x" in {tmp_path}'
    )


def test_a_workspace_that_does_not_exist_is_not_searched(tmp_path: Path) -> None:
    read = parse(service('cwd = "a"'), tmp_path / "later")
    assert read.services["web"].cwd == str(tmp_path / "later" / "a")


# Files.


def refused(path: str | Path) -> tuple[str, str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    [only] = caught.value.problems
    assert only.place is None
    return only.message, only.help


def test_a_missing_file_and_what_may_have_been_meant(tmp_path: Path) -> None:
    hint = "a colony is described by a file colony.toml, with a [services.NAME] table or more"
    assert refused(tmp_path / "colony.toml") == ("there is no such file", hint)
    (tmp_path / "colony.toml").write_text(MINIMAL)
    assert refused(tmp_path / "colnoy.toml") == (
        "there is no such file",
        f"did you mean {tmp_path}/colony.toml?",
    )
    assert refused(tmp_path / "no" / "colony.toml") == (
        "there is no such file",
        f"there is no folder {tmp_path}/no either",
    )


def test_a_folder_names_the_file_in_it(tmp_path: Path) -> None:
    assert refused(tmp_path)[0] == "this is a folder, not a file"
    (tmp_path / "colony.toml").write_text(MINIMAL)
    assert refused(tmp_path)[1] == f"the file in it is {tmp_path}/colony.toml"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe")[0] == "this is a device or a pipe, not a file"
    assert refused("/dev/null")[0] == "this is a device or a pipe, not a file"


def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_text(MINIMAL)
    file.chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        message, help = refused(file)
    finally:
        os.seteuid(user)
    assert message == "this file may not be read by you"
    assert help == f"ls -l {file} shows who may"


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    assert refused("a\0b") == ("a file's name cannot hold a NUL character", "")
    assert refused(tmp_path / ("x" * 300)) == ("this file cannot be read: file name too long", "")


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_bytes(b"#" * (256 * 1024 + 1))
    assert refused(file) == ("the file is too large: more than 256 KiB", "")
    file.write_bytes(MINIMAL.encode() + b"#" * (256 * 1024 - len(MINIMAL)))
    assert config.load(file).name == "hello-colony"


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_bytes(b'[colony]\nname = "\xc3\xa9\xe9"\n')
    with pytest.raises(ConfigError) as caught:
        config.load(file)
    [only] = caught.value.problems
    assert only.message == "the file is not UTF-8: byte 0xe9 cannot stand here"
    assert (only.line, only.column, only.length) == (2, 10, 1)


# Syntax.


@pytest.mark.parametrize(
    ("text", "message", "line", "at"),
    [
        ("a = 1\ncommand = npm run dev\n", "there is no value here", 2, "npm"),
        ("command =\n", "there is no value here", 1, "="),
        ("command\n", "a key must be followed by `=` and a value", 1, "d"),
        ("a b = 1\n", "a key must be followed by `=` and a value", 1, "b"),
        ("a = 1 b = 2\n", "there is something left after the end of this line's value", 1, "b"),
        ('a = 1\nb = "x\nc = 2\n', "this string is not closed on its line", 2, "x"),
        ('a = "x', "this string is not closed", 1, '"x'),
        ('a = """x\n\n', "this string is not closed", 1, '"""x'),
        ("a = [1, 2\nb = 3\n", "this list is not closed", 2, "b"),
        ("a = { b = 1\n", "this inline table is not closed on its line", 1, "1"),
        ('a = "C:\\dir"\n', "a backslash in a string in double quotes must be followed by an "
         "escape letter", 1, "\\"),
        ("[services.web\n", "a table's header must end in `]`", 1, "b"),
        ("[]\n", "a key is missing here", 1, "]"),
        ("= 1\n", "a line must begin with a key or a [table]", 1, "="),
        ("a = \x01\n", "there is no value here", 1, "\x01"),
        ("# \x01\n", "there is a control character here", 1, "\x01"),
    ],
)  # fmt: skip
def test_a_syntax_error(text: str, message: str, line: int, at: str) -> None:
    [found] = problems(text)
    assert (found.message, found.line) == (message, line)
    assert pointed(found).startswith(at)


@pytest.mark.parametrize(
    ("text", "message", "line", "first"),
    [
        ("[a]\nb = 1\nc = 2\nb = 3\n", "`a.b`: this key has been given a value before", 4, 2),
        ("a = { b = 1, b = 2 }\n", "`a.b`: this key has been given a value before", 1, 1),
        ("[a]\n[b]\n[a]\n", "[a]: this table has been defined before", 3, 1),
    ],
)
def test_what_is_defined_twice_shows_both(text: str, message: str, line: int, first: int) -> None:
    [found] = problems(text)
    shown = message.split(": ")
    assert found.message == shown[1].replace("this key", shown[0]).replace("this table", shown[0])
    assert (found.line, [place.line for place in found.related]) == (line, [first])


def test_absurd_documents() -> None:
    deep = "lists or tables are nested too deeply: more than 64 levels"
    for text in (
        "a = " + "[" * 100_000,
        "a" + ".a" * 100_000 + " = 1",
        "[a" + ".a" * 64 + "]",
        "a = " + "{a = " * 64 + "1" + "}" * 64,
        "[a" + ".a" * 40 + "]\na" + ".a" * 40 + " = 1",
    ):
        assert problems(text)[0].message == deep
    assert problems("a = " + "[" * 63 + "]" * 63)[0].message == "unknown key `a`"
    assert problems("a = " + "9" * 5000)[0].message.startswith("a number is too long: ")
    assert problems("#" * (256 * 1024 + 1))[0].message.startswith("the file is too large")
    assert problems("a = '\ud800'")[0].message == "this is no whole character"


# The house.


@pytest.mark.parametrize("kind", TABLES)
def test_every_key_is_a_field_and_every_field_has_a_description(
    kind: type[msgspec.Struct],
) -> None:
    ours = {
        "Service": {"name"},
        "Config": {"path", "workspace", "warnings"},
    }
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    assert set(fields) - ours.get(kind.__name__, set()) == set(TABLES[kind])
    if kind is Config:
        return
    for name in TABLES[kind]:
        metas = getattr(fields[name].type, "__metadata__", ())
        assert any(meta.description for meta in metas), name


def test_every_home_and_synonym_leads_to_a_key() -> None:
    known = {key for table in TABLES.values() for key in table}
    assert set(HOMES) <= known
    assert set(SYNONYMS.values()) <= known
    assert not set(SYNONYMS) & set(TABLES[config.Service])


def test_an_error_says_all_in_a_line_each() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse('[services.web]\ncomand = "x"\nport = 1\n', "a/colony.toml")
    assert str(caught.value) == (
        "a/colony.toml:2:1: unknown key `comand` in [services.web] (did you mean `command`?)\n"
        "a/colony.toml:3:8: `port` in [services.web] must be a whole number from 1024 to 65535: "
        "got 1 (lower ports need root, and a colony's URL needs none of them)"
    )


def test_importing_it_is_cheap() -> None:
    code = "import sys, colony.config; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "anyio", "asyncio", "click", "pyroute2", "rich", "tomlkit", "trio"}
    assert heavy & set(run.stdout.split()) == set()


@pytest.mark.parametrize("name", ["hello-colony", "full-stack"])
def test_the_examples_are_right(name: str) -> None:
    file = Path(__file__).parents[2] / "examples" / name / "colony.toml"
    read = config.load(file)
    assert (read.name, read.warnings) == (name, ())
