"""What `config.parse` and `config.load` give, and in which words they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from colony import config
from colony.config import Config, ConfigError, Problem
from colony.config.fields import HOMES, SYNONYMS, TABLES

MINIMAL = """\
[colony]
name = "hello-colony"
[services.web]
command = "python3 -m http.server 4001"
port = 4001
"""


NOWHERE = Path("/nonexistent/app")


def parse(text: str, workspace: Path = NOWHERE) -> Config:
    return config.parse(text, workspace=str(workspace))


def problems(text: str, workspace: Path = NOWHERE) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(text, workspace)
    return caught.value.problems


def problem(text: str, workspace: Path = NOWHERE) -> tuple[str, str, str]:
    """The only problem: its words, its help, and the text that it points at."""
    [only] = problems(text, workspace)
    return only.message, only.help, pointed(only)


def pointed(problem: Problem) -> str:
    place = problem.place
    assert place is not None
    return place.source[place.column - 1 : place.column - 1 + place.length]


def service(line: str) -> str:
    """A valid file with one more line in its service."""
    return MINIMAL + line + "\n"


# What is read.


def test_the_minimal_file_and_every_default(tmp_path: Path) -> None:
    assert config.parse(MINIMAL, "hello/colony.toml", workspace=str(tmp_path)) == Config(
        colony=config.Colony(
            name="hello-colony",
            template=None,
            description="",
            restart_strategy=None,
            env={},
            environment=config.Environment(),
            ports={},
        ),
        services={
            "web": config.Service(
                name="web",
                command="python3 -m http.server 4001",
                port=4001,
                path="/",
                cwd=str(tmp_path),
                env={},
                restart="permanent",
                stop=config.Stop(grace=5.0),
            )
        },
        terminal=config.Terminal(command="/bin/bash", env={}),
        supervision=config.Supervision(strategy="one_for_one", intensity=5, period=60.0),
        network=config.Network(egress="nat"),
        path="hello/colony.toml",
        workspace=str(tmp_path),
        warnings=(),
    )


def test_every_field(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    read = parse(
        """
        [colony]
        name = "my-app"
        description = "Front and back"
        restart_strategy = "rest_for_one"
        env = { A = "colony", N = 1 }
        [colony.environment]
        node_version = "22"
        package_manager = "bun"
        python_version = "3.12"
        ruby_version = "3.3"
        rust_version = "stable"
        [services.db]
        command = ["postgres", "-D", ""]
        restart = "on-failure"
        stop = { grace = "500ms" }
        [services.api]
        command = "npm run api"
        port = 8080
        path = "/api/health"
        cwd = "api"
        restart = "never"
        stop.grace = 2
        [services.api.env]
        A = "service"
        [terminal]
        command = "zsh"
        env = { PS1 = "colony> " }
        [supervision]
        intensity = 0
        period = "1m30s"
        [network]
        egress = "none"
        """,
        tmp_path,
    )
    assert read.name == "my-app"
    assert read.colony == config.Colony(
        name="my-app",
        description="Front and back",
        restart_strategy="rest_for_one",
        env={"A": "colony", "N": "1"},
        environment=config.Environment(
            node_version="22",
            package_manager="bun",
            python_version="3.12",
            ruby_version="3.3",
            rust_version="stable",
        ),
    )
    db, api = read.services.values()
    assert db.argv == ("postgres", "-D", "")
    assert (db.port, db.restart, db.stop.grace, db.cwd) == (None, "transient", 0.5, str(tmp_path))
    assert api.argv == ("/bin/sh", "-c", "npm run api")
    assert (api.port, api.path, api.cwd) == (8080, "/api/health", str(tmp_path / "api"))
    assert (api.restart, api.stop.grace) == ("temporary", 2.0)
    assert read.environment(db) == {"A": "colony", "N": "1"}
    assert read.environment(api) == {"A": "service", "N": "1"}
    assert read.terminal == config.Terminal(command="zsh", env={"PS1": "colony> "})
    assert read.supervision == config.Supervision(strategy="rest_for_one", intensity=0, period=90.0)
    assert read.network == config.Network(egress="none")


def test_the_services_keep_the_order_of_the_file() -> None:
    text = "".join(f'[services.{name}]\ncommand = "x"\n' for name in ("web", "api", "db"))
    assert list(parse(text).services) == ["web", "api", "db"]


def test_a_byte_order_mark_and_windows_line_ends_are_read_over(tmp_path: Path) -> None:
    file = tmp_path / "colony.toml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert config.load(file).services["web"].port == 4001


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("0", 0.0), ("5", 5.0), ("0.25", 0.25), ('"5s"', 5.0), ('"500ms"', 0.5), ('"2m"', 120.0),
     ('"1m 30s"', 90.0), ('"0.5 m"', 30.0), ("1e2", 100.0)],
)  # fmt: skip
def test_durations(value: str, seconds: float) -> None:
    read = parse(service(f"stop = {{ grace = {value} }}"))
    assert read.services["web"].stop.grace == seconds


@pytest.mark.parametrize(
    ("word", "restart"),
    [("always", "permanent"), ("on-failure", "transient"), ("never", "temporary"),
     ("permanent", "permanent"), ("transient", "transient"), ("temporary", "temporary")],
)  # fmt: skip
def test_restart_types_and_their_aliases(word: str, restart: str) -> None:
    assert parse(service(f'restart = "{word}"')).services["web"].restart == restart


def test_the_repr_has_the_names_of_variables_and_not_their_values() -> None:
    read = parse(service('env = { TOKEN = "secret" }') + '[colony.env]\nKEY = "secret"\n')
    assert "'TOKEN': …" in repr(read)
    assert "'KEY': …" in repr(read)
    assert "secret" not in repr(read)


# What is refused: one line of the service each.


@pytest.mark.parametrize(
    ("line", "message", "help", "at"),
    [
        (
            'comand = "x"',
            "unknown key `comand` in [services.web]",
            "did you mean `command`?",
            "comand",
        ),
        ("Cwd = '.'", "unknown key `Cwd` in [services.web]", "did you mean `cwd`?", "Cwd"),
        (
            'workdir = "."',
            "unknown key `workdir` in [services.web]",
            "did you mean `cwd`?",
            "workdir",
        ),
        (
            "intensity = 3",
            "unknown key `intensity` in [services.web]",
            "`intensity` belongs in [supervision]",
            "intensity",
        ),
        (
            "xyz = 3",
            "unknown key `xyz` in [services.web]",
            "known here: command, port, path, cwd, env, restart, stop, after, env_file, "
            "ready, health, backoff, pty, exit_colony",
            "xyz",
        ),
        (
            'restart = "alwys"',
            "`restart` in [services.web] must be one of permanent, transient, temporary: "
            'got "alwys"',
            "did you mean `always`?",
            '"alwys"',
        ),
        (
            "restart = true",
            "`restart` in [services.web] must be one of permanent, transient, temporary: "
            "got the boolean true",
            "",
            "true",
        ),
        (
            "stop = { grace = 5000 }",
            "`grace` in [services.web.stop] must be from 0 to 600 seconds: got the integer 5000",
            "a plain number is in seconds",
            "5000",
        ),
        (
            "stop = { grace = -1 }",
            "`grace` in [services.web.stop] must be from 0 to 600 seconds: got the integer -1",
            "",
            "-1",
        ),
        (
            "stop.grace = 'soon'",
            "`grace` in [services.web.stop] must be a number of seconds or a text like "
            '"500ms", "5s", "2m": got the string "soon"',
            "",
            "'soon'",
        ),
        (
            "stop.grace = nan",
            "`grace` in [services.web.stop] must be a number of seconds or a text like "
            '"500ms", "5s", "2m": got the float nan',
            "",
            "nan",
        ),
        (
            'stop = "5s"',
            '[services.web.stop] must be a table: got the string "5s"',
            "write a table [services.web.stop]",
            '"5s"',
        ),
        (
            'path = "api"',
            '`path` in [services.web] must begin with a slash: got "api"',
            "write /api",
            '"api"',
        ),
        (
            'path = "http://x/api"',
            '`path` in [services.web] must begin with a slash: got "http://x/api"',
            "only the path, without scheme and host",
            '"http://x/api"',
        ),
        (
            'path = "/a b"',
            '`path` in [services.web] must have no spaces and no control characters: got "/a b"',
            "write a space as %20",
            '"/a b"',
        ),
        (
            "env = { A = true }",
            "`A` in [services.web.env] must be a string: got the boolean true",
            'put it in quotes: "true"',
            "true",
        ),
        (
            'env = { A = "\\u0000" }',
            "`A` in [services.web.env] must not hold a NUL character: no process can be given one",
            "",
            '"\\u0000"',
        ),
        (
            'env = { "A=B" = "" }',
            'a name in [services.web.env] must not be empty and not hold `=` or NUL: got "A=B"',
            "",
            '"A=B"',
        ),
        (
            "env = 'A=B'",
            '[services.web.env] must be a table: got the string "A=B"',
            "write a table [services.web.env]",
            "'A=B'",
        ),
        (
            'cwd = ""',
            '`cwd` in [services.web] must not be empty: got ""',
            "",
            '""',
        ),
    ],
)
def test_a_bad_line_in_a_service(line: str, message: str, help: str, at: str) -> None:
    assert problem(service(line)) == (message, help, at)


@pytest.mark.parametrize(
    ("value", "message", "help"),
    [
        ('""', 'must not be empty: got ""', 'as in "python3 -m http.server 4001"'),
        ('" \\t"', 'must not be empty: got " \\t"', 'as in "python3 -m http.server 4001"'),
        ("[]", "must not be an empty list", 'as in ["python3", "-m", "http.server"]'),
        ("3", "must be a string or a list of strings: got the integer 3", ""),
        ("{}", "must be a string or a list of strings: got an empty table", ""),
    ],
)
def test_a_bad_command(value: str, message: str, help: str) -> None:
    assert problem(f"[services.web]\ncommand = {value}") == (
        f"`command` in [services.web] {message}",
        help,
        value,
    )


def test_a_bad_argument_is_pointed_at() -> None:
    assert problem('[services.web]\ncommand = ["sleep", 5]') == (
        "`command` in [services.web] must be a list of strings: argument 2 must be a string: "
        "got the integer 5",
        'put it in quotes: "5"',
        "5",
    )
    assert problem('[services.web]\ncommand = ["", "x"]') == (
        '`command` in [services.web] must name a program first: got ""',
        'as in ["python3", "-m", "http.server"]',
        '""',
    )


def test_a_service_without_a_command() -> None:
    assert problem("[services.web]\nport = 3000") == (
        "[services.web] has no `command`",
        'say what it runs: command = "npm run dev"',
        "[services.web]",
    )


def test_a_misspelt_command_is_reported_once() -> None:
    assert [found.message for found in problems('[services.web]\ncomand = "x"')] == [
        "unknown key `comand` in [services.web]"
    ]


@pytest.mark.parametrize(
    ("value", "got", "help"),
    [
        ("80", "80", "lower ports need root, and a colony's URL needs none of them"),
        ("0", "0", ""),
        ("-3000", "-3000", ""),
        ("65536", "65536", ""),
        ("true", "the boolean true", ""),
        ("3000.0", "the float 3000.0", ""),
        ('"3000"', 'the string "3000"', "write it without quotes: 3000"),
        ('"web"', 'the string "web"', ""),
        ("[3000]", "an array", ""),
        ("2020-01-01", "the date 2020-01-01", ""),
        ("0x" + "f" * 5000, "of more than 30 digits", ""),
    ],
)
def test_a_bad_port(value: str, got: str, help: str) -> None:
    message, advice, at = problem(f'[services.web]\ncommand = "x"\nport = {value}')
    assert message == (
        f"`port` in [services.web] must be a whole number from 1024 to 65535: got {got}"
    )
    assert (advice, at) == (help, value)


def test_the_limits_of_ports_are_inside() -> None:
    text = "".join(f'[services.s{port}]\ncommand = "x"\nport = {port}\n' for port in (1024, 65535))
    assert [service.port for service in parse(text).services.values()] == [1024, 65535]


def test_two_services_on_one_port_show_both() -> None:
    [found] = problems(
        '[services.web]\ncommand = "x"\nport = 3000\n[services.api]\ncommand = "x"\nport = 3000'
    )
    assert found.message == "services `web` and `api` cannot both have port 3000"
    assert (found.line, found.column, found.length) == (6, 8, 4)
    assert [(place.line, place.label) for place in found.related] == [(3, "`web` has it here")]


def test_a_bad_name_hides_no_port_clash() -> None:
    found = problems(
        '[services.web]\ncommand = "x"\nport = 3000\n[services.A_B]\ncommand = "x"\nport = 3000'
    )
    assert [(one.line, one.help) for one in found] == [
        (4, "for example `a-b`"),
        (6, "give one of them another port: a colony's services share its localhost"),
    ]


# Names.


@pytest.mark.parametrize(
    ("name", "message", "help"),
    [
        ("", "must not be empty: 1 to 40 letters, digits and hyphens", ""),
        (
            "My App",
            "must be lower-case letters, digits and hyphens, with no hyphen at either end: "
            'got "My App"',
            "for example `my-app`",
        ),
        (
            "a_b",
            "must be lower-case letters, digits and hyphens, with no hyphen at either end: "
            'got "a_b"',
            "for example `a-b`",
        ),
        (
            "-",
            'must be lower-case letters, digits and hyphens, with no hyphen at either end: got "-"',
            "",
        ),
        (
            "été\n",
            "must be lower-case letters, digits and hyphens, with no hyphen at either end: "
            'got "été\\n"',
            "for example `ete`",
        ),
        (
            "a" * 41,
            f'must have at most 40 characters: got "{"a" * 41}", which has 41',
            f"for example `{'a' * 40}`",
        ),
    ],
)
def test_a_bad_name(name: str, message: str, help: str) -> None:
    quoted = name.replace("\n", "\\n")
    text = f'[colony]\nname = "{quoted}"\n[services.web]\ncommand = "x"\n'
    assert problem(text) == (f"`name` in [colony] {message}", help, f'"{quoted}"')
    text = f'[services."{quoted}"]\ncommand = "x"\n'
    assert problem(text) == (f"a name in [services] {message}", help, f'"{quoted}"')


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a--b", "9to5", "a" * 40])
def test_a_good_name(name: str) -> None:
    assert parse(MINIMAL.replace("hello-colony", name)).name == name


def test_a_colony_without_a_name_takes_its_folders(tmp_path: Path) -> None:
    folder = tmp_path / "My App_2"
    folder.mkdir()
    file = folder / "colony.toml"
    file.write_text('[services.web]\ncommand = "x"\n')
    read = config.load(file)
    assert read.name == "my-app-2"
    [note] = read.warnings
    assert (note.severity, note.place) == ("note", None)
    assert note.message == "the colony has no name: it is called `my-app-2` after its folder"


def test_a_folder_that_gives_no_name() -> None:
    [found] = problems('[services.web]\ncommand = "x"\n', Path("/"))
    assert found.message == "the colony has no name, and its folder's cannot be one"
    assert found.help == 'write [colony] with name = "my-app"'


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
            '["80:80/sctp"]',
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
