"""`colony new`, `rm` and `ls --stale`: by the command line, on real repositories."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.colony.provision import support
from tests.colony.provision.support import environ, git, git_state, repository

PLAIN = {"colony.toml": '[services.web]\ncommand = "true"\n', ".gitignore": ".env\nmade\n"}


class Cli:
    """`colony`, with a home and a runtime directory of its own."""

    def __init__(self, tmp: Path) -> None:
        self.tmp = tmp
        self.home = tmp / "home"
        self.env = {
            **environ(tmp),
            "COLONY_HOME": str(self.home),
            "COLONY_RUNTIME_DIR": str(tmp / "run"),
        }

    def command(self, *args: str | Path) -> list[str]:
        return [sys.executable, "-m", "colony", *map(str, args)]

    def __call__(self, *args: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*args),
            capture_output=True,
            text=True,
            check=False,
            env=self.env,
            cwd=self.tmp,
            stdin=subprocess.DEVNULL,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_new_of_a_folder(cli: Cli, tmp_path: Path) -> None:
    source = repository(tmp_path / "my-app", PLAIN)
    done = cli("new", "my-app", "--name", "feature")
    workspace = cli.home / "workspaces/feature"
    assert (done.returncode, done.stdout) == (0, f"{workspace}\n"), done.stderr
    assert done.stderr.splitlines()[0].startswith(
        f"✓ source           git worktree of {source}, branch feature  "
    )
    assert git(workspace, "rev-parse", "--abbrev-ref", "HEAD") == "feature\n"
    again = cli("new", "my-app", "--name", "feature")
    assert again.returncode == 0


def test_new_that_fails_says_why_and_leaves_nothing(cli: Cli, tmp_path: Path) -> None:
    text = '[colony.environment]\nsetup = "echo oh; exit 3"\n[services.web]\ncommand = "x"\n'
    source = repository(tmp_path / "app", {"colony.toml": text})
    before = git_state(source)
    done = cli("new", f"file://{source}", "--yes")
    assert (done.returncode, done.stdout) == (7, "")
    assert done.stderr.splitlines()[-3:] == [
        "  | oh",
        "error: colony app was not provisioned: setup: `echo oh; exit 3` failed: exit code 3; "
        "all is as it was before",
        f"  = help: all it wrote is in {cli.home}/provision/app.log",
    ]
    assert git_state(source) == before
    assert not (cli.home / "workspaces/app").exists()


def test_new_does_not_run_a_strangers_setup_unasked(cli: Cli, tmp_path: Path) -> None:
    text = '[colony.environment]\nsetup = "touch ran"\n[services.web]\ncommand = "x"\n'
    source = repository(tmp_path / "app", {"colony.toml": text})
    refused = cli("new", f"file://{source}")
    assert refused.returncode == 7
    assert "have not been allowed: touch ran" in refused.stderr
    assert cli("new", f"file://{source}", "--yes").returncode == 0
    assert (cli.home / "workspaces/app/ran").exists()


def test_a_worktrees_setup_is_asked_about_once_for_its_repository(cli: Cli, tmp_path: Path) -> None:
    text = '[colony.environment]\nsetup = "touch ran"\n[services.web]\ncommand = "x"\n'
    source = repository(tmp_path / "app", {"colony.toml": text})
    refused = cli("new", str(source))
    assert (refused.returncode, "have not been allowed: touch ran" in refused.stderr) == (7, True)
    for name, *yes in (("one", "--yes"), ("two",)):
        assert cli("new", str(source), "--name", name, *yes).returncode == 0
        assert (cli.home / "workspaces" / name / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_new_that_is_cancelled_takes_everything_back(
    cli: Cli, tmp_path: Path, number: signal.Signals
) -> None:
    text = '[colony.environment]\nsetup = "touch ran; sleep 60"\n[services.web]\ncommand = "x"\n'
    source = repository(tmp_path / "app", {"colony.toml": text})
    workspace = cli.home / "workspaces/app"
    process = subprocess.Popen(
        cli.command("new", f"file://{source}", "--yes"), env=cli.env, stderr=subprocess.PIPE
    )
    while not (workspace / "ran").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate()
    assert process.returncode == 128 + number, said
    assert said.decode().splitlines()[-1] == "cancelled; all is as before"
    assert not workspace.exists()


def test_new_that_is_killed_leaves_no_process_and_the_next_takes_it_back(
    cli: Cli, tmp_path: Path
) -> None:
    hold = "echo $$ > pid; exec sleep 600"
    text = f'[colony.environment]\nsetup = "{hold}"\n[services.web]\ncommand = "x"\n'
    source = repository(tmp_path / "app", {"colony.toml": text})
    pid = cli.home / "workspaces/app/pid"
    process = subprocess.Popen(
        cli.command("new", f"file://{source}", "--yes"), env=cli.env, stderr=subprocess.DEVNULL
    )
    while not (pid.exists() and pid.read_text().strip()):
        assert process.poll() is None
        time.sleep(0.02)
    number = int(pid.read_text())
    process.kill()
    process.wait()
    while living(number):
        time.sleep(0.02)
    (source / "colony.toml").write_text(text.replace(hold, "true"))
    git(source, "commit", "-q", "-a", "-m", "second")
    assert cli("new", f"file://{source}", "--yes").returncode == 0
    assert not pid.exists()
    assert (cli.home / "workspaces/app/colony.toml").exists()


def living(pid: int) -> bool:
    """Whether a process runs: one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_rm_of_a_clean_one(cli: Cli, tmp_path: Path) -> None:
    source = repository(tmp_path / "app", PLAIN)
    before = git_state(source)
    cli("new", "app", "--name", "two")
    workspace = cli.home / "workspaces/two"
    (workspace / "made").write_text("ignored")
    kept = cli("rm", "two")
    assert (kept.returncode, workspace.is_dir()) == (0, True)
    gone = cli("rm", "two", "--workspace")
    assert gone.returncode == 0, gone.stderr
    assert gone.stdout == f"{workspace}\n"
    assert not workspace.exists()
    assert git_state(source) == before
    assert cli("rm", "two", "--workspace").returncode == 5


