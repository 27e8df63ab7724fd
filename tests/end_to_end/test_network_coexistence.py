"""Beside others: their packet rules, their networks, a kernel without IPv6, another Colony.

Most are on a machine of their own, as far as the network goes: a network namespace in which Colony
takes itself to be on the host, with /run for itself.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.end_to_end.colonies import (
    EMBEDDED,
    Colony,
    Run,
    Shop,
    answers,
    eventually,
    get,
    host,
    page,
    root_only,
)
from tests.end_to_end.firewalls import INSTALLED, firewall, recorded
from tests.end_to_end.outside import OUTSIDE4, PORT, There, outside
from tests.end_to_end.plain import run_as_a_user

pytestmark = root_only

MACHINE = """
set -e
mount -t tmpfs none /run
ip link set lo up
ip link add lan type dummy 2>/dev/null || ip link add lan type bridge
ip address add 192.0.2.10/24 dev lan
ip link set lan up
ip route add default via 192.0.2.1
{setup}
exec "$@"
"""

ASK = """
import http.client, sys
asked = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=10)
asked.request("GET", "/", headers={"Host": sys.argv[2]})
answer = asked.getresponse()
print(answer.status, answer.read().decode())
"""


def on_a_machine(shop: Shop, colony: Colony, setup: str, *options: str) -> Run:
    """`colony run` on a machine where that was done before."""
    script = MACHINE.replace("{setup}", setup)
    prefix = ["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", script, "sh"]
    return shop.run(colony, prefix=prefix, options=options or EMBEDDED)


def on_loopback(shop: Shop) -> Colony:
    web = page("hello", address="127.0.0.1")
    return shop.colony({"web": web}, network={"ports": ["4500:4001"]})


def there(run: Run, *argv: str) -> str:
    """What a command says on that machine."""
    whole = ["nsenter", "--target", str(run.pid), "--net", *argv]
    return subprocess.run(whole, check=False, capture_output=True, text=True).stdout


def says(run: Run, colony: Colony, text: str) -> None:
    """The service answers through the front door of that machine."""
    answered(run, run.http_port, host(colony), text)


def answered(run: Run, port: int, name: str, text: str) -> None:
    """That answer comes there at last; one that asks in vain says nothing."""
    argv = (sys.executable, "-c", ASK, str(port), name)
    eventually(lambda: there(run, *argv).startswith(f"200 {text}"))


def address_of(run: Run, colony: Colony) -> str:
    inside = ["nsenter", "--target", str(run.service_pid()), "--net", "ip", "-4", "-o", "address"]
    shown = subprocess.run(inside, check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in shown.splitlines() if " eth0 " in line]
    return line.split()[3].partition("/")[0]


CHAINS = {
    "docker": "chain FORWARD of table ip filter",
    "ufw": "chain FORWARD of table ip filter",
    "firewalld": "chain filter_FORWARD of table inet firewalld",
}
REMEDIES = {
    "docker": " && ".join(f"iptables -I DOCKER-USER {way} vc+ -j ACCEPT" for way in ("-i", "-o")),
    "ufw": "ufw route allow from 10.200.0.0/16",
    "firewalld": "firewall-cmd --zone=trusted --add-source=10.200.0.0/16",
}

GO_OUT = """
import socket, sys, time
last = None
while True:
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=1).close()
        now = "the outside is reached"
    except OSError:
        now = "the outside is not reached"
    if now != last:
        print(now, flush=True)
    last = now
    time.sleep(0.05)
"""


def beside(shop: Shop, there: There, firewall: str) -> Run:
    """A colony beside those rules: they are told of with their remedy, nothing goes out, and the
    ways in are open."""
    going = {"command": [sys.executable, "-Ic", GO_OUT, OUTSIDE4, str(PORT)]}
    web = page("hello", address="127.0.0.1")
    colony = shop.colony({"web": web, "out": going}, network={"ports": ["4500:4001"]})
    run = shop.run(colony, prefix=there.prefix, options=EMBEDDED)
    run.ready("web")
    told = f"{CHAINS[firewall]} drops what colonies send out (not what comes in); to let it pass: "
    eventually(lambda: told + REMEDIES[firewall] in run.transcript())
    run.expect(r"out +\| the outside is not reached")
    says(run, colony, "hello")
    answered(run, 4500, "localhost", "hello")
    return run


@pytest.mark.parametrize(
    ("name", "itself"),
    [
        *(pytest.param(name, False, id=f"{name} as recorded") for name in CHAINS),
        *(pytest.param(name, True, id=f"{name} itself") for name in INSTALLED),
    ],
)
def test_a_foreign_drop_is_told_of_and_the_way_in_is_open(
    shop: Shop, name: str, itself: bool
) -> None:
    with outside(ipv6=False) as there, ExitStack() as stack:
        if itself:
            stack.enter_context(firewall(there, name))
        else:
            recorded(there, name)
        before = there.run("nft", "-s", "list", "ruleset")
        run = beside(shop, there, name)
        if itself:  # what is told does let colonies out
            there.run("sh", "-c", REMEDIES[name])
            run.expect(r"out +\| the outside is reached")
            assert run.stop() == 130
        else:
            assert run.stop() == 130
            assert there.run("nft", "-s", "list", "ruleset") == before


@pytest.mark.parametrize("network", ["10.200.3.1/24", "10.200.0.0/15"], ids=["inside", "around"])
def test_a_network_of_podmans_in_the_pool_moves_the_pool(shop: Shop, network: str) -> None:
    setup = f"""
