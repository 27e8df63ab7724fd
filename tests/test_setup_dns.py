"""scripts/setup-dns.sh under a false root: nothing of this machine's is read or changed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from proxy.ports import DNS_PORTS
from tests.ports import free_port

SCRIPT = Path(__file__).parent.parent / "scripts" / "setup-dns.sh"

RESOLVED = "etc/systemd/resolved.conf.d/colony.conf"
MANAGER = "etc/NetworkManager/dnsmasq.d/colony.conf"
DNSMASQ = "etc/dnsmasq.d/colony.conf"
MACOS = "etc/resolver/colony.local"

WRITTEN = {
    "resolved": (RESOLVED, "[Resolve]\nDNS=127.0.0.1:5354\nDomains=~colony.local\n"),
    "manager": (MANAGER, "server=/colony.local/127.0.0.1#5354\n"),
    "dnsmasq": (DNSMASQ, "server=/colony.local/127.0.0.1#5354\n"),
    "macos": (MACOS, "nameserver 127.0.0.1\nport 5354\n"),
}
"""By resolver: the file, and what is in it below the remark."""

REMARK = "# Written by Colony's setup-dns.sh; --undo removes it.\n"


class Root:
    """A false root directory, and the script in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *words: str, kind: str = "") -> subprocess.CompletedProcess[str]:
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "COLONY_ROOT": str(self.folder)}
        if kind:
            env["COLONY_RESOLVER"] = kind
        return subprocess.run(["sh", str(SCRIPT), *words], env=env, capture_output=True, text=True)

    def files(self) -> dict[str, str]:
        """Every file below the root."""
        found = (each for each in self.folder.rglob("*") if each.is_file())
        return {str(each.relative_to(self.folder)): each.read_text() for each in found}

    def write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


@pytest.mark.parametrize("kind", WRITTEN)
def test_one_file_is_written_twice_the_same_and_taken_back(root: Root, kind: str) -> None:
    path, text = WRITTEN[kind]
    root.write("etc/hosts", "127.0.0.1 localhost\n")
    before = root.files()
    done = root.run(kind=kind)
    assert (done.returncode, done.stderr) == (0, "")
    assert root.files() == before | {path: REMARK + text}
    again = root.run(kind=kind)
    assert f"/{path} is as it should be" in again.stdout
    assert root.files() == before | {path: REMARK + text}
    undone = root.run("--undo")
    assert (undone.returncode, f"removed /{path}" in undone.stdout) == (0, True)
    assert root.files() == before
    assert "there was nothing to undo" in root.run("--undo").stdout


@pytest.mark.parametrize("kind", WRITTEN)
def test_another_port_takes_the_place_of_the_first(root: Root, kind: str) -> None:
    path, text = WRITTEN[kind]
    root.run(kind=kind)
    root.run("--port", "5400", kind=kind)
    assert root.files() == {path: REMARK + text.replace("5354", "5400")}


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_dry_run_changes_nothing(root: Root, kind: str) -> None:
    path, _ = WRITTEN[kind]
    said = root.run("--dry-run", kind=kind)
    assert (said.returncode, f"would write /{path}:" in said.stdout) == (0, True)
    assert root.files() == {}
    root.run(kind=kind)
    written = root.files()
    assert f"would remove /{path}" in root.run("--undo", "--dry-run").stdout
    assert root.files() == written


def test_a_plain_resolv_conf_is_left_alone_and_the_way_out_is_said(root: Root) -> None:
    root.write("etc/resolv.conf", "nameserver 192.0.2.1\n")
    done = root.run()
    assert done.returncode == 1
    assert "colony.localhost" in done.stderr
    assert root.files() == {"etc/resolv.conf": "nameserver 192.0.2.1\n"}


def test_systemd_resolved_is_seen_by_its_stub(root: Root) -> None:
    root.write("etc/resolv.conf", "nameserver 127.0.0.53\n")
    (root.folder / "run/systemd/resolve").mkdir(parents=True)
    done = root.run()
    assert RESOLVED in root.files()
    assert "would run: systemctl restart systemd-resolved" in done.stdout


def test_networkmanager_is_seen_by_its_dnsmasq(root: Root) -> None:
    root.write("etc/resolv.conf", "nameserver 127.0.1.1\n")
    root.write("etc/NetworkManager/conf.d/dns.conf", "[main]\ndns=dnsmasq\n")
    done = root.run()
    assert MANAGER in root.files()
    assert "would run: nmcli general reload" in done.stdout


def test_dnsmasq_is_seen_where_it_is_this_machines_resolver(root: Root) -> None:
    root.write("etc/resolv.conf", "nameserver 127.0.0.1\n")
    (root.folder / "etc/dnsmasq.d").mkdir(parents=True)
    done = root.run()
    assert DNSMASQ in root.files()
    assert "would run: systemctl restart dnsmasq" in done.stdout


@pytest.mark.parametrize("kind", ["manager", "dnsmasq"])
def test_a_real_dnsmasq_does_what_the_file_says(root: Root, kind: str) -> None:
    """As NetworkManager, or the machine, starts one: it asks us for our names and for no others."""
    ours, theirs, resolver = (free_port() for _ in range(3))
    root.run("--port", str(ours), kind=kind)
    folder = (root.folder / WRITTEN[kind][0]).parent
    with (
        dnsmasq(ours, "--address=/colony.local/127.0.0.1", "--local=/colony.local/"),
        dnsmasq(theirs, "--address=/www.test/192.0.2.9"),
        dnsmasq(resolver, f"--conf-dir={folder}", f"--server=127.0.0.1#{theirs}"),
    ):
        assert asked(resolver, "my-app-3000.colony.local") == ["127.0.0.1"]
        assert asked(resolver, "www.test") == ["192.0.2.9"]
        assert asked(ours, "www.test") == []


@contextmanager
def dnsmasq(port: int, *options: str) -> Iterator[None]:
    """A dnsmasq that answers at a port of 127.0.0.1, and reads nothing of this machine's."""
    fixed = ("--keep-in-foreground", "--listen-address=127.0.0.1", "--bind-interfaces")
    nothing = ("--conf-file=/dev/null", "--no-hosts", "--no-resolv", "--pid-file")
    words = ["dnsmasq", *fixed, *nothing, f"--port={port}", *options]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            while not listens(port):
                assert process.poll() is None, process.stderr.read()
                time.sleep(0.01)
            yield
        finally:
            process.terminate()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def asked(port: int, name: str) -> list[str]:
    """The addresses of a name."""
    words = ["dig", "@127.0.0.1", "-p", str(port), "+short", "+tries=3", "+time=5", name, "A"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("words", [["--port"], ["--port", "dns"], ["--port", ""], ["--nope"]])
def test_wrong_usage_is_status_2_and_changes_nothing(root: Root, words: list[str]) -> None:
    done = root.run(*words, kind="macos")
    assert (done.returncode, done.stderr.startswith("usage: ")) == (2, True)
    assert root.files() == {}


def test_the_port_is_the_name_servers_first() -> None:
    assert DNS_PORTS[0] == 5354


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", str(SCRIPT)], capture_output=True, text=True)
    assert done.stdout == ""
