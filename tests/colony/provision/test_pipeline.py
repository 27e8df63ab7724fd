"""Steps that are done, taken back, kept, gone on with; a failure and a crash at every one."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import anyio
import msgspec
import pytest

from colony.provision import (
    Action,
    Busy,
    Journal,
    ProvisionFailed,
    Skip,
    Stage,
    StepFailed,
    Work,
    all_stages,
    allow,
    provisioning,
    recover,
)
from tests.colony.provision import support
from tests.colony.provision.support import (
    Reports,
    git_state,
    is_file,
    local,
    picture,
    remote,
    repository,
    work,
)

pytestmark = pytest.mark.real_time

STEPS = [
    "source", "copy", "venv", "python packages", "node packages", "setup", "database",
]  # fmt: skip
"""Those that do something for the repository of `support`."""


async def run(made: Work, stages: tuple[Stage, ...], **options: bool) -> Reports:
    reports = Reports()
    async with provisioning(made, stages, reports.append, **options):
        pass
    return reports


async def test_every_step_in_order(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    made = work(tmp_path)
    reports = await run(made, all_stages(local(source), allow))
    assert [each.step for each in reports if each.state == "done"] == STEPS
    assert (made.workspace / ".env").read_text() == "SECRET=1\n"
    assert (made.workspace / "done.txt").read_text() == "set up\n"
    assert (made.workspace / "node_modules").is_dir()
    assert made.added["VIRTUAL_ENV"] == str(made.workspace / ".venv")
    assert made.added["PATH"].startswith(f"{made.workspace}/.venv/bin:")
    assert is_file(made.added["COLONY_DATABASE"])
    assert made.config.name == "app"
    assert [each.state for each in made.journal.runs()] == ["done"]


async def test_the_second_time_nothing_is_run(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    await run(work(tmp_path), all_stages(local(source), allow))
    again = work(tmp_path)
    reports = await run(again, all_stages(local(source)))
    assert [each for each in reports if each.state == "done"] == []
    assert "node packages skipped" in reports.said
    assert again.added["PATH"].startswith(f"{again.workspace}/.venv/bin:")
    # A lock that has changed is installed; nothing else is.
    (again.workspace / "package-lock.json").write_text(support.LOCK + "\n")
    reports = await run(work(tmp_path), all_stages(local(source)))
    assert [each.step for each in reports if each.state == "done"] == ["node packages"]


def failing(stages: tuple[Stage, ...], step: str, *, after: bool) -> tuple[Stage, ...]:
    """The stages, one of which fails: before it does anything, or when it has done everything."""

    def spoiled(stage: Stage) -> Stage:
        async def prepare(made: Work) -> Action | Skip:
            found = await stage.prepare(made)
            assert isinstance(found, Action), f"{stage.name} does nothing: {found}"

            async def do() -> None:
                if after:
                    await found.do()
                raise StepFailed("injected", last_lines=["a line"])

            return msgspec.structs.replace(found, do=do)

        return Stage(stage.name, prepare)

    return tuple(spoiled(stage) if stage.name == step else stage for stage in stages)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
async def test_a_failure_at_each_step_takes_everything_back(
    step: str, after: bool, tmp_path: Path
) -> None:
    source = repository(tmp_path / "repo")
    made = work(tmp_path)
    before = picture(tmp_path), git_state(source)
    reports = Reports()
    stages = failing(all_stages(local(source), allow), step, after=after)
    with pytest.raises(ProvisionFailed) as caught:
        async with provisioning(made, stages, reports.append):
            raise AssertionError("it went on")
    assert str(caught.value) == (
        f"colony app was not provisioned: {step}: injected; all is as it was before"
    )
    assert caught.value.last_lines == ("a line",)
    assert leftovers(before, picture(tmp_path)) == {}
    assert git_state(source) == before[1]
    # The last first, the one that failed among them.
    undone = [each.step for each in reports if each.state == "undone"]
    assert undone == list(reversed(STEPS[: STEPS.index(step) + 1]))
    assert [each.state for each in made.journal.runs()] == ["undone"]


def leftovers(
    before: tuple[dict[str, object], object], now: dict[str, object]
) -> dict[str, object]:
    """What differs from before, the folders of the journal and of ours that stay aside."""
    known = before[0]
    changed = {path: value for path, value in now.items() if path not in known}
    changed |= {path: value for path, value in known.items() if path not in now}
    changed |= {path: now[path] for path in now.keys() & known.keys() if now[path] != known[path]}
    return {path: what for path, what in changed.items() if not _ours(path)}


def _ours(path: str) -> bool:
    return path.endswith(("/home", "/home/databases", "/home/workspaces"))


async def test_what_was_taken_back_is_done_again(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    with pytest.raises(ProvisionFailed):
        await run(
            work(tmp_path), failing(all_stages(local(source), allow), "database", after=False)
        )
    reports = await run(work(tmp_path), all_stages(local(source), allow))
    assert [each.step for each in reports if each.state == "done"] == STEPS


async def test_an_error_after_the_last_step_takes_everything_back(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    before = picture(tmp_path), git_state(source)
    with pytest.raises(LookupError):
        async with provisioning(work(tmp_path), all_stages(local(source), allow), Reports().append):
            raise LookupError("the namespace could not be made")
    assert leftovers(before, picture(tmp_path)) == {}
    assert git_state(source) == before[1]


async def test_cancelling_takes_everything_back(tmp_path: Path) -> None:
    files = {**support.FILES, "colony.toml": support.COLONY.replace("echo", "sleep 60; echo")}
    source = repository(tmp_path / "repo", files)
    before = picture(tmp_path), git_state(source)

    with anyio.CancelScope() as scope:

        def cancel(progress: object) -> None:
            if getattr(progress, "step", "") == "setup":
                scope.cancel()

        async with provisioning(work(tmp_path), all_stages(local(source), allow), cancel):
            raise AssertionError("it went on")
    assert leftovers(before, picture(tmp_path)) == {}
    assert git_state(source) == before[1]


async def test_a_command_that_fails_is_told_with_its_last_lines(tmp_path: Path) -> None:
    line = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i; done; exit 3"
    files = {**support.FILES, "colony.toml": support.COLONY.replace("echo set up > done.txt", line)}
    source = repository(tmp_path / "repo", files)
    made = work(tmp_path)
    with pytest.raises(ProvisionFailed) as caught:
        await run(made, all_stages(local(source), allow))
    cause = caught.value.cause
    assert (cause.command, cause.code) == (line, 3)
    assert cause.last_lines == tuple(f"line {i}" for i in range(3, 13))
    assert str(cause) == f"`{line}` failed: exit code 3"
    assert cause.help == f"all it wrote is in {made.log}"
    assert "line 1\n" in made.log.read_text()


async def test_keep_leaves_the_debris_and_resume_goes_on(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    stages = failing(all_stages(local(source), allow), "setup", after=False)
    with pytest.raises(ProvisionFailed) as caught:
        await run(work(tmp_path), stages, keep=True)
    assert str(caught.value).endswith("; what was made is kept")
    made = work(tmp_path)
    assert (made.workspace / ".venv").is_dir()
    assert [each.state for each in made.journal.runs()] == ["kept"]
    reports = await run(made, all_stages(local(source), allow), resume=True)
    assert [each.step for each in reports if each.state == "done"] == ["setup", "database"]
    assert [each.state for each in made.journal.runs()] == ["done"]


async def test_a_resumed_run_that_fails_again_takes_all_of_it_back(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    before = picture(tmp_path), git_state(source)
    stages = failing(all_stages(local(source), allow), "setup", after=False)
    with pytest.raises(ProvisionFailed):
        await run(work(tmp_path), stages, keep=True)
    with pytest.raises(ProvisionFailed):
        await run(work(tmp_path), stages, resume=True)
    assert leftovers(before, picture(tmp_path)) == {}
    assert git_state(source) == before[1]


async def test_two_at_once(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    async with provisioning(work(tmp_path), all_stages(local(source), allow), Reports().append):
        with pytest.raises(Busy) as caught:
            await run(work(tmp_path), all_stages(local(source), allow))
    assert str(caught.value) == "colony app is being provisioned by another process"


async def test_what_is_there_already_is_not_touched(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    made = work(tmp_path)
    made.workspace.mkdir(parents=True)
    (made.workspace / "mine").write_text("mine")
    with pytest.raises(ProvisionFailed) as caught:
        await run(made, all_stages(local(source)))
    assert str(caught.value.cause) == f"{made.workspace} is there already"
    assert (made.workspace / "mine").read_text() == "mine"


# A crash.

CRASHING = """
    import os, signal, sys
    from pathlib import Path
    import anyio
    from colony.provision import all_stages, allow, provisioning
    from tests.colony.provision.support import local, work

    step, state, tmp, backend = sys.argv[1:]

    def report(progress):
        if (progress.step, progress.state) == (step, state):
            os.kill(os.getpid(), signal.SIGKILL)

    async def main():
        stages = all_stages(local(Path(tmp) / "repo"), allow)
        async with provisioning(work(Path(tmp)), stages, report):
            pass

    anyio.run(main, backend=backend)
