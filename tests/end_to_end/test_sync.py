"""The SDK without an event loop, on real parts."""

from __future__ import annotations

import signal
import threading
import time

import pytest

import colony
import colony.sync
from colony.paths import SOCKET
from tests.end_to_end.colonies import EMBEDDED, PATIENCE, Shop, page, root_only
from tests.end_to_end.hosted import options

pytestmark = root_only

SAYS = ["sh", "-c", "echo one; echo two; exec sleep 1000"]


def test_a_colony_of_this_process(shop: Shop) -> None:
    made = shop.colony({"web": page("hello"), "says": {"command": SAYS}})
    with colony.sync.open(made.file, options(shop, EMBEDDED), name=f"{made.name}-x") as c:
        shop.note_instances()
        assert (c.name, c.services) == (f"{made.name}-x", ("web", "says"))
        assert c.ready(PATIENCE).state == "running"
        web = c.service("web")
        first = web.view()
        assert web.http.get("/").body.startswith("hello")
        assert [line.text for line in c.logs("says", until="two")] == ["one", "two"]
        with c.events("service.ready") as events:
            web.restart()
            assert next(events).service == "web"
        assert web.ready(PATIENCE).pid != first.pid
        done = c.exec("echo $COLONY_NAME; exit 3")
        assert (done.code, done.stdout) == (3, f"{c.name}\n")
        with pytest.raises(KeyError, match="has no service 'wbe'"):
            c.service("wbe")
        with c.terminal(argv=["sh", "-c", "read x; echo got $x"]) as t:
            t.send("it\n")
            assert t.expect("got (\\w+)\n", PATIENCE)[1] == "it"
        c.restart().service("web").ready(PATIENCE)


def test_colonies_of_a_running_instance(shop: Shop) -> None:
    run = shop.run(shop.colony({"web": page("first")}), options=EMBEDDED)
    run.ready()
    second = shop.colony({"web": page("second")})
    with colony.sync.connect(f"unix://{shop.runtime / SOCKET}") as instance:
        assert instance.health().colonies == 1
        with instance.open(second.file, env={}) as c:
            assert c.service("web").ready(PATIENCE).ready
            assert [each.name for each in instance.colonies()] == [
                run.colonies[0].name,
                second.name,
            ]
        with pytest.raises(colony.NotFound):
            instance.colony(second.name)
    assert run.stop() == 130


def test_no_instance_is_said_at_once(shop: Shop) -> None:
    with (
        pytest.raises(colony.InstanceLost, match="no instance runs"),
        colony.sync.connect(f"unix://{shop.folder}/nothing.sock"),
    ):
        raise AssertionError("it was reached")


def test_a_call_that_is_interrupted_is_cancelled(shop: Shop) -> None:
    """Ctrl-C in a program that waits: the block ends, and nothing is left."""
    made = shop.colony({"web": {"command": ["sleep", "1000"], "port": 4001}})
    main = threading.get_ident()

    def interrupt() -> None:
        time.sleep(0.5)
        signal.pthread_kill(main, signal.SIGINT)

    def wait() -> None:
        with colony.sync.open(made.file, options(shop, EMBEDDED)) as c:
            shop.note_instances()
            threading.Thread(target=interrupt, daemon=True).start()
            c.service("web").ready(PATIENCE)

    with pytest.raises(KeyboardInterrupt):
        wait()
