"""What cannot be run is refused in words: the right status, no traceback, nothing left."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from tests.end_to_end.colonies import (
    EMBEDDED,
    PATIENCE,
    Colony,
    Shop,
    both_doors,
    page,
    program,
    root_only,
)
from tests.ports import free_port


def colony_command(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "colony", *arguments],
        capture_output=True,
        text=True,
        cwd=shop.folder,
        env=shop.environment(),
        timeout=PATIENCE,
    )


def refused(shop: Shop, *arguments: str) -> str:
    """What is said on stderr by a command that must end with status 2, and say nothing else."""
    done = colony_command(shop, *arguments)
    assert (done.returncode, done.stdout) == (2, ""), done
    assert "Traceback" not in done.stderr
    assert not shop.runtime.exists()
    return done.stderr


def test_two_services_on_one_port_are_shown_with_both_places(shop: Shop) -> None:
    colony = shop.colony({"web": page("one"), "api": page("two")})
    errors = refused(shop, "run", str(colony.file))
    lines = errors.splitlines()
    carets = [line for line in lines if set(line.partition("|")[2].strip()[:1]) & set("^-")]
    assert len(carets) == 2, errors
    assert errors.count("port = 4001") == 2
    assert "4001" in lines[0]
    assert str(colony.file) in errors


def test_a_missing_file(shop: Shop) -> None:
    assert "no such file" in refused(shop, "run", "nowhere.toml")


def test_no_file_at_all(shop: Shop) -> None:
    assert "there is no colony.toml in" in refused(shop, "run")


def test_bad_toml(shop: Shop) -> None:
    file = shop.write("[colony\nname = 1\n")
    errors = refused(shop, "run", str(file))
    assert f"{file}:1:" in errors


def test_every_problem_of_every_kind_at_once(shop: Shop) -> None:
    text = '[colony]\nname = "Bad Name"\n[services.web]\ncommand = ""\nport = 80\nprot = 1\n'
    errors = refused(shop, "run", str(shop.write(text)))
    for line in ("Bad Name", "prot", "80"):
        assert line in errors


@pytest.mark.parametrize(
    ("option", "word"),
    [
        (["--no-such-option"], "--no-such-option"),
        (["--proxy", "apache"], "apache"),
        (["--http-port", "70000"], "70000"),
        (["--network", "bridge"], "bridge"),
    ],
)
def test_wrong_usage(shop: Shop, option: list[str], word: str) -> None:
    assert word in refused(shop, "run", *option)


def test_the_same_file_twice(shop: Shop) -> None:
    colony = shop.colony({"web": page("one")})
    errors = refused(shop, "run", str(colony.file), str(colony.file))
    assert colony.name in errors


def test_an_unknown_command(shop: Shop) -> None:
    assert "fly" in refused(shop, "fly")


def test_validate_says_so_without_starting_anything(shop: Shop) -> None:
    colony = shop.colony({"web": page("one"), "api": page("two", 4002)})
    done = colony_command(shop, "validate", str(colony.file))
    assert done.returncode == 0, done
    assert done.stdout == f"{colony.file}: colony {colony.name}, 2 services: valid\n"
    assert not shop.runtime.exists()


# -- what only starting shows ------------------------------------------------------------------


def failed(
    shop: Shop,
    colony: Colony,
    *options: str,
    env: dict[str, str] | None = None,
    status: int = 1,
) -> str:
    """The one error line of a `colony run` that must end with this status."""
    run = shop.run(colony, options=options, env=env)
    assert run.wait() == status, run.transcript()
    assert "Traceback" not in run.transcript()
    (error,) = [line for line in run.err.all() if line.startswith("error: ")]
    return error


@root_only
@both_doors
def test_a_service_that_cannot_be_executed(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("one"), "api": {"command": ["/nowhere/program"]}})
    error = failed(shop, colony, *door)
    assert error == (
        f"error: api of colony {colony.name} cannot start: "
        "cannot start '/nowhere/program': /nowhere/program does not exist"
    )


@root_only
def test_a_program_that_is_not_in_path(shop: Shop) -> None:
    colony = shop.colony({"api": {"command": ["no-such-program-anywhere"]}})
    error = failed(shop, colony, *EMBEDDED)
    assert "no such program in PATH" in error


def test_a_port_that_is_taken_on_the_hosts_network(shop: Shop) -> None:
    """Names the holder, the port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        colony = shop.colony({"web": page("one", port)})
        error = failed(shop, colony, "--network", "host", *EMBEDDED)
    assert f"web of colony {colony.name} cannot start: port {port} is taken by pid " in error
    assert f"pid {os.getpid()} " in error
    assert "change the service's port" in error


def test_two_colonies_that_want_one_port_of_the_hosts_network(shop: Shop) -> None:
    port = free_port()
    one, two = shop.colony({"web": page("one", port)}), shop.colony({"web": page("two", port)})
    run = shop.run(one, two, options=["--network", "host", *EMBEDDED])
    assert run.wait() == 1, run.transcript()
    errors = [line for line in run.err.all() if line.startswith("error: ")]
    assert errors == [
        f"error: web of colony {two.name} cannot start: port {port} is web's of colony {one.name}; "
        "change one of the two (with networks of their own, see `colony doctor`, each has its own "
        "ports)"
    ]


@pytest.mark.parametrize(
    "options", [pytest.param((), id="caddy"), pytest.param(EMBEDDED, id="embedded")]
)
def test_a_front_door_port_that_is_taken(shop: Shop, options: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("one")})
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = failed(shop, colony, "--http-port", str(port), *options)
    assert f"no port for the front door: tried {port} (taken)" in error


def test_a_caddy_that_is_not_there(shop: Shop) -> None:
    colony = shop.colony({"web": page("one")})
    port = free_port()
    error = failed(shop, colony, "--caddy", f"http://localhost:{port}")
    assert f"http://localhost:{port}" in error
    assert "is that Caddy running?" in error


def test_an_admin_port_that_is_taken(shop: Shop) -> None:
    colony = shop.colony({"web": page("one")})
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = failed(shop, colony, "--caddy-admin", f"localhost:{port}")
    assert f"{port} (taken)" in error


def test_a_caddy_by_name_that_is_not_installed(shop: Shop) -> None:
    empty = shop.folder / "empty"
    empty.mkdir()
    colony = shop.colony({"web": page("one")})
    error = failed(shop, colony, "--proxy", "caddy", env={"PATH": str(empty)}, status=8)
    assert "--proxy caddy: there is no caddy on this machine" in error
    assert "apt-get install caddy" in error


@root_only
def test_without_the_parts_the_stand_ins_do(shop: Shop) -> None:
    empty = shop.folder / "empty"
    empty.mkdir()
    colony = shop.colony({"web": {"command": program("page", 4001, "hello"), "port": 4001}})
    run = shop.run(colony, env={"PATH": str(empty)})
    run.ready()
    run.expect(r"✓ embedded .*\[::1\] port")
