"""Events in, lines out: byte for byte."""

from __future__ import annotations

from typing import Any

import pytest

from actors import Crashed, Event, Killed, events
from colony.console import Console, colony_of, duration
from colony.events import (
    ServiceExited,
    ServiceOutput,
    ServiceReady,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
    Stream,
)
from colony.logs import LONGEST
from colony.network.egress_proxy import EgressDenied
from colony.network.ports import FocusChanged, ForwardOpened
from netns.actors import NamespaceMade, NetworkHealed, NetworkSick, Reaped
from proxy.actors import DoorOpened


def console(*, several: bool = False, colour: bool = False) -> Console:
    one = Console(colour=colour, several=several)
    one.expect("shop", {"web": "http://shop-1.colony.localhost/"}, ["web", "worker"], 60.0)
    return one


def output(data: bytes, service: str = "web", stream: Stream = "stdout") -> ServiceOutput:
    return ServiceOutput(at=0, colony="shop", service=service, stream=stream, data=data)


def ready(incarnation: int) -> ServiceReady:
    return ServiceReady(
        at=0,
        colony="shop",
        service="web",
        port=1,
        incarnation=incarnation,
        seconds=0.071,
        how="port 1",
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.00123, "1.2 ms"),
        (0.0094, "9.4 ms"),
        (0.0714, "71 ms"),
        (1.254, "1.25 s"),
        (59.99, "59.99 s"),
        (60, "1 min"),
        (125, "2 min 5 s"),
        (3600, "60 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            Reaped(at=0, instance="abcdef", removed=("namespace colony-x",)),
            "✓ cleaned    1 thing left by a Colony that was killed: namespace colony-x",
        ),
        (Reaped(at=0, instance="abcdef", removed=()), ""),
        (
            DoorOpened(at=0, kind="caddy", port=80, addresses=("127.0.0.1", "::1"), seconds=0.096),
            "✓ caddy      127.0.0.1 and [::1] port 80" + " " * 35 + "96 ms",
        ),
        (
            DoorOpened(at=0, kind="caddy", port=8080, addresses=("127.0.0.1",), seconds=0.5),
            "✓ caddy      127.0.0.1 port 8080, as 80 was not to be had" + " " * 17 + "500 ms",
        ),
        (
            NamespaceMade(
                at=0, colony="shop", address="10.200.0.2", seconds=0.002, steps=(), redirect=True
            ),
            "✓ namespace  colony-shop, 10.200.0.2" + " " * 38 + "2.0 ms",
        ),
        (
            ServiceStarted(at=0, colony="shop", service="web", pid=4711, incarnation=1),
            "✓ web        pid 4711",
        ),
        (
            ServiceExited(
                at=0,
                colony="shop",
                service="web",
                incarnation=1,
                status="exit code 3",
                seconds=12.3,
            ),
            "✗ web        exit code 3 after 12.30 s",
        ),
        (
            ServiceStopping(at=0, colony="shop", service="web", pid=4711),
            "■ web        stopping pid 4711",
        ),
        (
            ServiceStopped(at=0, colony="shop", service="web", status="", killed=True, seconds=5.0),
            "✓ web        killed, it did not stop in time" + " " * 30 + "5.00 s",
        ),
        (events.Started(at=0, actor="system", kind="X", incarnation=1), ""),
    ],
)
def test_an_event_is_a_line(event: Event, line: str) -> None:
    assert console().show(event).decode() == (line + "\n" if line else "")


def test_one_without_a_grace_was_killed_at_once() -> None:
    one = console()
    one.expect("blog", {}, ["web"], 60.0, at_once=["web"])
    for colony, words in (
        ("shop", "killed, it did not stop in time"),
        ("blog", "killed at once, its grace is 0"),
    ):
        event = ServiceStopped(
            at=0, colony=colony, service="web", status="", killed=True, seconds=5.0
        )
        assert one.show(event).decode() == f"✓ web        {words:<58}   5.00 s\n"


def test_the_first_time_that_a_service_is_ready_its_url_is_shown() -> None:
    one = console()
    line = "✓ web        ready on port 1" + " " * 46 + " 71 ms\n"
    assert one.show(ready(1)).decode() == line + "· web        http://shop-1.colony.localhost/\n"
    assert one.show(ready(2)).decode() == line


