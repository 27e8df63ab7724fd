"""`egress = "proxy"`: one way out, told of, and no other."""

from __future__ import annotations

import http.server
import sys
import threading
from collections.abc import Iterator

import pytest

from colony.api.types import Exec
from colony.execution import execute
from colony.host import Host
from colony.network.egress_proxy import EgressAllowed, EgressDenied
from tests.end_to_end.colonies import EMBEDDED, Colony, Shop, root_only
from tests.end_to_end.hosted import add, hosted

pytestmark = [root_only, pytest.mark.real_time]

ASK = """
import sys, urllib.request, urllib.error
try:
    print(urllib.request.urlopen(sys.argv[1], timeout=25).read().decode())
except urllib.error.HTTPError as error:
    print(error.code, error.read().decode())
except OSError as error:
    print("no way", error)
"""
NO_PROXY = ASK.replace("try:", "urllib.request.install_opener(urllib.request.build_opener("
    "urllib.request.ProxyHandler({})))\ntry:", 1)  # fmt: skip


@pytest.fixture
def outside() -> Iterator[int]:
    """A server on the host's loopback: the only one that a test can be sure of."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"outside " + self.path.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


async def ask(host: Host, colony: Colony, url: str, program: str = ASK) -> str:
    """What a program in the colony gets from a URL. A name, since an address needs no proxy."""
    argv = (sys.executable, "-c", program, url)
    running = host.colonies[colony.name]
    env = {"NO_PROXY": "", "no_proxy": ""}
    return (await execute(running, Exec(argv=argv, env=env, timeout_ms=30000))).stdout


async def test_what_is_allowed_goes_out_and_is_told_of(shop: Shop, outside: int) -> None:
    rules = {"network.policy.egress": {"allow": [f"127.0.0.1:{outside}"]}}
    idle = {"idle": {"command": "sleep 600"}}
    colony = shop.colony(idle, network={"egress": "proxy"}, **rules)
    async with hosted(shop, EMBEDDED) as host:
        seen: list[EgressAllowed | EgressDenied] = []
        host.system.events.listen(
            lambda e: seen.append(e) if isinstance(e, EgressAllowed | EgressDenied) else None
        )
        await add(shop, host, colony)
        assert await ask(host, colony, f"http://127.0.0.1:{outside}/page") == "outside /page\n"
        denied = await ask(host, colony, "http://evil.invalid/")
        assert denied.startswith("403 ")
        assert "cannot" in denied or "not in `allow`" in denied
        straight = await ask(host, colony, f"http://198.51.100.1:{outside}/", NO_PROXY)
        assert straight.startswith("no way")
        first, second = seen
        assert isinstance(first, EgressAllowed)
        assert (first.colony, first.host, first.port) == (colony.name, "127.0.0.1", outside)
        assert "python" in first.process
        assert isinstance(second, EgressDenied)
        assert second.host == "evil.invalid"


async def test_without_a_list_the_host_itself_stays_out_of_reach(shop: Shop, outside: int) -> None:
    colony = shop.colony({"idle": {"command": "sleep 600"}}, network={"egress": "proxy"})
    async with hosted(shop, EMBEDDED) as host:
        await add(shop, host, colony)
        for name in ("localhost", "127.0.0.1", "127.1"):
            found = await ask(host, colony, f"http://{name}:{outside}/")
            assert found.startswith("403 ")
            assert "which is this machine's or a neighbour's" in found
