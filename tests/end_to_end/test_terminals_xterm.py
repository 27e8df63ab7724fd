"""The real xterm.js speaks the protocol, over TCP with the token in a subprotocol; and so does the
example that shows it in a page."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.end_to_end.attaching import PROMPT, SLEEPER, TERMINAL, command
from tests.end_to_end.colonies import EMBEDDED, PROGRAMS, ROOT, Colony, Shop, eventually, root_only
from tests.ports import free_port
from tests.registries import SLOWLY, npm_install

pytestmark = [
    root_only,
    SLOWLY,
    pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm on this machine"),
]

EXAMPLE = ROOT / "examples" / "browser-terminal"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, with its packages from npm."""
    folder = tmp_path_factory.mktemp("page") / "page"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "package-lock*"))
    npm_install(folder)
    return folder


class Served(NamedTuple):
    """A colony whose instance serves over TCP."""

    shop: Shop
    colony: Colony
    port: int
    token: str

    def url(self, port: int | None = None, terminal: str = "terminal") -> str:
        where = f"ws://127.0.0.1:{port or self.port}"
        return f"{where}/api/colonies/{self.colony.name}/terminals/{terminal}/attach"


@pytest.fixture
def served(shop: Shop) -> Served:
    port = free_port()
    colony = shop.colony({"web": SLEEPER}, terminal=TERMINAL)
    shop.run(colony, options=(*EMBEDDED, "--listen", str(port))).expect(r"✓ web +pid")
    token = command(shop, "daemon", "token").stdout.decode().strip()
    return Served(shop, colony, port, token)