def test_a_restart_says_how_many_are_left() -> None:
    event = events.Restarting(
        at=0,
        supervisor="system/colonies/shop/services",
        child="web",
        reason=Killed(),
        count=2,
        intensity=5,
        delay=0.0,
    )
    assert console().show(event).decode() == "↻ web        restarting, 2 of at most 5 in 1 min\n"


@pytest.mark.parametrize(("allowed", "words"), [(1, "1 restart"), (2, "2 restarts")])
def test_giving_up_says_after_how_many_restarts(allowed: int, words: str) -> None:
    event = events.LimitReached(
        at=0,
        supervisor="system/colonies/shop/services",
        child="web",
        reason=Killed(),
        intensity=allowed,
        period=60,
    )
    said = f"✗ web        more than {words} in 1 min: giving up\n"
    assert console().show(event).decode() == said


def test_only_a_start_that_was_not_the_first_says_why_it_failed() -> None:
    one, why = console(), Crashed(ValueError("no such file: web.env"))
    failed = events.ChildStartFailed(
        at=0, supervisor="system/colonies/shop/services", child="web", reason=why
    )
    assert one.show(failed).decode() == "✗ web        cannot start\n"
    one.show(ServiceStarted(at=0, colony="shop", service="web", pid=4711, incarnation=1))
    assert one.show(failed).decode() == "✗ web        cannot start: no such file: web.env\n"


def test_output_comes_in_whole_lines_each_with_its_name() -> None:
    one = console()
    assert one.show(output(b"hal")) == b""
    assert one.show(output(b"f\nwhole\r\nre")) == b"web    | half\nweb    | whole\n"
    assert one.show(output(b"x\n", "worker", "stderr")) == b"worker | x\n"
    assert one.rest("shop", "web") == b"web    | re\n"
    assert one.rest("shop", "web") == b""


def test_a_line_that_will_not_end_comes_in_pieces_that_say_so() -> None:
    one, part = console(), b"x" * LONGEST
    assert one.show(output(part + b"y")) == b"web    | " + part + " …\n".encode()
    assert one.show(output(b"z\n")) == b"web    | yz\n"


def test_the_two_streams_of_a_service_do_not_mix() -> None:
    one = console()
    one.show(output(b"out"))
    assert one.show(output(b"err\n", stream="stderr")) == b"web    | err\n"
    assert one.show(output(b"put\n")) == b"web    | output\n"


def test_what_a_service_writes_is_never_markup_and_stays_as_it_is() -> None:
    raw = b"[red]\xff\xfe{x} \x1b[1m"
    shown = console(colour=True).show(output(raw + b"\n"))
    assert shown.endswith(b"web    |\x1b[0m " + raw + b"\x1b[0m\n")
    assert console().show(output(b"[red]\xff\xfe{x}\0\n")) == b"web    | [red]\xff\xfe{x}\0\n"


def test_no_service_clears_the_screen_of_all() -> None:
    shown = console(colour=True).show(output(b"\x1bc\x1b[2J\x1b[Hhello\x07\n"))
    assert shown.endswith(b"web    |\x1b[0m hello\n")


def test_without_colours_a_service_has_none_either() -> None:
    line = output(b"\x1b[32mready \x1b[1min\x1b[0m 3 ms\xff\n")
    assert console().show(line) == b"web    | ready in 3 ms\xff\n"


def test_with_several_colonies_names_have_theirs_in_front() -> None:
    started = ServiceStarted(at=0, colony="shop", service="web", pid=1, incarnation=1)
    assert console(several=True).show(started).decode() == "✓ shop/web   pid 1\n"


def test_colours_repeat_what_shapes_say() -> None:
    started = ServiceStarted(at=0, colony="shop", service="web", pid=1, incarnation=1)
    assert console(colour=True).show(started).decode() == "\x1b[32m✓\x1b[0m web        pid 1\n"