"""


@pytest.mark.parametrize("state", ["begun", "done"])
@pytest.mark.parametrize("step", STEPS)
def test_a_crash_at_each_step_is_taken_back_at_the_next_start(
    step: str, state: str, tmp_path: Path
) -> None:
    source = repository(tmp_path / "repo")
    made = work(tmp_path)
    before = picture(tmp_path), git_state(source)
    backend = "trio" if state == "done" else "asyncio"
    program = [sys.executable, "-c", textwrap.dedent(CRASHING), step, state, str(tmp_path), backend]
    done = subprocess.run(program, capture_output=True, text=True, check=False, cwd=root())
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [each.state for each in made.journal.runs()] == ["running"]
    assert recover(made.journal) == ["app"]
    assert recover(made.journal) == []
    assert leftovers(before, picture(tmp_path)) == {}
    assert git_state(source) == before[1]


def root() -> Path:
    return Path(__file__).parents[3]


def test_a_run_that_lives_is_not_taken_back(tmp_path: Path) -> None:
    made = work(tmp_path)
    with made.journal.lock("app"):
        made.journal.begin("app", str(made.workspace))
        assert recover(made.journal) == []
    assert recover(made.journal) == ["app"]


# Sources.


async def test_a_clone(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    made = work(tmp_path)
    stages = all_stages(remote(source), allow)[:4]
    await run(made, stages)
    assert (made.workspace / "colony.toml").read_text() == support.COLONY
    assert not (made.workspace / ".env").exists()


async def test_a_clone_of_nothing(tmp_path: Path) -> None:
    made = work(tmp_path)
    with pytest.raises(ProvisionFailed) as caught:
        await run(made, all_stages(remote(tmp_path / "none")))
    assert caught.value.cause.code == 128
    assert any("does not" in line for line in caught.value.last_lines)
    assert not made.workspace.exists()


async def test_a_folder_that_is_no_repository(tmp_path: Path) -> None:
    with pytest.raises(ProvisionFailed) as caught:
        await run(work(tmp_path), all_stages(local(tmp_path)))
    assert str(caught.value.cause) == f"{tmp_path} is no git repository"


async def test_a_repository_without_a_colony_toml_gets_one(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", {"Procfile": "web: serve $PORT\n"})
    made = work(tmp_path)
    await run(made, all_stages(local(source)))
    assert made.config.services["web"].command == "serve $PORT"


async def test_a_colony_toml_with_mistakes(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", {"colony.toml": "[services.web]\ncomand = 'x'\n"})
    made = work(tmp_path)
    with pytest.raises(ProvisionFailed) as caught:
        await run(made, all_stages(local(source)))
    assert str(caught.value.cause) == "its colony.toml has 1 mistake(s)"
    assert "error: unknown key `comand` in [services.web]" in caught.value.last_lines
    assert not made.workspace.exists()


# Consent.


async def test_setup_of_a_stranger_needs_consent_once(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo")
    asked: list[tuple[str, tuple[str, ...]]] = []

    async def ask(where: str, commands: tuple[str, ...]) -> bool:
        asked.append((where, commands))
        return True

    with pytest.raises(ProvisionFailed) as caught:
        await run(work(tmp_path), all_stages(remote(source)))
    assert str(caught.value.cause) == (
        f"the setup commands of file://{source} have not been allowed: echo set up > done.txt"
    )
    await run(work(tmp_path), all_stages(remote(source), ask))
    assert asked == [(f"file://{source}", ("echo set up > done.txt",))]
    # The same again elsewhere: allowed. Another command: not.
    await run(work(tmp_path, "two"), all_stages(remote(source)))
    (source / "colony.toml").write_text(support.COLONY.replace("set up", "other"))
    support.git(source, "commit", "-q", "-a", "-m", "second")
    with pytest.raises(ProvisionFailed):
        await run(work(tmp_path, "three"), all_stages(remote(source)))


# Runtimes.


async def test_a_runtime_that_nobody_has(tmp_path: Path) -> None:
    text = '[colony.environment]\nruby_version = "0.1"\n[services.web]\ncommand = "x"\n'
    source = repository(tmp_path / "repo", {"colony.toml": text})
    with pytest.raises(ProvisionFailed) as caught:
        await run(work(tmp_path), all_stages(local(source)))
    assert str(caught.value.cause) == "ruby 0.1 is not to be had here: tried PATH, mise, asdf"
    assert caught.value.cause.help == ("install it, or change ruby_version in [colony.environment]")


def test_a_run_that_is_not_in_the_journal_is_named(tmp_path: Path) -> None:
    """As after somebody has removed it under our feet; not as StopIteration, which no coroutine
    may raise."""
    journal = Journal(tmp_path)
    with pytest.raises(LookupError) as caught:
        journal.run(7)
    assert str(caught.value) == f"run 7 is no longer in {journal.path}: was that file removed?"
