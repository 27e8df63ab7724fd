"""The laboratory is faithful: the same faults, on real processes and on played ones, lead to the
same events in the same order, for every strategy and every type of restart; what goes on side by
side has none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest

from actors.spec import Restart
from actors.supervision import Strategy
from colony.lab.faults import Behaviour, Fixed
from tests.colony.services.hosting import python, server
from tests.end_to_end.fidelity import (
    DEAF,
    OBEDIENT,
    SLOW,
    Daemonises,
    Exits,
    Hangs,
    Killed,
    PortStolen,
    Started,
    Step,
    Stopped,
    Vanishes,
    really,
    simulated,
    slow_to_be_ready,
    told,
)

pytestmark = pytest.mark.real_time

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)
RESTARTS: tuple[Restart, ...] = get_args(Restart)

BACKOFF = {"min": "50ms", "max": "50ms", "factor": 1.0, "reset": "1h"}
"""Short enough for a test, and never forgotten, however long a step takes on either side."""


def services(names: str, **more: Any) -> dict[str, dict[str, Any]]:
    return {name: {"command": OBEDIENT, "backoff": BACKOFF, **more} for name in names}


def rules(strategy: Strategy, intensity: int = 20) -> dict[str, Any]:
    return {"supervision": {"strategy": strategy, "intensity": intensity, "period": "10m"}}


STEPS: Sequence[Step] = (
    Exits("b", 1),
    Exits("b", 0),
    Killed("b"),
    Killed("a"),
    Exits("c", 0),
    Stopped("b"),
    Killed("a"),
    Started("b"),
)


@pytest.mark.backends("asyncio")
@pytest.mark.parametrize("restart", RESTARTS)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_three_that_know_nothing_of_each_other(strategy: Strategy, restart: Restart) -> None:
    three = services("abc", restart=restart)
    real = await really(three, STEPS, **rules(strategy))
    assert told(real) == told(await simulated(three, STEPS, **rules(strategy)))
    ends = [entry.service for entry in real.entries if entry.kind in ("crashed", "exited")]
    assert ends[:1] == ["b"]


@pytest.mark.backends("asyncio")
@pytest.mark.parametrize("restart", RESTARTS)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_three_that_wait_for_each_other(strategy: Strategy, restart: Restart) -> None:
    three = services("abc", restart=restart)
    three["a"] |= {"command": SLOW, "ready": {"log": "up"}}
    three["b"] |= {"command": SLOW, "ready": {"log": "up"}, "after": ["a"]}
    three["c"] |= {"after": ["b"]}
    after = {"a": [], "b": ["a"], "c": ["b"]}
    real = await really(three, STEPS, **rules(strategy))
    played = await simulated(three, STEPS, slow_to_be_ready("a", "b"), **rules(strategy))
    assert told(real, after) == told(played, after)


@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_giving_up(strategy: Strategy) -> None:
    three, limit = services("abc"), rules(strategy, intensity=1)
    steps = (Killed("b"), Exits("c", 3), Killed("a"))
    real = await really(three, steps, **limit)
    assert told(real) == told(await simulated(three, steps, **limit))
    assert real.ending.kind == "gave_up"


@pytest.mark.parametrize("code", [0, 1])
async def test_a_service_with_which_the_colony_ends(code: int) -> None:
    three = services("abc")
    three["b"] |= {"restart": "temporary", "exit_colony": True}
    steps = (Killed("c"), Exits("b", code))
    real = await really(three, steps, **rules("rest_for_one"))
    assert told(real) == told(await simulated(three, steps, **rules("rest_for_one")))
    assert real.ending.kind == "shut_down"


async def test_one_that_ignores_the_signal_to_stop() -> None:
    two = services("ab")
    two["b"] |= {"command": DEAF, "ready": {"log": "up"}, "stop": {"grace": "300ms"}}
    steps = (Killed("a"), Stopped("b"), Started("b"))
    real = await really(two, steps, **rules("one_for_all"))
    deaf = {"b": Behaviour(ignores_stop=True)}
    assert told(real) == told(await simulated(two, steps, deaf, **rules("one_for_all")))
    assert [entry.killed for entry in real.of("b") if entry.kind == "stopped"] == [True, True]


HEALTH = {"http": "/", "interval": "200ms", "timeout": "1500ms", "failures": 2}

WEB = """
import http.server
http.server.HTTPServer.allow_reuse_address = True
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", 4001), Handler).serve_forever()
"""


async def test_one_that_hangs_is_ended_by_its_health_check() -> None:
    web = {"command": python(WEB), "port": 4001, "ready": {"http": "/"}, "health": HEALTH}
    two = {"web": {**web, "backoff": BACKOFF}, **services("b", after=["web"])}
    steps = (Hangs("web"), Hangs("web"))
    real = await really(two, steps, isolated=True, **rules("rest_for_one"))
    assert told(real) == told(await simulated(two, steps, **rules("rest_for_one")))
    assert [entry.count for entry in real.of("web") if entry.kind == "unhealthy"] == [1, 2, 1, 2]


async def test_one_that_is_never_ready_is_ended_until_it_is_given_up() -> None:
    mute = {"command": OBEDIENT, "ready": {"log": "up", "deadline": "300ms"}, "backoff": BACKOFF}
    two = {"a": mute, **services("b", after=["a"])}
    real = await really(two, (), **rules("one_for_one", intensity=2))
    never = {"a": Behaviour(ready=Fixed(1e6))}
    assert told(real) == told(await simulated(two, (), never, **rules("one_for_one", intensity=2)))
    assert real.ending.kind == "gave_up"


DAEMON = """
import os, sys
if os.fork() == 0:
    os.setsid()
    while True:
        c, _ = s.accept()
        c.close()
