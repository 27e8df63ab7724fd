"""The main job: one colony from its colony.toml to an answer over real sockets, and back."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from netns import userns
from tests.end_to_end.colonies import (
    PATIENCE,
    ROOT,
    Colony,
    Shop,
    answers,
    both_doors,
    eventually,
    get,
    host,
    page,
    root_only,
)
from tests.ports import free_port

pytestmark = root_only


def dig(port: int, name: str, kind: str) -> list[str]:
    """What `dig` answers, and only from that server."""
    found = subprocess.run(
        ["dig", "@127.0.0.1", "-p", str(port), name, kind, "+short", "+tries=3", "+time=5"],
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.split()


def configuration(port: int) -> Any:
    """A Caddy's whole configuration, as the documents' own curl command shows it."""
    response = get(port, f"localhost:{port}", "/config/")
    assert response.status == 200
    return json.loads(response.text)


def hosts_and_handlers(config: Any) -> dict[str, list[str]]:
    """By host, the handlers, however nested, of its route in `apps.http.servers.colony`."""
    routes = config["apps"]["http"]["servers"]["colony"]["routes"]
    found: dict[str, list[str]] = {}
    for route in routes:
        for match in route.get("match", []):
            for name in match.get("host", []):
                found[name] = re.findall(r'"handler": "(\w+)"', json.dumps(route["handle"]))
    return found


@both_doors
def test_the_documents_own_example(shop: Shop, door: tuple[str, ...]) -> None:
    folder = shop.folder / "hello"
    shutil.copytree(ROOT / "examples" / "hello-colony", folder)
    file = folder / "colony.toml"
    name = shop.name()
    file.write_text(file.read_text().replace('"hello-colony"', f'"{name}"'))
    colony = Colony(name, file)

    run = shop.run(colony, options=door)
    run.ready()

    expected = (folder / "index.html").read_text()
    answers(run.http_port, host(colony), expected)  # ready waits for the front door, but not long
    for suffix in ("colony.local", "colony.localhost"):
        for address in ("127.0.0.1", "::1"):
            response = get(run.http_port, host(colony, suffix=suffix), address=address)
            assert response == (200, expected)
    if not userns.entered():
        listed = subprocess.check_output(["ip", "netns", "list"], text=True)
        assert f"colony-{name}" in listed.split()


@both_doors
def test_the_printed_url_leads_to_the_service(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("hello", path="/deep/page")})
    run = shop.run(colony, options=door)
    run.ready()
    url = run.expect(r"· web +http://([^/:]+)(?::(\d+))?(/\S*)$")
    assert url[1] == host(colony, suffix="colony.localhost")
    assert int(url[2] or 80) == run.http_port
    assert url[3] == "/deep/page"


@both_doors
def test_names_resolve_to_the_front_door(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("hello")})
    run = shop.run(colony, options=door)
    run.ready()
    for suffix in ("colony.local", "colony.localhost"):
        name = host(colony, suffix=suffix)
        assert dig(run.dns_port, name, "A") == ["127.0.0.1"]
        assert dig(run.dns_port, name, "AAAA") == ["::1"]


def test_the_documents_admin_api_shows_a_route_per_service(shop: Shop) -> None:
    admin = free_port()
    colony = shop.colony({"web": page("one"), "api": page("two", 4002)})
    run = shop.run(colony, options=["--caddy-admin", f"localhost:{admin}"])
    run.ready("web")
    run.ready("api")

    wanted = {host(colony, port, suffix) for port in (4001, 4002) for suffix in SUFFIXES}
    eventually(lambda: wanted <= set(hosts_and_handlers(configuration(admin))))
    found = hosts_and_handlers(configuration(admin))
    for name in wanted:
        assert "reverse_proxy" in found[name]


SUFFIXES = ("colony.local", "colony.localhost")


class StrangersCaddy:
    """A Caddy that the test starts, with a site of its own."""

    def __init__(self, folder: Path) -> None:
        self.admin, self.port = free_port(), free_port()
        handler = {"handler": "static_response", "body": "the stranger's"}
        site = {
            "listen": [f"127.0.0.1:{self.port}"],
            "automatic_https": {"disable": True},
            "routes": [{"handle": [handler]}],
        }
        config = {
            "admin": {"listen": f"127.0.0.1:{self.admin}", "config": {"persist": False}},
            "apps": {"http": {"servers": {"theirs": site}}},
        }
        (folder / "caddy.json").write_text(json.dumps(config))
        self.popen = subprocess.Popen(
            ["caddy", "run", "--config", str(folder / "caddy.json")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin"},
        )

    def __enter__(self) -> StrangersCaddy:
        eventually(lambda: configuration(self.admin))
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait()


def test_a_caddy_that_runs_already_is_used_and_left_as_it_was(shop: Shop) -> None:
    with StrangersCaddy(shop.folder) as caddy:
        before = configuration(caddy.admin)
        colony = shop.colony({"web": page("hello")})
        run = shop.run(colony, options=["--caddy", f"http://localhost:{caddy.admin}"])
        run.ready()
        answers(run.http_port, host(colony), "hello")
        assert get(caddy.port, "localhost").text == "the stranger's"
        assert "reverse_proxy" in hosts_and_handlers(configuration(caddy.admin))[host(colony)]
        assert run.stop() == 130
        assert configuration(caddy.admin) == before
        assert get(caddy.port, "localhost").text == "the stranger's"


@both_doors
def test_an_unknown_name_of_ours_lists_what_is_served(shop: Shop, door: tuple[str, ...]) -> None:
    colony = shop.colony({"web": page("hello")})
    run = shop.run(colony, options=door)
    run.ready()
    answers(run.http_port, host(colony), "hello")
    response = get(run.http_port, "nobody-1234.colony.local")
    assert response.status == 404
    assert host(colony, suffix="colony") in response.text or colony.name in response.text


def test_nothing_of_a_service_reaches_the_hosts_loopback(shop: Shop) -> None:
    """Its port is its own: on the host nobody listens there because of it."""
    port = free_port()
    colony = shop.colony({"web": page("hello", port)})
    run = shop.run(colony)
    run.ready()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)


def test_output_is_plain_and_prefixed_when_it_is_no_terminal(shop: Shop) -> None:
    say = [sys.executable, "-uc", "print('a\\x1b[1mb'); import time; time.sleep(600)"]
    colony = shop.colony({"say": {"command": say}, "longer-name": {"command": ["sleep", "600"]}})
    run = shop.run(colony)
    run.expect(r"^say         \| ab$")
    run.service_pid("longer-name")
    assert [line for line in run.own_lines() if "\x1b" in line] == []
