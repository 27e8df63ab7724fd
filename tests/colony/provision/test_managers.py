"""Package managers and version managers, for real: pnpm, yarn, bun, pip, bundle, cargo, mise.

The dependencies are folders beside, so that a test needs no registry once the manager is there.
The managers that the machine lacks come from npm, as a colony's do.
"""

from __future__ import annotations

import http.server
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import anyio
import pytest
import tomlkit

from colony.provision import Journal, ProvisionFailed, Work, all_stages
from tests.colony.provision.support import Reports, environ, local, picture, repository
from tests.colony.provision.test_pipeline import run
from tests.registries import SLOWLY, npm_install

pytestmark = [pytest.mark.real_time, SLOWLY]


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"there is no {program} here")


def package(**more: object) -> str:
    return json.dumps({"name": "x", "version": "1.0.0", **more})


def colony(**environment: str) -> str:
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in environment.items())
    return f'[colony.environment]\n{lines}[services.web]\ncommand = "true"\n'


def work(tmp: Path, managers: Path, name: str = "app", *more: str) -> Work:
    """As `support.work`, but online, and with the runtimes that the other tests have got."""
    home = tmp / "home"
    home.mkdir(exist_ok=True)
    if not (home / "runtimes").exists():
        (home / "runtimes").symlink_to(managers)
    # The machine's own settings count here: where its registries are, and whom it trusts.
    variables = {**os.environ, **environ(tmp)}
    del variables["npm_config_offline"]
    variables["PATH"] = ":".join([*more, variables["PATH"]])
    variables["COREPACK_ENABLE_STRICT"] = "0"
    return Work(name, home / "workspaces" / name, Journal(home), variables)


@pytest.fixture(scope="module")
def managers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of runtimes for all tests here, so that each comes from npm once."""
    return tmp_path_factory.mktemp("runtimes")


def done(reports: Reports) -> list[str]:
    return [each.step for each in reports if each.state == "done"]


# -- Node.js ---------------------------------------------------------------------------------------

NODE_FILES = {
    "package.json": package(dependencies={"dep": "file:./dep"}),
    "dep/package.json": json.dumps({"name": "dep", "version": "2.0.0"}),
    ".gitignore": "node_modules\n",
}
LOCKS = {"pnpm": "pnpm-lock.yaml", "yarn": "yarn.lock", "bun": "bun.lock"}


@needs("npm")
@pytest.mark.backends("trio")
@pytest.mark.parametrize("manager", LOCKS)
async def test_node_packages(tmp_path: Path, managers: Path, manager: str) -> None:
    """First by the file that asks for the manager; then by the lock that it has left."""
    lock = LOCKS[manager]
    files = NODE_FILES | {"colony.toml": colony(node_version="latest", package_manager=manager)}
    source = repository(tmp_path / "repo", files)
    made = work(tmp_path, managers)
    assert "node packages" in done(await run(made, all_stages(local(source))))
    installed = made.workspace / "node_modules/dep/package.json"
    assert json.loads(installed.read_text())["version"] == "2.0.0"
    assert (made.workspace / lock).is_file()
    assert done(await run(work(tmp_path, managers), all_stages(local(source)))) == []

    locked = files | {
        "colony.toml": colony(node_version="latest"),
        lock: (made.workspace / lock).read_text(),
    }
    other = repository(tmp_path / "locked", locked)
    again = work(tmp_path, managers, "again")
    reports = await run(again, all_stages(local(other)))
    assert [each.detail for each in reports if each.step == "node packages"][-1] == (
        f"{manager} install --frozen-lockfile"
    )
    assert (again.workspace / "node_modules/dep/package.json").is_file()
    assert (again.workspace / lock).read_text() == locked[lock]


@needs("npm")
@pytest.mark.backends("trio")
@pytest.mark.parametrize("manager", ["pnpm", "yarn", "bun"])
async def test_node_packages_that_are_not_to_be_had(
    tmp_path: Path, managers: Path, manager: str
) -> None:
    files = {
        "package.json": package(dependencies={"dep": "file:./nowhere"}),
        "colony.toml": colony(node_version="latest", package_manager=manager),
    }
    source = repository(tmp_path / "repo", files)
    before = picture(source, tmp_path / "home")
    with pytest.raises(ProvisionFailed) as caught:
        await run(work(tmp_path, managers), all_stages(local(source)))
    assert caught.value.step == "node packages"
    assert caught.value.cause.command == f"{manager} install"
    assert "nowhere" in "\n".join(caught.value.last_lines)
    assert not (tmp_path / "home" / "workspaces").exists()
    after = picture(source, tmp_path / "home")
    assert {each for each in after if "/runtimes" not in each} == {
        each for each in before if "/runtimes" not in each
    }


# -- the other ecosystems --------------------------------------------------------------------------


BACKED = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
BACKEND = """\
from zipfile import ZipFile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name, info = "dep-1.0-py3-none-any.whl", "dep-1.0.dist-info"
    with ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.write("dep.py")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\\nName: dep\\nVersion: 1.0\\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\n")
        wheel.writestr(f"{info}/RECORD", "")
    return name
