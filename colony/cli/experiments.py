"""What `colony simulate` does beyond one run: many runs, policies side by side, sweeps.

    policies  ──▶ each played once, and with --monte-carlo many times ──▶ one table

Imported by `simulate` when it runs: everything heavy may be imported here.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console, RenderableType

from colony.cli import output as out
from colony.cli.session import Failed, Session
from colony.config import Config
from colony.exits import Exit
from colony.lab import tables
from colony.lab.compare import Column, comparison
from colony.lab.faults import Scenario
from colony.lab.monte_carlo import Outcomes, Player, aggregate
from colony.lab.summary import Summary, summarise
from colony.lab.sweep import Point, SweepError, parse_sweep, points
from colony.lab.world import simulate


def console(session: Session) -> Console:
    """Where tables and lanes go: stdout, coloured as the session says."""
    colour = session.colour()
    return Console(
        file=sys.stdout,
        force_terminal=colour,
        color_system="standard" if colour else None,
        legacy_windows=False,
    )


def show(session: Session, what: RenderableType) -> None:
    """Prints a table, as wide as it needs to be where nobody looks."""
    target = console(session)
    if not out.someone_watches():
        target.width = 1000
    with target.capture() as captured:
        target.print(what)
    lines = (line.rstrip() for line in captured.get().splitlines())
    sys.stdout.write("\n".join(lines) + "\n")


# -- many runs -------------------------------------------------------------------------------------


def many(session: Session, config: Config, scenario: Scenario, runs: int, as_json: bool) -> None:
    """--monte-carlo: one policy, many seeds."""
    with Player(simulate) as player:
        outcomes = outcomes_of(player, config, scenario, runs, progress())
    if as_json:
        out.as_json({"config": config.path, **_plain({"scenario": scenario, "outcomes": outcomes})})
    else:
        width = console(session).width if out.someone_watches() else None
        show(session, tables.outcomes_table(outcomes, width))


Progress = Callable[[int, int], None]


def progress() -> Progress:
    """Says on stderr how far it is, if somebody looks."""
    if not sys.stderr.isatty() or out.under_an_agent():
        return lambda done, runs: None

    def say(done: int, runs: int) -> None:
        end = "\r\x1b[K" if done == runs else ""
        sys.stderr.write(f"\r{done} of {runs} runs{end}")
        sys.stderr.flush()

    return say


def part(told: Progress, number: int, of: int) -> Progress:
    """The progress of one of several policies, as that of all."""
    return lambda done, runs: told(number * runs + done, of * runs)


def outcomes_of(
    player: Player, config: Config, scenario: Scenario, runs: int, progress: Progress
) -> Outcomes:
    """Plays a scenario many times, on all cores."""

    def tell(done: int) -> None:
        progress(done, runs)

    return aggregate(player.samples(config, scenario, runs, tell))


# -- several policies ------------------------------------------------------------------------------


def compared(
    session: Session,
    configs: Sequence[Config],
    scenario: Scenario,
    runs: int | None,
    as_json: bool,
    before: Sequence[Column] = (),
) -> None:
    """--compare: a column for each policy. `before` are further ones, that were measured."""
    for config in configs:
        _fits(config, scenario)
    told = progress()
    with Player(simulate) as player:
        columns = [
            *before,
            *(
                _column(player, config, scenario, runs, part(told, number, len(configs)))
                for number, config in enumerate(configs)
            ),
        ]
    if as_json:
        out.as_json(_plain({"scenario": scenario, "comparison": comparison(columns)}))
    else:
        show(session, tables.comparison_table(columns))


def _column(
    player: Player, config: Config, scenario: Scenario, runs: int | None, told: Progress
) -> Column:
    summary, outcomes = _measured(player, config, scenario, runs, told)
    return Column(config.path, summary, outcomes)


def _measured(
    player: Player, config: Config, scenario: Scenario, runs: int | None, told: Progress
) -> tuple[Summary, Outcomes | None]:
    summary = summarise(simulate(config, scenario))
    if runs is None:
        told(1, 1)
        return summary, None
    return summary, outcomes_of(player, config, scenario, runs, told)


def _fits(config: Config, scenario: Scenario) -> None:
    """Refuses a policy without a service that the scenario is about."""
    named = {name for fault in scenario.faults for name in fault.services}
    for name in sorted(named | scenario.behaviours.keys()):
        if name not in config.services:
            known = ", ".join(config.services)
            text = f"{config.path} has no service {name!r}, which the scenario is about"
            raise Failed(Exit.WRONG, text, f"it has {known}")


# -- sweeps ----------------------------------------------------------------------------------------


def swept(
    session: Session,
    path: Path,
    sweeps: Sequence[str],
    scenario: Scenario,
    runs: int | None,
    as_json: bool,
) -> None:
    """--sweep: a row for each combination of values."""
    try:
        text = path.read_text(encoding="utf-8")
        found = points(text, str(path), [parse_sweep(sweep) for sweep in sweeps])
    except SweepError as error:
        raise Failed(Exit.WRONG, str(error), error.help) from None
    told = progress()
    with Player(simulate) as player:
        rows = [
            _row(player, point, scenario, runs, part(told, number, len(found)))
            for number, point in enumerate(found)
        ]
    if as_json:
        out.as_json({"config": str(path), **_plain({"scenario": scenario, "rows": rows})})
    else:
        show(session, tables.sweep_table(rows))


def _row(
    player: Player, point: Point, scenario: Scenario, runs: int | None, told: Progress
) -> tables.Row:
    summary, outcomes = _measured(player, point.config, scenario, runs, told)
    return tables.Row(point.settings, summary, outcomes)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(values)
    return plain
