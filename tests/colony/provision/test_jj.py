"""jj repositories, against what jj is called with: no registry that we use has jj itself.

The stand-in is a program on PATH that makes what `jj workspace add` makes, as far as we look at it,
and writes down its arguments.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from colony.provision import ProvisionFailed, Work, all_stages
from tests.colony.provision.support import local, remote, repository, work
from tests.colony.provision.test_pipeline import failing, run

pytestmark = pytest.mark.real_time

STAND_IN = """\
#!/bin/sh
echo "$@" >> "{log}"
case "$*" in
*"workspace add"*) for last; do :; done; mkdir "$last" && mkdir "$last/.jj"
    echo '[services.web]
command = "true"' > "$last/colony.toml" ;;
"git init --colocate") mkdir .jj ;;
esac
"""


def with_jj(made: Work, tmp: Path) -> Path:
    """Puts the stand-in first on the work's PATH; its log."""
    log = tmp / "jj.log"
    folder = tmp / "jj"
    folder.mkdir(exist_ok=True)
    program = folder / "jj"
    program.write_text(STAND_IN.format(log=log))
    program.chmod(0o755)
    made.environ["PATH"] = f"{folder}:{made.environ['PATH']}"
    return log


FILES = {"colony.toml": '[services.web]\ncommand = "true"\n'}


async def test_a_workspace_of_a_jj_repository(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", FILES)
    (source / ".jj").mkdir()
    made = work(tmp_path)
    log = with_jj(made, tmp_path)
    reports = await run(made, all_stages(local(source)))
    assert reports[0].detail == f"jj workspace of {source}"
    assert log.read_text() == f"-R {source} workspace add --name app {made.workspace}\n"


async def test_it_is_forgotten_when_it_is_taken_back(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", FILES)
    (source / ".jj").mkdir()
    made = work(tmp_path)
    log = with_jj(made, tmp_path)
    path = Path(made.environ["PATH"].split(":")[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(path), prepend=":")
        with pytest.raises(ProvisionFailed):
            await run(made, failing(all_stages(local(source)), "database", after=True))
    assert log.read_text().splitlines()[-1] == f"-R {source} workspace forget app"
    assert not made.workspace.exists()


async def test_a_clone_gets_jj_beside_git(tmp_path: Path) -> None:
    source = repository(tmp_path / "repo", FILES)
    made = work(tmp_path)
    log = with_jj(made, tmp_path)
    await run(made, all_stages(remote(source)))
    assert log.read_text() == "git init --colocate\n"
    assert (made.workspace / ".jj").is_dir()