"""
"""So that pip needs no setuptools from a registry to build it."""


@pytest.mark.backends("trio")
async def test_python_packages_without_uv(tmp_path: Path, managers: Path) -> None:
    """By the virtual environment's own pip."""
    files = {
        "colony.toml": colony(python_version="3"),
        "requirements.txt": "./dep\n",
        "dep/pyproject.toml": BACKED,
        "dep/backend.py": BACKEND,
        "dep/dep.py": "ANSWER = 42\n",
    }
    source = repository(tmp_path / "repo", files)
    made = work(tmp_path, managers)
    (tmp_path / "tools" / "uv").unlink(missing_ok=True)
    reports = await run(made, all_stages(local(source)))
    assert "python packages" in done(reports)
    python = made.workspace / ".venv/bin/python"
    assert await made.ask(str(python), "-c", "import dep; print(dep.ANSWER)") == "42"
    again = work(tmp_path, managers)
    (tmp_path / "tools" / "uv").unlink(missing_ok=True)
    assert done(await run(again, all_stages(local(source)))) == []


GEMFILE = "gem 'dep', path: './dep'\n"
GEMSPEC = """\
Gem::Specification.new do |spec|
  spec.name = "dep"
  spec.version = "2.0.0"
  spec.summary = "a dependency"
  spec.authors = ["nobody"]
  spec.files = ["lib/dep.rb"]
end
"""
GEMFILE_LOCK = """\
PATH
  remote: dep
  specs:
    dep (2.0.0)

GEM
  specs:

PLATFORMS
  ruby

DEPENDENCIES
  dep!
"""


@needs("bundle")
async def test_ruby_packages(tmp_path: Path, managers: Path) -> None:
    files = {
        "colony.toml": colony(ruby_version="latest"),
        "Gemfile": GEMFILE,
        "Gemfile.lock": GEMFILE_LOCK,
        "dep/dep.gemspec": GEMSPEC,
        "dep/lib/dep.rb": "ANSWER = 42\n",
    }
    source = repository(tmp_path / "repo", files)
    made = work(tmp_path, managers)
    assert "bundle packages" in done(await run(made, all_stages(local(source))))
    said = await anyio.run_process(
        ["bundle", "exec", "ruby", "-e", "require 'dep'; puts ANSWER"],
        cwd=made.workspace,
        env=made.environ,
    )
    assert said.stdout == b"42\n"
    assert done(await run(work(tmp_path, managers), all_stages(local(source)))) == []


CARGO = '[package]\nname = "x"\nversion = "1.0.0"\nedition = "2018"\n'
CARGO_LOCK = """\
version = 3

[[package]]
name = "dep"
version = "2.0.0"

[[package]]
name = "x"
version = "1.0.0"
dependencies = [
 "dep",
]
"""


def crate(lock: str) -> dict[str, str]:
    return {
        "colony.toml": colony(rust_version="1"),
        "Cargo.toml": CARGO + '[dependencies]\ndep = { path = "dep" }\n',
        "Cargo.lock": lock,
        "src/main.rs": 'fn main() { println!("{}", dep::ANSWER); }\n',
        "dep/Cargo.toml": CARGO.replace('"x"', '"dep"').replace("1.0.0", "2.0.0"),
        "dep/src/lib.rs": "pub const ANSWER: i32 = 42;\n",
    }


def of(program: str) -> str:
    return str(Path(shutil.which(program) or program).parent)


@needs("cargo")
async def test_rust_packages(tmp_path: Path, managers: Path) -> None:
    source = repository(tmp_path / "repo", crate(CARGO_LOCK))
    made = work(tmp_path, managers, "app", of("cargo"))
    assert "cargo packages" in done(await run(made, all_stages(local(source))))
    again = work(tmp_path, managers, "app", of("cargo"))
    assert done(await run(again, all_stages(local(source)))) == []


@needs("cargo")
async def test_rust_packages_other_than_the_lock(tmp_path: Path, managers: Path) -> None:
    """A lock that would have to change is a failure, not a change."""
    source = repository(tmp_path / "repo", crate("version = 3\n"))
    with pytest.raises(ProvisionFailed) as caught:
        await run(work(tmp_path, managers, "app", of("cargo")), all_stages(local(source)))
    assert (caught.value.step, caught.value.cause.command, caught.value.cause.code) == (
        *("cargo packages", "cargo fetch --locked"),
        101,
    )
    assert not (tmp_path / "home" / "workspaces").exists()