class Xterm:
    """xterm.js in a process of its own."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def do(self, what: str, **more: object) -> dict[str, Any]:
        """One of the program's commands; what is shown by then."""
        assert self.popen.stdin is not None
        assert self.popen.stdout is not None
        self.popen.stdin.write(json.dumps({"do": what, **more}) + "\n")
        self.popen.stdin.flush()
        shown: dict[str, Any] = json.loads(self.popen.stdout.readline())
        return shown

    def type(self, text: str) -> None:
        self.do("type", text=text)

    def until(self, holds: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """What it shows as soon as it is like this."""
        last: dict[str, Any] = {}

        def look() -> object:
            last.update(self.do("look"))
            return holds(last)

        try:
            eventually(look)
        except AssertionError:
            raise AssertionError(f"it shows {last}") from None
        return last

    def shows(self, line: str) -> dict[str, Any]:
        return self.until(lambda it: line in it["lines"])


@contextmanager
def xterm(
    page: Path,
    served: Served,
    *,
    port: int | None = None,
    token: str | None = None,
    origin: str | None = None,
    size: tuple[int, int] = (24, 80),
) -> Iterator[Xterm]:
    words: Sequence[object] = (
        *("node", PROGRAMS / "xterm.mjs", page, served.url(port), token or served.token),
        *(origin or f"http://127.0.0.1:{port or served.port}", *size),
    )
    with subprocess.Popen(
        [str(word) for word in words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=served.shop.environment(),
    ) as popen:
        try:
            yield Xterm(popen)
        finally:
            assert popen.stdin is not None
            popen.stdin.close()  # it ends
            popen.wait(30)


def test_type_resize_and_come_to_the_end(page: Path, served: Served) -> None:
    with xterm(page, served, size=(30, 100)) as one:
        one.shows(PROMPT.strip())
        one.type("stty size; echo wörld-$((6*7))-🐝; printf '\\e[?2004h'\r")
        shown = one.shows("wörld-42-🐝")
        assert "30 100" in shown["lines"]
        assert (shown["status"], shown["rows"], shown["columns"]) == ("attached", 30, 100)
        one.until(lambda it: it["modes"]["bracketedPasteMode"])
        one.do("resize", rows=20, columns=90)
        one.until(lambda it: (it["rows"], it["columns"]) == (20, 90))
        one.type("stty size\r")
        one.shows("20 90")
        one.type("exit 3\r")
        over = one.until(lambda it: it["exit"])
        assert over["exit"] == {"t": "exit", "code": 3, "reason": "exit code 3"}
        assert over["status"] == "exit code 3"


def prompted_after_red(shown: dict[str, Any]) -> bool:
    at = shown["cursor"][0]
    return bool(shown["lines"][at - 1 : at + 1] == ["red", PROMPT.strip()])


def test_what_a_second_one_sees(page: Path, served: Served) -> None:
    """The same as the first, colours and a full screen too; and no answer to an old question."""
    with xterm(page, served) as one:
        one.shows(PROMPT.strip())
        one.type("read -rsd R -p $'\\e[6n' at; echo \"at ${at#*[}\"; printf '\\e[31mred\\e[m\\n'\r")
        one.until(lambda it: any(re.fullmatch(r"at \d+;\d+", line) for line in it["lines"]))
        before = one.until(prompted_after_red)
        with xterm(page, served) as other:
            shown = other.until(prompted_after_red)
            assert (shown["lines"], shown["cursor"]) == (before["lines"], before["cursor"])
            one.type("less -+F colony.toml\r")
            full = one.until(lambda it: it["alternate"])
            assert other.until(lambda it: it["alternate"])
        with xterm(page, served) as late:
            late.until(lambda it: it["alternate"] and "[colony]" in it["lines"])

            def left(shown: dict[str, Any]) -> bool:
                if shown["alternate"]:  # less loses a key that comes together with a SIGWINCH
                    late.type("q")
                return not shown["alternate"]

            back = late.until(left)
            assert "red" in back["lines"]
            assert full["rows"] == back["rows"]


def test_a_lost_connection_misses_nothing_and_shows_nothing_twice(
    page: Path, served: Served
) -> None:
    with xterm(page, served) as one:
        one.shows(PROMPT.strip())
        one.type("for n in $(seq 300); do echo line-$n; sleep 0.005; done; echo E''ND\r")
        for least in (20, 100, 200):
            one.until(lambda it, n=least: f"line-{n}" in it["history"])  # type: ignore[misc]
            one.do("drop")
        shown = one.shows("END")
        lines = [line for line in shown["history"] if re.fullmatch(r"line-\d+", line)]
        assert lines == [f"line-{n}" for n in range(1, 301)]
        assert shown["status"] == "attached"


def test_a_page_that_falls_behind_is_sent_no_more(page: Path, served: Served) -> None:
    """What is far more than the window goes by one that acknowledges, and stops at one that does
    not, which does not stop the program."""
    done = served.colony.file.parent / "done"
    with xterm(page, served) as quick, xterm(page, served) as held:
        for each in (quick, held):  # which is there first is open, and before that nothing is typed
            each.shows(PROMPT.strip())
        began = held.do("hold")["offset"]
        quick.type(f"seq -f %09.0f 200000; touch {done}\r")
        eventually(done.exists)
        assert quick.shows("000200000")["acknowledged"] > 0
        shown = held.do("look")
        assert shown["offset"] - began < 600_000  # the window, and the piece that went beyond it


def test_who_is_not_let_in(page: Path, served: Served) -> None:
    for wrong in ({"token": "x" * 40}, {"origin": "http://evil.example"}):
        with xterm(page, served, **wrong) as one:  # type: ignore[arg-type]
            one.until(lambda it: it["status"].startswith("refused"))


def test_the_page_is_served_and_its_socket_passed_on(page: Path, served: Served) -> None:
    server = subprocess.Popen(
        ["node", "server.js"],
        cwd=page,
        stdout=subprocess.PIPE,
        text=True,
        env=served.shop.environment()
        | {"COLONY_API": f"http://127.0.0.1:{served.port}", "PORT": "0"},
    )
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        port = int(address.rpartition(":")[2])
        for path in ("/", "/colony-terminal.js", "/xterm.js", "/xterm.css", "/addon-fit.js"):
            assert got(address + path)[0] == 200
        assert got(f"{address}/package.json")[0] == 404
        assert got(f"{address}/%2e%2e/%2e%2e/etc/passwd")[0] == 404
        with xterm(page, served, port=port) as one:
            one.shows(PROMPT.strip())
            one.type("echo by-$((1+1))\r")
            one.shows("by-2")
        with xterm(page, served, port=port, token="x" * 40) as one:
            one.until(lambda it: it["status"].startswith("refused"))
    finally:
        server.kill()
        server.communicate()


def got(url: str) -> tuple[int, bytes]:
    """Status and body of a GET."""
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
