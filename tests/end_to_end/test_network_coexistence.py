"""Beside others: their packet rules, their networks, a kernel without IPv6, another Colony.

Each test but the last is on a machine of its own, as far as the network goes: a network namespace
in which Colony takes itself to be on the host, with /run for itself.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.end_to_end.colonies import (
    EMBEDDED,
    Colony,
    Run,
    Shop,
    answers,
    eventually,
    host,
    page,
    root_only,
)

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
    return subprocess.run(whole, check=True, capture_output=True, text=True).stdout


def says(run: Run, colony: Colony, text: str) -> None:
    """The service answers through the front door of that machine."""

    def look() -> bool:
        argv = (sys.executable, "-c", ASK, str(run.http_port), host(colony))
        return there(run, *argv).startswith(f"200 {text}")

    eventually(look)


def address_of(run: Run, colony: Colony) -> str:
    inside = ["nsenter", "--target", str(run.service_pid()), "--net", "ip", "-4", "-o", "address"]
    shown = subprocess.run(inside, check=True, capture_output=True, text=True).stdout
    (line,) = [line for line in shown.splitlines() if " eth0 " in line]
    return line.split()[3].partition("/")[0]


DOCKER = """nft -f - <<END
table ip filter {
  chain FORWARD { type filter hook forward priority 0; policy drop;
    iifname "docker0" accept
  }
}
table ip nat {
  chain POSTROUTING { type nat hook postrouting priority 100; policy accept; }
}
END"""
UFW = """nft -f - <<END
table ip filter {
  chain ufw-before-forward { }
  chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-before-forward; }
  chain INPUT { type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
  }
}
END"""
FIREWALLD = """nft -f - <<END
table inet firewalld {
  chain filter_FORWARD { type filter hook forward priority 10; policy accept;
    ct state established,related accept
    reject with icmpx admin-prohibited
  }
}
END"""


@pytest.mark.parametrize(
    ("setup", "chain"),
    [
        pytest.param(DOCKER, "chain FORWARD of table ip filter", id="docker"),
        pytest.param(UFW, "chain FORWARD of table ip filter", id="ufw"),
        pytest.param(FIREWALLD, "chain filter_FORWARD of table inet firewalld", id="firewalld"),
    ],
)
def test_a_foreign_drop_is_told_of_and_the_way_in_is_open(
    shop: Shop, setup: str, chain: str
) -> None:
    colony = shop.colony(
        {"web": page("hello", address="127.0.0.1")}, network={"ports": ["4500:4001"]}
    )
    run = on_a_machine(shop, colony, setup)
    run.ready()
    told = f"{chain} drops what colonies send out (not what comes in); to let it pass: "
    eventually(lambda: told in run.transcript())
    says(run, colony, "hello")
    before = there(run, "nft", "list", "ruleset")
    assert run.stop() == 130
    assert chain.rpartition(" ")[2] in before


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
    for argv in ((str(port), host(colony)), ("4500", "localhost")):
        eventually(
            lambda argv=argv: there(run, sys.executable, "-c", ASK, *argv).startswith("200 hello")  # type: ignore[misc]
        )
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