# -- version managers ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mise(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder with mise's program, which comes from npm."""
    folder = tmp_path_factory.mktemp("mise")
    npm_install(folder, "--prefix", str(folder), "@jdxcode/mise")
    return str(folder / "node_modules" / ".bin")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serves a folder's files by HTTP; the URL, with a slash at its end."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: object) -> None:
            super().__init__(*args, directory=str(folder))  # type: ignore[arg-type]

        def log_message(self, *_: object) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[str]:
    """A mirror of nodejs.org with one version, made of the machine's own Node.js."""
    version, top = "v99.1.2", f"node-v99.1.2-linux-{_cpu()}"
    folder = tmp_path / "dist" / version
    folder.mkdir(parents=True)
    written(tmp_path / top / "bin" / "node", f"#!/bin/sh\necho {version}\n")
    archive = folder / f"{top}.tar.gz"
    digest = packed(archive, tmp_path / top)
    (folder / "SHASUMS256.txt").write_text(f"{digest}  {archive.name}\n")
    index = [{"version": version, "date": "2026-01-01", "files": [f"linux-{_cpu()}"], "lts": False}]
    (tmp_path / "dist" / "index.json").write_text(json.dumps(index))
    with served(tmp_path / "dist") as url:
        yield url


def written(path: Path, text: str) -> None:
    """A program, or another file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def packed(archive: Path, folder: Path) -> str:
    """Packs a folder; the digest of the archive."""
    with tarfile.open(archive, "w:gz") as file:
        file.add(folder, folder.name)
    return sha256(archive.read_bytes()).hexdigest()


def _cpu() -> str:
    return {"x86_64": "x64", "aarch64": "arm64"}[os.uname().machine]


def with_mise(tmp: Path, managers: Path, mise: str, **more: str) -> Work:
    made = work(tmp, managers, "app", mise)
    made.environ |= {f"MISE_{each}_DIR": str(tmp / each) for each in ("DATA", "CACHE", "STATE")}
    made.environ |= {"MISE_CONFIG_DIR": str(tmp / "CONFIG"), **more}
    return made


@needs("npm")
@pytest.mark.backends("trio")
async def test_mise_installs_what_is_wanted(
    tmp_path: Path, managers: Path, mise: str, mirror: str
) -> None:
    source = repository(tmp_path / "repo", {"colony.toml": colony(node_version="99.1.2")})
    variables = {"MISE_NODE_MIRROR_URL": mirror, "MISE_NODE_VERIFY": "0", "MISE_OFFLINE": "0"}
    made = with_mise(tmp_path, managers, mise, **variables)
    reports = await run(made, all_stages(local(source)))
    assert [each.detail for each in reports if each.step == "node"] == [
        "mise install node@99.1.2"
    ] * 2
    assert await made.ask("node", "--version") == "v99.1.2"
    # The second time it is there already, and said so.
    again = with_mise(tmp_path, managers, mise, **variables)
    reports = await run(again, all_stages(local(source)))
    [said] = [each for each in reports if each.step == "node"]
    assert (said.state, said.detail.startswith("node 99.1.2 in ")) == ("skipped", True)
    assert again.added["PATH"] == made.added["PATH"]


@needs("npm")
async def test_mise_cannot(tmp_path: Path, managers: Path, mise: str, mirror: str) -> None:
    source = repository(tmp_path / "repo", {"colony.toml": colony(node_version="98")})
    made = with_mise(tmp_path, managers, mise, MISE_NODE_MIRROR_URL=mirror)
    with pytest.raises(ProvisionFailed) as caught:
        await run(made, all_stages(local(source)))
    assert (caught.value.step, caught.value.cause.command) == ("node", "mise install --yes node@98")
    assert not (tmp_path / "home" / "workspaces").exists()


@contextmanager
def toolchains(tmp: Path, version: str) -> Iterator[str]:
    """A mirror of Rust's own server with one version, whose compiler only says which it is."""
    triple = f"{os.uname().machine}-unknown-linux-gnu"
    top = tmp / f"rustc-{version}-{triple}"
    written(top / "rustc" / "bin" / "rustc", f"#!/bin/sh\necho rustc {version}\n")
    written(top / "rustc" / "manifest.in", "file:bin/rustc\n")
    written(top / "components", "rustc\n")
    written(top / "rust-installer-version", "3\n")
    dist = tmp / "dist"
    dist.mkdir()
    archive = dist / f"{top.name}.tar.gz"
    digest = packed(archive, top)
    with served(tmp) as url:
        what = {"available": True, "url": f"{url}dist/{archive.name}", "hash": digest}
        whole = what | {"components": [{"pkg": "rustc", "target": triple}]}
        manifest = {
            "manifest-version": "2",
            "date": "2026-01-01",
            "profiles": {"minimal": ["rustc"]},
            "pkg": {
                name: {"version": version, "target": {triple: each}}
                for name, each in (("rustc", what), ("rust", whole))
            },
        }
        text = tomlkit.dumps(manifest)
        for name in (version, version.rpartition(".")[0]):
            channel = dist / f"channel-rust-{name}.toml"
            channel.write_text(text)
            digest = sha256(channel.read_bytes()).hexdigest()
            (dist / f"{channel.name}.sha256").write_text(f"{digest}  {channel.name}\n")
        yield url.rstrip("/")