ip link add podman1 type dummy 2>/dev/null || ip link add podman1 type bridge
ip address add {network} dev podman1
ip link set podman1 up
"""
    colony = shop.colony({"web": page("hello")})
    run = on_a_machine(shop, colony, setup)
    run.ready()
    says(run, colony, "hello")
    second = {"10.200.3.1/24": "201", "10.200.0.0/15": "202"}[network]
    assert address_of(run, colony).startswith(f"10.{second}.")
    assert run.stop() == 130


@pytest.mark.parametrize("door", [pytest.param((), id="caddy"), pytest.param(EMBEDDED, id="own")])
def test_ipv6_off(shop: Shop, door: tuple[str, ...]) -> None:
    setup = """
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
"""
    colony = shop.colony(
        {"web": page("hello", address="127.0.0.1")}, network={"ports": ["4500:4001"]}
    )
    run = on_a_machine(shop, colony, setup, *(door or ("--proxy", "caddy")))
    run.expect(r"✓ \S*web +ready\b")
    port = int(run.expect(r"✓ (?:caddy|embedded) +127\.0\.0\.1.* port (\d+)")[1])
    for asked, name in ((port, host(colony)), (4500, "localhost")):
        answered(run, asked, name, "hello")
    assert run.stop() == 130


def test_two_colonies_of_two_users_do_not_know_of_each_other(shop: Shop) -> None:
    """Each with a runtime directory and a home of its own, on one machine: a port, an address and
    a table each, and the end of one is nothing to the other."""
    colonies = [shop.colony({"web": page(text)}) for text in ("one", "two")]
    runs = []
    for number, colony in enumerate(colonies):
        env = {
            "COLONY_RUNTIME_DIR": str(shop.folder / f"run{number}"),
            "COLONY_HOME": str(shop.folder / f"home{number}"),
        }
        run = shop.run(colony, options=EMBEDDED, env=env)
        run.ready()
        runs.append(run)
    one, two = runs
    assert one.http_port != two.http_port
    answers(one.http_port, host(colonies[0]), "one")
    pid = answers(two.http_port, host(colonies[1]), "two").pid
    ranges = {
        address_of(run, colony).rpartition(".")[0]
        for run, colony in zip(runs, colonies, strict=True)
    }
    assert len(ranges) == 2
    assert one.stop() == 130
    assert answers(two.http_port, host(colonies[1]), "two").pid == pid
    assert two.stop() == 130
    assert not any((shop.folder / f"run{number}" / "instances").exists() for number in range(2))


def test_forwarding_that_somebody_ends_is_put_back(shop: Shop) -> None:
    """As `sysctl --system` does, which many a package runs when it is installed."""
    setting = "/proc/sys/net/ipv4/ip_forward"
    going = {"command": [sys.executable, "-Ic", GO_OUT, OUTSIDE4, str(PORT)]}
    with outside(ipv6=False) as there:
        run = shop.run(shop.colony({"out": going}), prefix=there.prefix, options=EMBEDDED)
        run.expect(r"out +\| the outside is reached")
        there.run("sh", "-c", f"echo 0 >{setting}")
        run.expect(r"network +put back: the host's setting net\.ipv4\.ip_forward")
        assert there.run("cat", setting) == "1\n"
        eventually(lambda: run.transcript().split(" the outside is ")[-1].startswith("reached"))
        assert run.stop() == 130
        assert there.run("cat", setting) == "0\n"


def test_a_plain_users_colony_beside_one_of_roots(shop: Shop, users: Shop) -> None:
    """On one machine, each by its own front door, and the end of one is nothing to the other."""
    roots, theirs = shop.colony({"web": page("root's")}), users.colony({"web": page("a user's")})
    one, two = shop.run(roots, options=EMBEDDED), run_as_a_user(users, theirs)
    for run in (one, two):
        run.ready()
    assert one.http_port != two.http_port
    assert one.dns_port != two.dns_port
    answers(one.http_port, host(roots), "root's")
    pid = answers(two.http_port, host(theirs), "a user's").pid
    assert get(one.http_port, host(theirs)).status == 404
    assert get(two.http_port, host(roots)).status == 404
    assert one.stop() == 130
    assert answers(two.http_port, host(theirs), "a user's").pid == pid
    assert two.stop() == 130