@pytest.mark.parametrize(
    ("path", "colony"),
    [
        ("system/colonies/shop/services", "shop"),
        ("system/colonies/shop", None),
        ("system", None),
        ("other/colonies/shop/services", None),
        ("system/colonies/shop/services/web", None),
    ],
)
def test_whose_services_a_supervisor_has(path: str, colony: str | None) -> None:
    assert colony_of(path) == colony


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (
            ForwardOpened(
                at=0, colony="shop", forward="8080:80", host_port=8080, addresses=("127.0.0.1",)
            ),
            "✓ shop       port 8080 of this host leads in\n",
        ),
        (
            FocusChanged(at=0, colony="shop", ports=(3000, 4000), missed=("4100 is taken",)),
            "· shop       has localhost: 3000, 4000; 4100 is taken\n",
        ),
        (FocusChanged(at=0, colony="", ports=()), "· colony     has localhost: nothing\n"),
        (
            EgressDenied(
                at=0, colony="shop", host="a.test", port=443, reason="not allowed", process="curl"
            ),
            "✗ shop       curl may not reach a.test:443: not allowed\n",
        ),
        (
            NetworkHealed(at=0, colony="shop", repaired=("the veth", "the route")),
            "↻ shop       put back: the veth, the route\n",
        ),
        (NetworkSick(at=0, colony="", reason="no table"), "✗ network    no table\n"),
    ],
)
def test_what_the_network_tells(event: Event, line: str) -> None:
    assert console().show(event).decode() == line


def crash(**fields: Any) -> events.CrashReport:
    base = {"actor": "system/caddy", "kind": "Caddy", "incarnation": 1, "supervisor": "system"}
    return events.CrashReport(
        at=0.0,
        **{
            **base,
            "reason": Crashed(ValueError("no")),
            "decision": "restarted",
            "count": 1,
            "intensity": 3,
            "period": 5.0,
            **fields,
        },
    )


def failure() -> ValueError:
    try:
        raise ValueError("no")
    except ValueError as error:
        return error


def test_a_fault_of_our_own_is_one_line_and_with_debug_its_traceback() -> None:
    said = "✗ caddy      crashed: ValueError: no; restarted at once, 1 of 3 in 5 s"
    hint = " (a fault of Colony; --debug shows the traceback)\n"
    event = crash(reason=Crashed(failure()))
    assert console().show(event).decode() == said + hint
    lines = Console(colour=False, debug=True).show(event).decode().splitlines()
    assert lines[0] == said
    assert lines[1] == "  Traceback (most recent call last):"
    assert lines[-1] == "  ValueError: no"


@pytest.mark.parametrize(
    "fields",
    [
        {"reason": Killed()},
        {"cause": "system/dnsmasq"},
        {"starting": True, "decision": "refused"},
        {"starting": True, "decision": "escalated"},
        {
            "starting": True,
            "supervisor": "system/colonies/shop/services",
            "actor": "system/colonies/shop/services/web",
        },
    ],
)
def test_what_has_been_said_otherwise_is_not_said_as_a_fault(fields: dict[str, Any]) -> None:
    assert console().show(crash(**fields)) == b""


def test_the_restart_after_a_fault_is_said_with_it() -> None:
    restart = events.Restarting(
        at=0.0,
        supervisor="system",
        child="caddy",
        reason=Crashed(ValueError("no")),
        count=1,
        intensity=3,
    )
    assert console().show(restart) == b""


def test_a_kill_that_is_not_obeyed_is_a_line() -> None:
    event = events.KillIgnored(
        at=0.0,
        actor="system/colonies/shop/namespace",
        task="poll",
        message=None,
        seconds=2.0,
        stack='  File "x.py", line 3, in poll\n    wait()\n',
    )
    assert console().show(event).decode() == (
        "✗ namespace  was killed 2.00 s ago and goes on (poll)"
        " (a fault of Colony; --debug shows where)\n"
    )
    assert Console(colour=False, debug=True, several=True).show(event).decode() == (
        "✗ shop/namespace was killed 2.00 s ago and goes on (poll)\n"
        '    File "x.py", line 3, in poll\n'
        "      wait()\n"
    )


def test_what_holds_all_up_is_said_with_debug_only() -> None:
    event = events.HandlerBlocked(
        at=0.0,
        actor="system/caddy",
        message=None,
        seconds=0.41,
        stack='  File "a.py", line 1, in run\n    go()\n  File "b.py", line 2, in go\n    x()\n',
    )
    assert console().show(event) == b""
    assert Console(colour=False, debug=True).show(event).decode() == (
        '· caddy      held all up for 410 ms: File "b.py", line 2, in go\n'
    )
