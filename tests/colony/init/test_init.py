"""What `colony init` finds in a folder, and that what it writes can be started as it stands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from colony import config
from colony.init import AlreadyThere, Folder, Found, detect, text, write

Files = dict[str, str | dict[str, Any]]


def put(folder: Path, files: Files) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def found(folder: Path, files: Files) -> Found:
    made = detect(Folder(put(folder, files)))
    config.parse(text(made, "app"), workspace=str(folder))
    return made


def services(folder: Path, files: Files) -> dict[str, tuple[str, int | None]]:
    return {each.name: (each.command, each.port) for each in found(folder, files).services}


def package(scripts: dict[str, str], needs: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"scripts": scripts, "devDependencies": dict.fromkeys(needs or [], "*"), **more}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, {}),
        ({"package.json": "{"}, {}),
        ({"package.json": "[]"}, {}),
        ({"package.json": package({"build": "vite build"}, ["vite"])}, {}),
        ({"package.json": package({"dev": "vite"}, ["vite"])}, {"web": ("npm run dev", 5173)}),
        (
            {"package.json": package({"dev": "vite --port 4000"}, ["vite"])},
            {"web": ("npm run dev", 4000)},
        ),
        (
            {"package.json": package({"dev": "next dev -p 4000"}, ["next"]), "pnpm-lock.yaml": ""},
            {"web": ("pnpm run dev", 4000)},
        ),
        (
            {"package.json": package({"start": "node x.js"}, ["express"]), "bun.lock": ""},
            {"web": ("bun run start", 3000)},
        ),
        (
            {"package.json": package({"start": "node x.js"})},
            {"web": ("npm run start", None)},
        ),
        (
            {
                "package.json": package(
                    {"dev": "vite", "server": "node api.js", "worker": "node w.js"},
                    ["vite", "express"],
                )
            },
            {
                "web": ("npm run dev", 5173),
                "api": ("npm run server", 3000),
                "worker": ("npm run worker", None),
            },
        ),
        (
            {
                "package.json": package(
                    {"dev": "concurrently 'npm:dev:*'", "dev:web": "vite", "dev:api": "tsx api"},
                    ["vite", "fastify"],
                )
            },
            {"web": ("npm run dev:web", 5173), "api": ("npm run dev:api", 3000)},
        ),
        (
            {"requirements.txt": "fastapi\nuvicorn\n", "main.py": "app = FastAPI()\n"},
            {"api": ("python -m uvicorn main:app --reload --port {port}", 8000)},
        ),
        (
            {"pyproject.toml": "", "src/app.py": "web: FastAPI = fastapi.FastAPI(title='x')\n"},
            {"api": ("python -m uvicorn app:web --app-dir src --reload --port {port}", 8000)},
        ),
        (
            {"requirements.txt": "flask", "app.py": "app = Flask(__name__)\n"},
            {"web": ("python -m flask --app app:app run --port {port}", 5000)},
        ),
        (
            {"manage.py": "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'x')"},
            {"web": ("python manage.py runserver {port}", 8000)},
        ),
        (
            {"requirements.txt": "aiohttp", "server.py": "web.run_app(app)"},
            {"api": ("python server.py", 8080)},
        ),
        (
            {
                "package.json": package({"dev": "vite"}, ["vite"]),
                "requirements.txt": "fastapi",
                "main.py": "app = FastAPI()",
            },
            {
                "web": ("npm run dev", 5173),
                "api": ("python -m uvicorn main:app --reload --port {port}", 8000),
            },
        ),
        (
            {"Procfile": "# all\nweb: serve -p $PORT\nworker: work {port}\nrelease task\n"},
            {"web": ("serve -p $PORT", 5000), "worker": ("work {{port}}", None)},
        ),
        (
            {"Procfile": "web: x", "package.json": package({"dev": "vite"}, ["vite"])},
            {"web": ("x", 5000)},
        ),
    ],
)
def test_services(tmp_path: Path, files: Files, expected: dict[str, Any]) -> None:
    assert services(tmp_path, files) == expected


PROCESS_COMPOSE = """\
processes:
  db:
    command: postgres -D data
    availability: { restart: always }
    readiness_probe: { exec: { command: pg_isready } }
  migrate:
    command: ./migrate
    depends_on: { db: { condition: process_healthy } }
  web:
    command: serve
    working_dir: ./front
    environment: [A=1, "B=x=y"]
    availability: { restart: on_failure }
    depends_on: { migrate: { condition: process_completed_successfully }, gone: {} }
    readiness_probe: { http_get: { port: 3000, path: /health } }
  idle: { command: x, disabled: true }
"""


def test_process_compose(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "front").mkdir()
    made = found(tmp_path, {"process-compose.yaml": PROCESS_COMPOSE})
    db, migrate, web = made.services
    assert (db.command, db.restart, db.port) == ("postgres -D data", "permanent", None)
    assert (migrate.after, migrate.restart) == ({"db": "ready"}, "temporary")
    assert (web.cwd, web.env, web.port, web.ready) == (
        "front", {"A": "1", "B": "x=y"}, 3000, "/health",
    )  # fmt: skip
    assert (web.after, web.restart) == ({"migrate": "completed"}, "transient")
    assert made.notes == (
        "process-compose.yaml, idle: not taken, it has no command or is disabled",
    )


COMPOSE = """\
services:
  web:
    build: ./web
    command: ["npm", "run", "dev server"]
    ports: ["8080:3000"]
    environment: { DEBUG: true, N: 3, INHERITED: }
    depends_on: [api, db]
  api:
    build: .
    command: serve
    ports: ["127.0.0.1:8000:80/tcp"]
    restart: unless-stopped
  db:
    image: postgres:16
