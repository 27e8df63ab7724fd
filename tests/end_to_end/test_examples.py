"""The programs in `examples/`, run as their first lines say."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.end_to_end.colonies import (
    EMBEDDED,
    PATIENCE,
    ROOT,
    Lines,
    Shop,
    eventually,
    page,
    root_only,
)

pytestmark = root_only


def start(shop: Shop, *words: str) -> subprocess.Popen[bytes]:
    """An example as a child of the test, with the test's own folders."""
    return subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=shop.folder,
        env=shop.environment() | {"PYTHONPATH": str(ROOT)},
    )


def run(shop: Shop, *words: str, status: int = 0) -> str:
    """All that an example writes, once it has ended with `status`."""
    with start(shop, *words) as popen:
        assert popen.stdout is not None
        lines = Lines(popen.stdout)
        try:
            while lines.wait():
                shop.note_instances()
            popen.wait(PATIENCE)
        finally:
            popen.kill()
            lines.close()
    said = "\n".join(lines.all())
    assert popen.returncode == status, said
    return said


def example(name: str) -> str:
    return str(ROOT / "examples" / name)


def test_two_colonies_embedded_under_trio(shop: Shop) -> None:
    said = run(shop, example("embed_trio.py"))
    assert re.findall(r"answers (.*)", said) == ["<h1>trio-one</h1>", "<h1>trio-two</h1>"]


@pytest.mark.parametrize("connect", [False, True], ids=["embedded", "connected"])
def test_five_agents_work_on_five_copies_on_one_port(shop: Shop, connect: bool) -> None:
    if connect:
        run_ = shop.run(shop.colony({"web": page("mine")}), options=EMBEDDED)
        run_.ready()
    said = run(shop, example("orchestrator.py"), *(["--connect"] if connect else []))
    *good, bad = sorted(said.splitlines())
    assert good == [
        "agent 1 done: its server says bonjour",
        "agent 2 done: its server says hola",
        "agent 3 done: its server says ciao",
        "agent 4 done: its server says salve",
    ]
    assert bad.startswith("agent 5 failed: SyntaxError: ")


def test_each_test_gets_a_colony_of_its_own(shop: Shop) -> None:
    words = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(shop.folder))
    said = run(shop, *words, "-c", "/dev/null", example("pytest_fixture.py"))
    assert "3 passed" in said


def test_a_watcher_tells_of_a_crash_and_of_the_last_words(shop: Shop) -> None:
    made = shop.colony({"web": page("hello")})
    instance = shop.run(made, options=EMBEDDED)
    instance.ready()
    with start(shop, example("watch_events.py"), made.name, "service.ready") as popen:
        assert popen.stdout is not None
        lines = Lines(popen.stdout)
        try:
            assert eventually(lambda: lines.find("^watching$", 1))
            subprocess.run(["kill", "-9", str(instance.service_pid())], check=True)
            popen.wait(PATIENCE)
        finally:
            popen.kill()
            lines.close()
    said = lines.all()
    assert popen.returncode == 0, said
    types = [found[1] for line in said if (found := re.search(r" ([a-z]+\.[a-z_]+)", line))]
    assert types == ["service.exited", "supervisor.restarting", "service.started", "service.ready"]
    assert "         | hello listens on 0.0.0.0" in said


def test_a_watcher_without_an_instance_says_what_to_do(shop: Shop) -> None:
    said = run(shop, example("watch_events.py"), status=4)
    assert said.startswith("no instance runs (")
    assert said.endswith("start one: colony run, or colony up -d")