RUSTUP = """\
#!/bin/sh
case "$*" in
"which --toolchain 1.999 rustc") test -e "{folder}" && echo {folder}/bin/rustc ;;
"toolchain install --profile minimal --no-self-update 1.999")
    mkdir -p "{folder}/bin" && printf '#!/bin/sh\\necho rustc 1.999.7\\n' > {folder}/bin/rustc
    chmod +x "{folder}/bin/rustc" ;;
*) exit 1 ;;
esac
"""


async def test_rustup_installs_what_is_wanted(tmp_path: Path, managers: Path) -> None:
    """The machine's own rustup, with a home of its own; where there is none a stand-in that answers
    as it does."""
    source = repository(tmp_path / "repo", {"colony.toml": colony(rust_version="1.999")})
    rustup = shutil.which("rustup")
    if rustup is None:
        rustup = str(tmp_path / "tools" / "rustup")
        written(Path(rustup), RUSTUP.format(folder=tmp_path / "toolchain"))
    with toolchains(tmp_path, "1.999.7") as server:

        def made() -> Work:
            found = work(tmp_path, managers, "app", str(Path(rustup).parent))
            found.environ |= {"RUSTUP_DIST_SERVER": server}
            found.environ |= {f"{name}_HOME": str(tmp_path / name) for name in ("RUSTUP", "CARGO")}
            return found

        first = made()
        reports = await run(first, all_stages(local(source)))
        assert [each.detail for each in reports if each.step == "rust"] == [
            "rustup toolchain install 1.999"
        ] * 2
        assert await first.ask("rustc", "--version") == "rustc 1.999.7"
        again = made()
        reports = await run(again, all_stages(local(source)))
    [said] = [each for each in reports if each.step == "rust"]
    assert (said.state, said.detail.startswith("rust 1.999.7 in ")) == ("skipped", True)


ASDF = """\
#!/bin/sh
case "$*" in
"where nodejs 97") test -e "{there}" && echo {folder} ;;
"latest nodejs 97") echo 97.3.1 ;;
"where nodejs 97.3.1") test -e "{there}" && echo {folder} ;;
"install nodejs 97.3.1") touch "{there}" ;;
*) exit 1 ;;
esac
"""


STAND_INS = [
    ("asdf", ASDF, "node", colony(node_version="97"), "v97.3.1", "asdf install nodejs 97.3.1"),
]


@pytest.mark.parametrize(
    ("manager", "script", "runtime", "text", "version", "detail"),
    STAND_INS,
    ids=[each[0] for each in STAND_INS],
)
async def test_a_version_manager_by_a_stand_in(
    tmp_path: Path,
    managers: Path,
    manager: str,
    script: str,
    runtime: str,
    text: str,
    version: str,
    detail: str,
) -> None:
    """No registry that we use has asdf: a program that answers as it does."""
    source = repository(tmp_path / "repo", {"colony.toml": text})
    tools, folder = tmp_path / "manager", tmp_path / "runtime"
    (folder / "bin").mkdir(parents=True)
    tools.mkdir()
    program = {"node": "node", "rust": "rustc"}[runtime]
    for path, content in (
        (folder / "bin" / program, f"#!/bin/sh\necho {version}\n"),
        (tools / manager, script.format(there=tmp_path / "there", folder=folder)),
    ):
        path.write_text(content)
        path.chmod(0o755)
    made = work(tmp_path, managers, "app", str(tools))
    reports = await run(made, all_stages(local(source)))
    assert [each.detail for each in reports if each.step == runtime] == [detail] * 2
    assert made.added["PATH"].startswith(f"{folder}/bin:")
    again = work(tmp_path, managers, "app", str(tools))
    reports = await run(again, all_stages(local(source)))
    assert [each.detail for each in reports if each.step == runtime] == [
        f"{runtime} {version.lstrip('v')} in {folder}/bin"
    ]