"""


def test_docker_compose(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "web").mkdir()
    made = found(tmp_path, {"docker-compose.yml": COMPOSE})
    web, api = made.services
    assert (web.command, web.port, web.cwd) == ("npm run 'dev server'", 3000, "web")
    assert (web.env, web.after) == ({"DEBUG": "true", "N": "3"}, {"api": "started"})
    assert (api.command, api.port, api.restart) == ("serve", 8000, "permanent")
    assert made.notes == (
        "docker-compose.yml, db: not taken, for it has the image postgres:16: say how it runs here",
    )


def test_a_cycle_of_another_tool_is_left_out(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    files: Files = {
        "compose.yml": "services:\n  a: {build: ., command: x, depends_on: [b]}\n"
        "  b: {build: ., command: y, depends_on: [a]}\n"
    }
    found(tmp_path, files)


def test_the_environment_and_where_it_is_from(tmp_path: Path) -> None:
    made = found(
        tmp_path,
        {
            ".nvmrc": "v22.1\n",
            "package.json": package({}, engines={"node": ">=20"}, packageManager="pnpm@9.1.0"),
            "pyproject.toml": "[project]\nrequires-python = '>=3.11,<4'\n",
        },
    )
    assert [(line.field, line.value, line.origin) for line in made.environment] == [
        ("node_version", "22.1", ".nvmrc"),
        ("package_manager", "pnpm", "package.json, packageManager"),
        ("python_version", "3.11", "pyproject.toml, requires-python"),
    ]


def test_two_on_one_port(tmp_path: Path) -> None:
    files: Files = {
        "package.json": package({"dev": "next dev --port 8000"}, ["next"]),
        "requirements.txt": "x",
        "main.py": "app = FastAPI()",
    }
    made = found(tmp_path, files)
    assert [each.port for each in made.services] == [8000, None]
    assert made.notes == ("api: no port taken, for web has 8000",)


def test_the_text(tmp_path: Path) -> None:
    made = found(tmp_path, {"package.json": package({"dev": "vite"}, ["vite"]), ".nvmrc": "22"})
    assert text(made, "My App") == (
        "#:schema .colony/colony.schema.json\n"
        "# Check it with `colony validate`, start it with `colony run`.\n"
        "\n"
        "[colony]\n"
        'name = "my-app"\n'
        "\n"
        "[colony.environment]\n"
        'node_version = "22"  # .nvmrc\n'
        "\n"
        '# From package.json, script "dev": vite\n'
        "[services.web]\n"
        'command = "npm run dev"\n'
        "port = 5173  # vite's usual one\n"
        '# ready = "/health"          # asked until it answers; by default the port is tried\n'
        '# env = { LOG_LEVEL = "debug" }\n'
        '# restart = "on-failure"     # always (the default), on-failure, never\n'
        "\n"
        "# What a terminal of the colony runs.\n"
        "# [terminal]\n"
        '# command = "bash"\n'
    )


@pytest.mark.parametrize("template", ["web-app", "api-service", "full-stack", "python-app"])
def test_over_a_template(template: str) -> None:
    read = config.parse(text(Found(), "app", template=template), workspace="/nonexistent")
    assert (read.name, read.colony.template) == ("app", template)


def test_writing_never_overwrites_unasked(tmp_path: Path) -> None:
    write(tmp_path, "# one\n")
    with pytest.raises(AlreadyThere):
        write(tmp_path, "# two\n")
    assert (tmp_path / "colony.toml").read_text() == "# one\n"
    write(tmp_path, "# two\n", force=True)
    assert (tmp_path / "colony.toml").read_text() == "# two\n"
    assert sorted(os.listdir(tmp_path / ".colony")) == [".gitignore", "colony.schema.json"]


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["scripts", "dev", "start", "engines", "node", "services", "processes", "web", "b",
             "command", "ports", "build", "environment", "depends_on", "working_dir", "restart",
             "availability", "readiness_probe", "http_get", "port", "path", "packageManager"]
        ) | st.text(max_size=3),
        inner,
        max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip
names = st.sampled_from(
    ["package.json", "Procfile", "compose.yml", "process-compose.yaml", ".nvmrc", "manage.py",
     "pyproject.toml", "requirements.txt", "main.py", ".python-version"]
)  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150)
@given(st.dictionaries(names, st.text(max_size=30) | values.map(json.dumps), max_size=4))
def test_whatever_the_folder_holds_what_is_written_is_valid(files: dict[str, str]) -> None:
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content.encode(errors="surrogatepass"))
        made = text(detect(Folder(Path(folder))), "app")
        config.parse(made, workspace=folder)


# The command.


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "colony", "-C", str(folder), "init", *args]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_command(tmp_path: Path) -> None:
    put(tmp_path, {"Procfile": "web: serve\n", ".nvmrc": "22"})
    done = run(tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/colony.toml\n")
    assert done.stderr == "web  from Procfile, web\n"
    again = run(tmp_path)
    assert again.returncode == 6
    assert again.stderr == (
        f"error: there is a {tmp_path}/colony.toml already\n  = help: overwrite it with --force\n"
    )


def test_the_command_with_a_template(tmp_path: Path) -> None:
    done = run(tmp_path, "--template", "web-app", "--name", "blog", "--json")
    answer = json.loads(done.stdout)
    assert (answer["path"], answer["services"]) == (str(tmp_path / "colony.toml"), [])
    assert config.load(tmp_path / "colony.toml").name == "blog"
    assert run(tmp_path, "--template", "webapp").returncode == 5
