"""scripts/setup-dns.sh under a false root or in namespaces: this machine stays as it is."""

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

    def run(
        self, *words: str, kind: str = "", path: str = "/usr/sbin:/usr/bin:/sbin:/bin"
    ) -> subprocess.CompletedProcess[str]:
        env = {"PATH": path, "COLONY_ROOT": str(self.folder)}
        if kind:
            env["COLONY_RESOLVER"] = kind
        return subprocess.run(
            ["/bin/sh", str(SCRIPT), *words], env=env, capture_output=True, text=True
        )

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


PLAIN = "# mine\nsearch test\nnameserver 192.0.2.1\nnameserver\t2001:db8::1\noptions timeout:1"
"""A resolv.conf as a person may have written it, without an end to its last line."""

OWN = f"""{REMARK}listen-address=127.5.3.54
bind-interfaces
no-hosts
no-resolv
strict-order
server=192.0.2.1
server=2001:db8::1
server=/colony.local/127.0.0.1#5354
"""


@pytest.mark.parametrize("systemd", [True, False])
def test_a_plain_resolv_conf_gets_a_server_of_ours_and_is_given_back(
    root: Root, systemd: bool
) -> None:
    root.write("etc/resolv.conf", PLAIN)
    if systemd:
        (root.folder / "run/systemd/system").mkdir(parents=True)
    done = root.run()
    assert (done.returncode, done.stderr) == (0, "")
    after = root.files()
    assert after.pop("etc/resolv.conf.before-colony") == PLAIN
    assert after.pop("etc/colony/dns.conf") == OWN
    remark, first, rest = after.pop("etc/resolv.conf").split("\n", 2)
    assert remark.startswith("# Written by Colony's setup-dns.sh; --undo puts back what is in ")
    assert (first, rest) == ("nameserver 127.5.3.54", PLAIN + "\n")
    if systemd:
        unit = after.pop("etc/systemd/system/colony-dns.service")
        assert "dnsmasq --keep-in-foreground --conf-file=/etc/colony/dns.conf\n" in unit
        assert "would run: systemctl enable colony-dns" in done.stdout
    else:
        assert "after a reboot run this again" in done.stdout
    assert after == {}
    whole = root.files()
    assert (root.run().returncode, root.files()) == (0, whole)
    undone = root.run("--undo")
    assert (undone.returncode, root.files()) == (0, {"etc/resolv.conf": PLAIN})
    assert "there was nothing to undo" in root.run("--undo").stdout


def test_a_resolv_conf_that_is_a_link_is_one_again(root: Root) -> None:
    root.write("run/dhcp/resolv.conf", PLAIN)
    link = root.folder / "etc/resolv.conf"
    link.parent.mkdir()
    link.symlink_to("../run/dhcp/resolv.conf")
    root.run()
    assert not link.is_symlink()
    assert (root.folder / "run/dhcp/resolv.conf").read_text() == PLAIN
    root.run("--undo")
    assert link.is_symlink()
    assert root.files() == {"etc/resolv.conf": PLAIN, "run/dhcp/resolv.conf": PLAIN}


def test_what_somebody_has_written_since_stays(root: Root) -> None:
    root.write("etc/resolv.conf", PLAIN)
    root.run()
    root.write("etc/resolv.conf", "nameserver 192.0.2.2\n")
    assert "somebody else's by now" in root.run("--undo").stdout
    assert root.files() == {"etc/resolv.conf": "nameserver 192.0.2.2\n"}


def test_without_a_dnsmasq_a_plain_resolv_conf_is_left_alone_and_the_ways_out_are_said(
    root: Root, tmp_path_factory: pytest.TempPathFactory
) -> None:
    programs = tmp_path_factory.mktemp("bin")
    for name in ("sh", "grep", "uname", "sed", "cat", "id"):
        (programs / name).symlink_to(shutil.which(name) or name)
    root.write("etc/resolv.conf", PLAIN)
    done = root.run(path=str(programs))
    assert (done.returncode, root.files()) == (1, {"etc/resolv.conf": PLAIN})
    assert "apt-get install dnsmasq-base" in done.stderr
    assert "colony.localhost" in done.stderr


