"""What `config.parse` gives for one field, and in which words it refuses one."""

from __future__ import annotations

from pathlib import Path

import pytest

from colony import config
from colony.config import Config
from tests.colony.configs import MINIMAL, parse, problem, problems, service

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
        terminal=config.Terminal(command=None, env={}),
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
            "`restart` in [services.web] must be one of permanent, transient, temporary "
            "(or always, on-failure, never): "
            'got "alwys"',
            "did you mean `always`?",
            '"alwys"',
        ),
        (
            "restart = true",
            "`restart` in [services.web] must be one of permanent, transient, temporary "
            "(or always, on-failure, never): "
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
