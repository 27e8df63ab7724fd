"""`colony run` and `colony up` on a terminal: a table of the services below the lines."""

from __future__ import annotations

from typing import Any

import pexpect  # type: ignore[import-untyped]
import pyte
import pytest

from colony.cli.output import AGENTS
from tests.end_to_end.attaching import at_terminal, command, status
from tests.end_to_end.colonies import EMBEDDED, Shop, page, root_only

pytestmark = root_only

LANE = r"● web  ready  4001  http://[a-z0-9-]+-4001\.colony\.local(host)?(:\d+)?/  \d+ s"
RULE = "─" * 20


@pytest.fixture(autouse=True)
def _watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person who sees colours looks at the terminal, whoever runs the tests."""
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in (*AGENTS, "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)


def seen(child: Any) -> str:
    return str((child.before + child.after).decode())


def at_last(text: str) -> list[str]:
    """What a terminal shows after all that."""
    screen = pyte.Screen(100, 30)
    pyte.Stream(screen).feed(text)
    return [line.rstrip() for line in screen.display]


def until_standing(child: Any) -> str:
    """What has come up to a lane with the service's URL."""
    child.expect(r"\x1b\[32m●\x1b\[0m web  ready  4001  http://\S+/  \d+ s".encode())
    return seen(child)


def test_run_shows_a_table_and_takes_it_away_at_the_end(shop: Shop) -> None:
    colony = shop.colony({"web": page("hello")})
    child = at_terminal(
        shop, "run", str(colony.file), *EMBEDDED, columns=100, rows=30, inside=False
    )
    text = until_standing(child)
    shop.note_instances()
    assert RULE in text
    child.sendintr()
    child.expect(pexpect.EOF)
    lines = at_last(text + child.before.decode())
    assert RULE not in "".join(lines)
    assert [line for line in lines if line][-1].startswith(f"✓ namespace  colony-{colony.name} rem")
    child.close()
    assert child.exitstatus == 130


def test_without_colours_the_shapes_stay(shop: Shop) -> None:
    colony = shop.colony({"web": page("hello")})
    words = ("--color", "never", "run", str(colony.file), *EMBEDDED)
    child = at_terminal(shop, *words, columns=100, rows=30, inside=False)
    child.expect(LANE.encode())
    shop.note_instances()
    assert "\x1b[32m" not in seen(child)
    child.sendintr()
    assert status(child) == 130


def test_one_that_joins_shows_its_own_services_alone(shop: Shop) -> None:
    one = shop.run(shop.colony({"web": page("first")}), options=EMBEDDED)
    one.ready()
    two = shop.colony({"web": page("second")})
    child = at_terminal(shop, "up", str(two.file), columns=100, rows=30, inside=False)
    text = until_standing(child)
    assert f"http://{two.name}-4001" in text
    assert f"http://{one.colonies[0].name}-4001" not in text
    child.sendintr()
    assert status(child) == 130
    assert command(shop, "down", two.name).returncode == 0
    assert one.stop() == 130


def test_off_a_terminal_there_is_none(shop: Shop) -> None:
    one = shop.run(shop.colony({"web": page("first")}), options=EMBEDDED)
    one.ready()
    assert one.stop() == 130
    assert RULE not in one.transcript()
    assert "\x1b" not in one.transcript()


@pytest.mark.parametrize("joins", [False, True], ids=["run", "up"])
def test_how_far_the_step_that_provides_has_come(shop: Shop, joins: bool) -> None:
    if joins:
        one = shop.run(shop.colony({"web": page("first")}), options=EMBEDDED)
        one.ready()
    go = shop.folder / "go"
    setup = f"echo 40%; until test -e {go}; do sleep 0.05; done"
    wants = {"colony.environment": {"setup": setup}}
    colony = shop.colony({"web": page("hello")}, **wants)
    words = ("up",) if joins else ("run", *EMBEDDED)
    child = at_terminal(shop, words[0], str(colony.file), *words[1:], columns=100, inside=False)
    child.expect(rf"{colony.name}  setup  \d s  ▕████████ {{12}}▏  40 %  echo 40%".encode())
    go.touch()
    until_standing(child)
    shop.note_instances()
    child.sendintr()
    assert status(child) == 130
    if joins:
        assert command(shop, "down", colony.name).returncode == 0