def test_a_networkmanager_without_a_dnsmasq_is_given_one(root: Root) -> None:
    root.write("etc/resolv.conf", "# Generated by NetworkManager\nnameserver 192.0.2.1\n")
    before = root.files()
    done = root.run()
    assert "would run: nmcli general reload" in done.stdout
    on = "etc/NetworkManager/conf.d/colony.conf"
    assert root.files() == before | {
        on: f"{REMARK}[main]\ndns=dnsmasq\n",
        MANAGER: REMARK + WRITTEN["manager"][1],
    }
    root.run()
    root.run("--undo")
    assert root.files() == before


INSIDE = r"""
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/up" "$1/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/up,workdir=$1/work" /etc
mount -t tmpfs tmpfs /run
umount /etc/resolv.conf 2>/dev/null || true
ip link set lo up
printf '# mine
search test
nameserver 127.0.0.9
options timeout:3 attempts:2' >/etc/resolv.conf
printf 'hosts: files dns
' >/etc/nsswitch.conf
cp /etc/resolv.conf "$1/before"
printf 'address=/colony.local/127.0.0.1\nlocal=/colony.local/\n' >"$1/answers"
printf 'address=/www.test/192.0.2.7\nlocal=/test/\n' >"$1/others"
served() { dnsmasq --no-hosts --no-resolv --bind-interfaces "$@"; }
asked() { getent ahosts "$1" | sed -n "s/ *STREAM.*//p"; }
served --listen-address=127.0.0.9 --pid-file="$1/theirs" --conf-file="$1/others"
sh "$2" >/dev/null
served --listen-address=127.0.0.1 --port=5354 --pid-file="$1/colony" --conf-file="$1/answers"
echo "ours: $(asked my-app-3000.colony.local)"
echo "theirs: $(asked www.test) $(asked www)"
sh "$2" >/dev/null
echo "again: $(asked my-app-3000.colony.local) $(asked www.test)"
colony=$(cat "$1/colony")  # which goes with it
kill "$colony"
while kill -0 "$colony" 2>/dev/null; do sleep 0.05; done
echo "without Colony: $(asked my-app-3000.colony.local) $(asked www.test)"
own=$(cat /run/colony-dns.pid)
kill "$own"
while kill -0 "$own" 2>/dev/null; do sleep 0.05; done
echo "without ours: $(asked www.test)"
sh "$2" >/dev/null
sh "$2" --undo >/dev/null
cmp /etc/resolv.conf "$1/before" && echo "as before"
kill "$(cat "$1/theirs")"
while pgrep -x dnsmasq >/dev/null; do sleep 0.05; done
echo "nobody is left"
find "$1/up" -type f | sed "s|$1/up||" | sort
"""


def test_a_plain_resolv_conf_by_real_programs(tmp_path: Path) -> None:
    """In namespaces of its own, with real dnsmasqs, and glibc's resolver as whoever asks."""
    words = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", "--kill-child"]
    done = subprocess.run(
        [*words, "sh", "-c", INSIDE, "inside", str(tmp_path), str(SCRIPT)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            "ours: 127.0.0.1",
            "theirs: 192.0.2.7 192.0.2.7",
            "again: 127.0.0.1 192.0.2.7",
            "without Colony:  192.0.2.7",
            "without ours: 192.0.2.7",
            "as before",
            "nobody is left",
            "/nsswitch.conf",
            "/resolv.conf",
        ],
        "",
    )


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
    with running(words, port):
        yield


@contextmanager
def running(words: list[str], port: int) -> Iterator[None]:
    """It, once it listens. One that meets an interface going away, as other tests' do all the time,
    ends with these words, and is started again."""
    for _ in range(20):
        with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            try:
                while process.poll() is None and not listens(port):
                    time.sleep(0.01)
                if process.poll() is None:
                    yield
                    return
                said = process.stderr.read()
                assert "failed to find list of interfaces" in said, said
            finally:
                process.terminate()
    raise AssertionError(said)


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
