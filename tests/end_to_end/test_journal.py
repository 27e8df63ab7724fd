"""The event journal of a real colony whose service really crashes, and what is made of it."""

from __future__ import annotations

from typing import Any

from colony.records import journal_directory, read, runs_of
from tests.colony.cli.support import Ran, invoke
from tests.end_to_end.colonies import EMBEDDED, Colony, Shop, eventually, root_only
from tests.end_to_end.test_sudden_death import clean_up, kill

SERVICES: dict[str, dict[str, Any]] = {
    "db": {"command": "sleep 1000"},
    "web": {
        "command": "sleep 0.3; exit 3",
        "after": ["db"],
        "backoff": {"min": "50ms", "max": "200ms"},
    },
    "api": {"command": "sleep 1000"},
}


def crashing(shop: Shop, strategy: str, intensity: int) -> Colony:
    return shop.colony(
        SERVICES, supervision={"strategy": strategy, "intensity": intensity, "period": "60s"}
    )


def ran(shop: Shop, colony: Colony, *words: str) -> Ran:
    folder = str(colony.file.parent)
    return invoke("-C", folder, *words, runtime=shop.runtime, home=shop.folder / "home")


def test_a_real_outage_is_drawn_and_played_under_another_policy(shop: Shop) -> None:
    colony = crashing(shop, "rest_for_one", 3)
    run = shop.run(colony, options=EMBEDDED)
    assert run.wait() == 1, run.transcript()

    found = ran(shop, colony, "events", "--timeline")
    lanes = [line for line in found.lines if line.split()[:1] in (["db"], ["web"], ["api"])][:3]
    assert [name.split()[0] for name in lanes] == ["db", "web", "api"]
    assert (lanes[1].count("‡"), lanes[2].count("▼")) == (1, 4)
    assert any("gave up after" in line for line in found.lines)

    # Under the policy that it had, the same happens again.
    again = ran(shop, colony, "simulate", "--from-journal", "--json")
    assert again.status == 1
    one, other = again.json["night"]["trace"], again.json["trace"]
    assert happened(one) == happened(other)
    assert (one["strategy"], one["intensity"], one["period"]) == ("rest_for_one", 3, 60.0)
    assert one["ending"]["kind"] == other["ending"]["kind"] == "gave_up"

    # Under one that bears more, it goes on when the crashes are over.
    calm = colony.file.with_name("calm.toml")
    calm.write_text(colony.file.read_text().replace("intensity = 3", "intensity = 10"))
    better = ran(shop, colony, "simulate", "calm.toml", "--from-journal", "--json")
    assert better.status == 0
    summaries = [column["summary"] for column in better.json["comparison"]["columns"]]
    assert [each["ending"]["kind"] for each in summaries] == ["gave_up", "horizon"]
    assert [each["services"]["web"]["crashes"] for each in summaries] == [4, 4]


def happened(trace: Any) -> dict[str, list[tuple[str, int]]]:
    """What happened to each service; who of two is first is chance, where it is milliseconds."""
    found: dict[str, list[tuple[str, int]]] = {}
    for each in trace["entries"]:
        found.setdefault(each["service"], []).append((each["kind"], each.get("life", 0)))
    return found


@root_only
def test_after_a_kill_of_colony_itself_the_journal_is_there(shop: Shop) -> None:
    colony = shop.colony({"web": {"command": "sleep 1000"}})
    run = shop.run(colony, options=EMBEDDED)
    run.ready()
    directory = journal_directory(shop.folder / "home")
    eventually(lambda: [each for each in read(directory) if each.type == "service.ready"])
    kill(run)

    [told] = runs_of(read(directory), colony.name)
    assert not told.over
    assert told.until() == told.ended, "its process is gone: nothing is known of it since"
    assert ran(shop, colony, "events", "--timeline").status == 0
    clean_up(shop, EMBEDDED)