sys.exit(0)
"""


async def test_one_that_leaves_a_server_behind() -> None:
    listens = server(4001)["command"][-1].partition("while True")[0]
    code = f"{listens}\nsys.stdin.readline()\n{DAEMON}"
    web = {"command": python(code), "port": 4001, "backoff": BACKOFF, "ready": {"log": "listening"}}
    two = {"web": web, **services("b")}
    steps = (Daemonises("web"), Killed("web"), Daemonises("web"), Stopped("web"), Started("web"))
    real = await really(two, steps, isolated=True, **rules("one_for_all"))
    assert told(real) == told(await simulated(two, steps, **rules("one_for_all")))
    assert [entry.life for entry in real.of("web") if entry.kind == "detached"] == [1, 2]


async def test_one_whose_port_is_somebody_elses() -> None:
    two = {"web": server(4001, backoff=BACKOFF), **services("b")}
    steps = (PortStolen("web", 4001), Killed("b"))
    real = await really(two, steps, isolated=True, **rules("one_for_one"))
    assert told(real) == told(await simulated(two, steps, **rules("one_for_one")))
    assert [entry.kind for entry in real.of("web")][-1] == "failed"


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("after", [(), ("b",)], ids=["alone", "after"])
async def test_one_whose_program_is_gone(
    strategy: Strategy, after: tuple[str, ...], tmp_path: Path
) -> None:
    """Each start that fails counts as a restart, until the limit is reached."""
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nread code; exit $code\n")
    program.chmod(0o755)
    web = {"command": [str(program)], "backoff": BACKOFF, "after": list(after)}
    two = {**services("b"), "web": web}
    steps = (Vanishes("web", str(program)), Killed("web"))
    limit = rules(strategy, intensity=3)
    real = await really(two, steps, **limit)
    assert told(real) == told(await simulated(two, steps, **limit))
    assert real.ending.kind == "gave_up"


# -- whatever is done to whomever ------------------------------------------------------------------


def drawn(seed: int) -> tuple[dict[str, dict[str, Any]], list[Step], dict[str, Behaviour]]:
    """Two to four services of any kind, what is done to them, and how they behave."""
    dice = Random(seed)
    made: dict[str, dict[str, Any]] = {}
    behaviours: dict[str, Behaviour] = {}
    for name in "abcd"[: dice.randint(2, 4)]:
        command, behaviour = dice.choice(KINDS)
        service: dict[str, Any] = {"command": command, "backoff": BACKOFF}
        service["restart"] = dice.choice(RESTARTS)
        if behaviour is not None:
            behaviours[name] = behaviour
            service |= {"ready": {"log": "up"}, "stop": {"grace": "200ms"}}
        if made and dice.random() < 0.5:
            service["after"] = {dice.choice(list(made)): dice.choice(["started", "ready"])}
        if service["restart"] != "permanent" and dice.random() < 0.15:
            service["exit_colony"] = True
        made[name] = service
    names = list(made)
    acts = (Killed, lambda name: Exits(name, dice.choice([0, 1, 2])), Stopped, Started, Killed)
    return made, [dice.choice(acts)(dice.choice(names)) for _ in range(8)], behaviours


KINDS: Sequence[tuple[list[str], Behaviour | None]] = (
    (OBEDIENT, None),
    (SLOW, Behaviour(ready=Fixed(0.3))),
    (DEAF, Behaviour(ignores_stop=True)),
)


@pytest.mark.backends("asyncio")
@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_done_to_whomever(seed: int) -> None:
    made, steps, behaviours = drawn(seed)
    limit = rules(STRATEGIES[seed % 3], intensity=2 + seed)
    real = await really(made, steps, **limit)
    assert told(real) == told(await simulated(made, steps, behaviours, **limit))