def test_rm_refuses_what_would_be_lost_and_says_it(cli: Cli, tmp_path: Path) -> None:
    source = repository(tmp_path / "app", PLAIN)
    cli("new", f"file://{source}")
    workspace = cli.home / "workspaces/app"
    (workspace / "new.txt").write_text("mine")
    (workspace / "colony.toml").write_text("# mine\n")
    git(workspace, "commit", "-q", "-a", "-m", "my work")
    refused = cli("rm", "app", "--workspace")
    assert refused.returncode == 6
    lines = refused.stderr.splitlines()
    assert lines[0] == "  changed   new.txt"
    assert lines[1].startswith("  commit    ")
    assert lines[1].endswith(" my work")
    assert lines[2] == (
        f"error: {workspace} has work that is nowhere else, 2 thing(s) listed above"
    )
    assert (workspace / "new.txt").exists()
    assert cli("rm", "app", "--workspace", "--force").returncode == 0
    assert not workspace.exists()


def test_rm_of_a_worktree_leaves_its_branch_with_its_commits(cli: Cli, tmp_path: Path) -> None:
    source = repository(tmp_path / "app", PLAIN)
    cli("new", "app", "--name", "two")
    workspace = cli.home / "workspaces/two"
    (workspace / "colony.toml").write_text("# mine\n")
    git(workspace, "commit", "-q", "-a", "-m", "my work")
    assert cli("rm", "two", "--workspace").returncode == 0
    assert "my work" in git(source, "log", "--oneline", "two")


def test_ls_stale(cli: Cli, tmp_path: Path) -> None:
    source = repository(tmp_path / "app", PLAIN)
    assert cli("ls", "--stale").stdout == "no workspace is unused\n"
    cli("new", f"file://{source}")
    cli("new", "app", "--name", "two")
    (cli.home / "workspaces/two/x").write_text("x")
    for root, _, files in os.walk(cli.home / "workspaces/app"):
        for name in files:
            os.utime(os.path.join(root, name), (1_000_000_000, 1_000_000_000))
    os.utime(cli.home / "workspaces/app", (1_000_000_000, 1_000_000_000))
    found = json.loads(cli("ls", "--stale", "--json").stdout)
    assert [(each["name"], each["source"], each["lost"]) for each in found] == [
        ("app", f"file://{source}", []),
        ("two", str(source), ["changed   x"]),
    ]
    table = cli("ls", "--stale").stdout.splitlines()
    assert table[0].split() == ["NAME", "UNUSED", "SIZE", "WORK", "SOURCE"]
    assert "clean" in table[1]
    assert "1 not saved" in table[2]


def test_support_is_what_it_says(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    assert git_state(source)[2] == ""
    assert set(support.FILES) <= {
        str(path.relative_to(source)) for path in source.rglob("*") if path.is_file()
    }
