"""Every command against a real instance on its real socket."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import anyio
import pytest

from colony.client import path_of
from tests.colony.api.support import SERVER, Rig, is_alive, rig, unique, until
from tests.colony.cli.support import Ran, Shell, invoke
from tests.ports import free_port

pytestmark = [pytest.mark.real_time, pytest.mark.backends("asyncio")]

SLEEPER = {"command": ["sleep", "1000"]}


def server(port: int) -> dict[str, Any]:
    return {"command": [*SERVER, str(port)], "port": port}


async def up(r: Rig, services: dict[str, dict[str, Any]]) -> tuple[str, Shell]:
    """A colony that is up, and a shell in its folder."""
    name = unique()
    shell = Shell(r, r.write(name, services).parent)
    ran = await shell("up", "-d", "--wait")
    assert (ran.status, ran.err.splitlines()[-1]) == (0, "logs: colony logs · stop: colony down")
    return name, shell


# -- without an instance ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["ls"],
        ["ps", "x"],
        ["tree"],
        ["events"],
        ["logs", "-c", "x"],
        ["down", "x"],
        ["ls", "--json"],
    ],
)
def test_without_an_instance_clients_say_so_and_exit_4(tmp_path: Path, words: list[str]) -> None:
    ran = invoke(*words, runtime=tmp_path / "run")
    assert ran.status == 4
    assert "no instance runs" in ran.err
    assert "start one: colony run, or colony up -d" in ran.err
    assert ran.out == ""


def test_without_an_instance_logs_says_where_they_are(tmp_path: Path) -> None:
    home, runtime = tmp_path / "home", tmp_path / "run"
    (home / "logs" / "x").mkdir(parents=True)
    none = (
        f"error: no instance runs ({runtime}/colony.sock); start one: colony run, or colony up -d"
    )
    for words, place in (
        (("-C", str(tmp_path), "logs"), f"{home}/logs/COLONY/SERVICE.log"),
        (("logs", "-c", "x"), f"{home}/logs/x/SERVICE.log"),
    ):
        ran = invoke(*words, runtime=runtime, home=home)
        assert (ran.status, ran.out) == (4, "")
        help = f"  = help: what was written before is in {place}"
        assert ran.err.splitlines() == [none, help]
    ran = invoke("logs", "-c", "y", runtime=runtime, home=home)
    assert (ran.status, ran.err) == (4, none + "\n")


def test_an_error_under_json_is_json_on_stderr(tmp_path: Path) -> None:
    ran = invoke("ls", "--json", runtime=tmp_path / "run")
    error = json.loads(ran.err)["error"]
    assert error["code"] == 4
    assert error["message"].startswith("no instance runs")


def test_an_address_that_is_none_is_wrong_usage(tmp_path: Path) -> None:
    ran = invoke("-H", "ftp://x", "ls", runtime=tmp_path)
    assert (ran.status, ran.err) == (
        2,
        "error: an instance's address is unix:///PATH or http://HOST:PORT, got: ftp://x\n",
    )


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["lgos"], "did you mean 'logs'?"),
        (["restrat"], "did you mean 'restart'?"),
        (["logs", "--folow"], "--follow"),
        (["up", "--detahc"], "--detach"),
    ],
)
def test_typing_errors_are_answered_with_what_was_meant(
    tmp_path: Path, words: list[str], hint: str
) -> None:
    ran = invoke(*words, runtime=tmp_path)
    assert ran.status == 2
    assert hint in ran.err


def test_version(tmp_path: Path) -> None:
    assert invoke("version", runtime=tmp_path).out == "colony 0.1.0\n"
    assert invoke("--version", runtime=tmp_path).out == "colony 0.1.0\n"
    assert invoke("version", "--json", runtime=tmp_path).json["version"] == "0.1.0"


def test_help_lists_commands_in_sections_and_the_exit_statuses(tmp_path: Path) -> None:
    text = invoke("--help", runtime=tmp_path).out
    for words in ("Run:", "Look:", "Act:", "Exit status:", "124  --timeout has passed"):
        assert words in text


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(tmp_path: Path, shell: str) -> None:
    ran = invoke("completion", shell, runtime=tmp_path)
    assert ran.status == 0
    assert "_COLONY_COMPLETE" in ran.out


# -- looking ---------------------------------------------------------------------------------------


async def test_ls_and_ps_show_tables_and_json(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        assert (await Shell(r)("ls")).out == "no colonies; start one: colony up\n"
        port = free_port()
        name, shell = await up(r, {"web": server(port), "job": SLEEPER})
        header, row = (await shell("ls")).lines
        assert header.split() == ["NAME", "STATE", "READY", "URL", "SINCE", "FOLDER"]
        assert row.split()[:4] == [name, "●", "running", "2/2"]
        [listed] = (await shell("ls", "--json")).json
        assert listed["name"] == name
        table = (await shell("ps")).lines
        assert [line.split()[0] for line in table] == ["SERVICE", "web", "job"]
        services = (await shell("ps", name, "--json")).json
        assert [(s["name"], s["state"], s["port"]) for s in services] == [
            ("web", "ready", port),
            ("job", "ready", None),
        ]
        assert services[0]["memory"] > 0


async def test_the_nearest_file_decides_which_colony_is_meant(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        deep = shell.folder / "a" / "b"
        deep.mkdir(parents=True)
        assert (await Shell(r, deep)("ps", "--json")).json[0]["colony"] == name
        nowhere = await Shell(r)("ps")
        assert nowhere.status == 2
        assert nowhere.err == (
            f"error: which colony? There is no colony.toml in {r.folder} or above it\n"
            f"  = help: name it: there is {name}\n"
        )
        assert (await Shell(r)("ps", name)).status == 0
        other = Shell(r, r.write(unique(), {"web": SLEEPER}).parent)
        missing = await other("ps")
        assert missing.status == 5
        assert "help: start it: colony up" in missing.err


async def test_names_that_are_not_there_exit_5_with_the_near_miss(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        for words in (["ps", name[:-1]], ["inspect", name[:-1]], ["down", name[:-1]]):
            ran = await shell(*words)
            assert (ran.status, f"did you mean '{name}'?" in ran.err) == (5, True)
        for words in (["restart", "wbe"], ["logs", "wbe"], ["send", f"{name}/wbe", "x"]):
            ran = await shell(*words)
            assert (ran.status, "did you mean 'web'?" in ran.err) == (5, True)


async def test_tree_inspect_url_and_events(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": server(free_port())})
        tree = (await shell("tree")).out
        assert f"│   └── ● {name}  rest_for_one" in tree
        assert "└── ● api" in tree
        assert (await shell("tree", name, "--json")).json["id"] == name
        facts = (await shell("inspect")).out
        assert f"name     {name}" in facts
        assert (await shell("inspect", "--json")).json["name"] == name
        assert (await shell("inspect", "--config")).json["colony"]["name"] == name
        timings = (await shell("inspect", "--timings", "--json")).json
        shown = (await shell("inspect", "--timings")).lines
        assert list(timings) == ["web ready"]  # on the host's network there is none to be made
        assert shown == ["STEP       TOOK", f"web ready  {timings['web ready']:.2f} ms"]
        url = (await shell("url")).out.strip()
        assert url.startswith(f"http://{name}-")
        assert (await shell("url", "web", "--json")).json == {"service": "web", "url": url}
        assert (await shell("open")).out.strip() == url
        events = [json.loads(line) for line in (await shell("events", "--json")).lines]
        assert "service.ready" in {event["type"] for event in events}
        chosen = (await shell("events", "-t", "service.ready", "-c", name)).lines
        assert len(chosen) == 1
        assert f"{name}/web" in chosen[0]


async def test_logs_of_some_services_lines_and_patterns(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        talk = {"command": "seq 1 5; echo '\033[31mred\033[0m'; sleep 1000"}
        name, shell = await up(r, {"one": talk, "two": {"command": "echo two; sleep 1000"}})
        for service in ("one", "two"):
            assert (await shell("wait", service, "--for", "log=red|two")).status == 0
        both = (await shell("logs")).lines
        assert "one | 1" in both
        assert "two | two" in both
        assert (await shell("logs", "one", "-n", "2")).lines == ["5", "red"]
        assert (await shell("logs", f"{name}/two")).lines == ["two"]
        assert (await shell("logs", "one", "--grep", "[24]")).lines == ["2", "4"]
        assert (await shell("--color", "always", "logs", "one", "-n", "1")).out == (
            "\033[31mred\033[0m\n"
        )
        line = json.loads((await shell("logs", "two", "--json")).lines[0])
        assert (line["service"], line["text"], line["seq"]) == ("two", "two", line["seq"])
        assert (await shell("logs", "one", "--since", "1h", "-t")).lines[0].endswith(" 1")
        assert (await shell("logs", "one", "--since", "yesterday")).lines[0] == "1"
        assert (await shell("logs", "one", "--since", "2999-01-01T00:00")).lines == []
        wrong = await shell("logs", "one", "--since", "soon")
        assert (wrong.status, "no cursor of a page" in wrong.err) == (2, True)
        assert (await shell("logs", "one", "--grep", "(")).status == 2


async def test_logs_until_a_line_comes_or_time_is_over(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        command = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.01; done"
        _, shell = await up(r, {"talk": {"command": command}})
        ran = await shell("logs", "-n", "0", "--until", "line .*[0-9]$", "--timeout", "30s")
        assert ran.status == 0
        both = ("--grep", "5$", "--until", "0$", "--timeout", "30s")
        ran = await shell("logs", "-n", "0", *both)
        assert (ran.status, [line[-1] for line in ran.lines]) in ((0, ["0"]), (0, ["5", "0"]))
        ran = await shell("logs", "--until", "never", "--timeout", "0.2s")
        assert (ran.status, "no line matched 'never' in 0.2 s" in ran.err) == (124, True)
        assert (await shell("logs", "--until", "(")).status == 2
        assert (await shell("logs", "--until", "x", "--timeout", "soon")).status == 2
        vain = await shell("logs", "--timeout", "1s")
        assert (vain.status, vain.out) == (2, "")


# -- acting ----------------------------------------------------------------------------------------


async def test_services_are_stopped_started_and_restarted(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER, "job": SLEEPER})
        assert (await shell("stop", "web")).out == "web  ■ stopped\n"
        assert (await shell("start", "web")).out.startswith("web  ")
        restarted = (await shell("restart", "web", f"{name}/job", "--json")).json
        assert [each["name"] for each in restarted] == ["web", "job"]
        before = r.host.colonies[name].statuses["web"].pid
        assert (await shell("restart")).out == f"{name}  ● running\n"
        assert r.host.colonies[name].statuses["web"].pid != before
        assert (await shell("stop")).status == 2


async def test_signals_input_and_waiting(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        trap = "trap 'echo got it' HUP; echo set; while :; do sleep 0.02; done"
        _, shell = await up(r, {"web": {"command": trap}, "cat": {"command": ["cat"]}})
        assert (await shell("wait", "web", "--for", "log=set")).out == "set\n"
        assert (await shell("signal", "web", "HUP")).status == 0
        assert (await shell("wait", "web", "--for", "log=got")).out == "got it\n"
        wrong = await shell("signal", "web", "HPU")
        assert (wrong.status, "did you mean 'HUP'?" in wrong.err) == (2, True)
        assert (await shell("send", "cat", "a\\tb")).status == 0
        assert (await shell("send", "cat", stdin="from stdin\n")).status == 0
        assert (await shell("wait", "cat", "--for", "log=from")).out == "from stdin\n"
        assert (await shell("logs", "cat")).lines == ["a\tb", "from stdin"]
        late = await shell("wait", "web", "--for", "exit", "--timeout", "50ms")
        assert late.status == 124
        assert (await shell("wait", "web", "--for", "log")).status == 2
        assert (await shell("wait", "web", "--json")).json["met"] is True


async def test_waiting_for_one_that_fails_is_a_failure(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        sick = {"command": "sleep 0.2; exit 3", "port": free_port(), "restart": "temporary"}
        shell = Shell(r, r.write(unique(), {"sick": sick, "web": SLEEPER}).parent)
        assert (await shell("up", "-d")).status == 0
        ran = await shell("wait", "sick")
        assert (ran.status, "sick is failed: exit code 3" in ran.err) == (1, True)


async def test_up_that_fails_shows_the_last_lines_and_exits_1(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        sick = {"command": "echo because; exit 3", "port": free_port()}
        shell = Shell(r, r.write(unique(), {"sick": sick}).parent)
        ran = await shell("up", "-d", "--wait")
        assert ran.status == 1
        assert "sick of colony" in ran.err
        assert "  | because" in ran.err


async def test_up_that_takes_too_long_exits_124(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        slow = {"command": ["sleep", "1000"], "port": free_port()}
        shell = Shell(r, r.write(unique(), {"slow": slow}).parent)
        ran = await shell("up", "-d", "--wait", "--timeout", "50ms")
        assert (ran.status, "not ready: slow" in ran.err) == (124, True)


async def test_up_twice_is_no_error_and_another_is_a_conflict(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        pid = r.host.colonies[name].statuses["web"].pid
        assert (await shell("up", "-d")).status == 0
        assert r.host.colonies[name].statuses["web"].pid == pid
        r.write(name, {"web": {"command": ["sleep", "2000"]}})
        ran = await shell("up", "-d")
        assert ran.status == 6
        assert "~ web: command changed from `sleep 1000` to `sleep 2000`" in ran.err


async def test_apply_shows_what_it_does(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER, "old": SLEEPER})
        assert (await shell("apply")).out == f"{name} is as its file says\n"
        r.write(name, {"web": SLEEPER, "new": SLEEPER})
        expected = [
            "- remove old: it is not in the file any more",
            "+ add new: it is new in the file",
        ]
        assert (await shell("apply", "--dry-run")).lines == expected
        assert (await shell("apply")).lines == expected
        assert (await shell("apply", "--json")).json["steps"] == []


async def test_apply_does_not_rename_and_says_how_to(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        other, file = unique(), anyio.Path(r.host.colonies[name].config.path)
        await file.write_text((await file.read_text()).replace(name, other))
        ran = await shell("apply")
        assert (ran.status, ran.out) == (0, "")
        assert ran.err == (
            f"{name} keeps the name that it was started with, though its file says {other}; "
            f"for another name: colony down {name}, then colony up\n"
        )


async def test_a_wrong_file_exits_2_and_changes_nothing(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        r.write(name, {"web": {"comand": "x"}})
        for words in (["up", "-d"], ["apply"], ["validate"]):
            ran = await shell(*words)
            assert (ran.status, "did you mean `command`?" in ran.err) == (2, True)
        assert r.host.colonies[name].statuses["web"].state == "ready"


async def test_down_stops_one_or_all(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        one, first = await up(r, {"web": SLEEPER})
        two, _ = await up(r, {"web": SLEEPER})
        pid = r.host.colonies[one].statuses["web"].pid or 0
        assert (await first("down")).out == f"{one}  ■ stopped\n"
        assert not is_alive(pid)
        assert (await Shell(r)("down", "--all", two)).status == 2
        assert (await Shell(r)("down", "--all")).out == f"{two}  ■ stopped\n"
        assert (await Shell(r)("ls", "--json")).json == []


async def test_exec_that_waits_gives_the_commands_output_and_status(tmp_path: Path) -> None:
    """Its streams are tested with real ones: tests/end_to_end/test_terminals_exec.py."""
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        wait = ("exec", "--timeout", "10s")
        ran = await shell(*wait, "sh", "-c", "echo out; echo err >&2; exit 7")
        assert ran == Ran(7, "out\n", "err\n")
        assert (await shell(*wait, "-c", name, "--", "echo", "--flag")).out == "--flag\n"
        assert (await shell(*wait, name, "--", "echo", "--flag")).out == "--flag\n"
        assert (await shell("exec", "--timeout", "100ms", "sleep", "1000")).status == 124
        assert (await shell(*wait, "no-such-program")).status == 1
        assert (await shell(*wait, "sh", "-c", "kill -9 $$")).status == 137


async def test_status_of_the_instance_and_its_end(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        await up(r, {"web": SLEEPER})
        shell = Shell(r)
        assert (await shell("daemon", "status", "--json")).json["colonies"] == 1
        text = (await shell("daemon", "status")).out
        assert f"pid {os.getpid()}" in text
        assert (await shell("daemon", "start", "--json")).json["pid"] == os.getpid()
        refused = await shell("daemon", "stop")
        assert (refused.status, "there are colonies here: " in refused.err) == (6, True)


# -- how it looks ----------------------------------------------------------------------------------


async def test_colours_are_for_those_who_want_them(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        _, shell = await up(r, {"web": SLEEPER})
        assert "\033[" not in (await shell("ls")).out
        assert "\033[32m●\033[0m" in (await shell("ls", env={"FORCE_COLOR": "1"})).out
        assert "\033[32m●\033[0m" in (await shell("--color", "always", "ls")).out
        never = await shell("--color", "never", "ls", env={"FORCE_COLOR": "1"})
        assert "\033[" not in never.out


async def test_completion_knows_the_living_names(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER, "worker": SLEEPER})
        env = {"_COLONY_COMPLETE": "bash_complete", "COMP_CWORD": "4"}
        line = f"colony -C {shell.folder} restart w"
        found = await shell(env={**env, "COMP_WORDS": line})
        assert found.out.split() == ["plain,web", "plain,worker"]
        for words, answer in [
            (f"ps {name[:4]}", [name]),
            (f"exec {name[:4]}", [name]),
            (f"port-forward {name[:4]}", [name]),
        ]:
            found = await shell(env={**env, "COMP_WORDS": f"colony -C {shell.folder} {words}"})
            assert found.out.split() == [f"plain,{each}" for each in answer]
        more = {**env, "COMP_CWORD": "5"}
        for words, answer in [
            ("signal web SIGUS", ["SIGUSR1", "SIGUSR2"]),
            ("signal web us", ["USR1", "USR2"]),
            (f"exec {name} {name[:4]}", []),
            ("net inspect x", []),
        ]:
            found = await shell(env={**more, "COMP_WORDS": f"colony -C {shell.folder} {words}"})
            assert found.out.split() == [f"plain,{each}" for each in answer]


@pytest.mark.parametrize(("shell", "begins"), [("zsh", "plain\nweb\n"), ("fish", "plain,web")])
async def test_other_shells_are_given_the_same_names(
    tmp_path: Path, shell: str, begins: str
) -> None:
    async with rig(tmp_path) as r:
        _, run = await up(r, {"web": SLEEPER})
        line = f"colony -C {run.folder} restart w"
        word = "w" if shell == "fish" else "4"
        env = {"_COLONY_COMPLETE": f"{shell}_complete", "COMP_WORDS": line, "COMP_CWORD": word}
        assert (await run(env=env)).out.startswith(begins)


async def test_restarts_are_shown_with_what_the_supervisor_bears(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        path = path_of("colonies", name, "services", "web")
        assert (await shell("ps")).lines[1].split()[6] == "0"
        await shell("signal", "web", "KILL")
        await r.ask(r.client.get, f"{path}/wait", {"for": "ready"})
        await until(lambda: r.client.get(path)["restarts"] == 1 and r.client.get(path)["ready"])
        service = await r.ask(r.client.get, path)
        assert (service["recent"], service["intensity"], service["period_ms"]) == (1, 1, 60_000)
        assert "1 (1/1)" in (await shell("ps")).lines[1]


async def test_a_colonys_tree_says_what_the_whole_tree_says_of_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        name, shell = await up(r, {"web": SLEEPER})
        alone = (await shell("tree", name, "--json")).json
        assert (alone["strategy"], alone["intensity"], alone["period_ms"]) == (
            "rest_for_one",
            3,
            60_000,
        )
        whole = (await shell("tree", "--json")).json
        [colonies] = [each for each in whole["children"] if each["id"] == "colonies"]
        assert colonies["children"] == [alone]
