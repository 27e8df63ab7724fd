"""`colony simulate`: what a restart policy does, before it does it at night.

Everything heavy is imported when the command runs, since completion imports this module too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from colony.cli import output as out
from colony.cli.files import load
from colony.cli.session import Failed, Session, file_services, json_option, pass_session, usage
from colony.exits import Exit

if TYPE_CHECKING:
    from colony.config import Config
    from colony.lab.faults import Scenario
    from colony.lab.replay import Replay
    from colony.lab.summary import ServiceSummary, Summary
    from colony.lab.trace import Trace

F = TypeVar("F", bound=Callable[..., Any])

FAULTS: Final = {
    "crash": "Killed by a signal, SIGKILL if none is named: web@5s, web@every:30s:SIGSEGV.",
    "exit": "Exits with a code, 0 if none is named: db@1m:3.",
    "hang": "Runs on and answers no more: web@1m. Its health check finds out.",
    "never_ready": "Does not become ready: db@10m,lasting=5m.",
    "slow_start": "Takes longer to be ready: db:1m.",
    "ignore_stop": "Does not end when it is told to: web.",
    "flapping": "Each life ends after a while: web@1m:3s,lasting=5m.",
    "port_stolen": "Somebody else has its port: web@1m,lasting=5m.",
    "unstartable": "Its program is not there: web@1m,lasting=5m.",
    "daemonise": "Exits and leaves a server behind: web@1m.",
}
"""The flags for what goes wrong, and their help."""

NARROWEST: Final = 40
WIDEST: Final = 120


def fault_options(command: F) -> F:
    """The flags of `FAULTS`, each of which may be given many times."""
    for kind, help in reversed(FAULTS.items()):
        flag = f"--{kind.replace('_', '-')}"
        option = click.option(
            flag,
            kind,
            multiple=True,
            metavar="SERVICE@WHEN",
            shell_complete=file_services,
            help=help,
        )
        command = option(command)
    return command


def _seconds(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """A length of time, as colony.toml has them."""
    from colony.config.values import Refused
    from colony.lab.words import period

    if value is None:
        return None
    try:
        return period(value)
    except Refused as refused:
        raise click.BadParameter(refused.message, context, parameter) from None


def _zoom(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """`1m..2m30s`: two times, the second one later."""
    from colony.config.values import Refused
    from colony.lab.words import seconds

    if value is None:
        return (None, None)
    start, dots, end = value.partition("..")
    try:
        first = seconds(start) if start else 0.0
        last = seconds(end) if end else None
    except Refused as refused:
        raise click.BadParameter(refused.message, context, parameter) from None
    if not dots or (last is not None and last <= first):
        raise click.BadParameter("must be two times, as 1m..2m30s", context, parameter)
    return first, last


@click.command(context_settings={"max_content_width": 100})
@click.argument("file", type=click.Path(path_type=Path), required=False)
@fault_options
@click.option(
    "--behaviour",
    multiple=True,
    metavar="SERVICE:KEY=VALUE",
    shell_complete=file_services,
    help="How its processes behave: db:ready=1m,lifetime=~10m.",
)
@click.option("--script", type=click.Path(path_type=Path), help="A scenario file to play.")
@click.option("--save", type=click.Path(path_type=Path), help="Write all of this to such a file.")
@click.option(
    "--for",
    "horizon",
    callback=_seconds,
    metavar="TIME",
    help="How long; default 1h, or as FILE says.",
)
@click.option("--seed", type=click.IntRange(0), help="Of all chance; default 0.")
@click.option(
    "--timeline",
    type=click.Choice(["auto", "lanes", "lines", "none"]),
    default="auto",
    help="A lane a service, or a line a change. Default: lanes on a terminal.",
)
@click.option("--zoom", callback=_zoom, metavar="TIME..TIME", help="The lanes from when to when.")
@click.option(
    "--width", type=click.IntRange(NARROWEST), help="Of the lanes; default the terminal's."
)
@click.option(
    "--monte-carlo",
    "runs",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="N runs with other seeds: how downtime and give-ups are spread.",
)
@click.option(
    "--compare",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The same faults under another colony.toml, side by side.",
)
@click.option(
    "--sweep",
    multiple=True,
    metavar="KEY=VALUE,…",
    help="A row for each value: services.web.backoff.max=1s,5s,30s.",
)
@click.option(
    "--from-journal",
    is_flag=True,
    help="What if: the faults that really happened to this colony, under FILE's policy.",
)
@click.option(
    "--since", metavar="TIME", help="Of the journal: yesterday, 2h, 22:30. Default: the last run."
)
@click.option("-c", "--colony", "name", help="Whose journal; default: the colony's of FILE.")
@json_option
@pass_session
def simulate(
    session: Session,
    file: Path | None,
    behaviour: tuple[str, ...],
    script: Path | None,
    save: Path | None,
    horizon: float | None,
    seed: int | None,
    timeline: str,
    zoom: tuple[float | None, float | None],
    width: int | None,
    runs: int | None,
    compare: tuple[Path, ...],
    sweep: tuple[str, ...],
    from_journal: bool,
    since: str | None,
    name: str | None,
    as_json: bool,
    **faults: tuple[str, ...],
) -> None:
    """Play FILE's restart policy against faults, on a virtual clock.

    The supervisors and the services' state machines are those of `colony run`; processes and time
    are not real, so that hours take milliseconds and nothing is started.

    \b
    WHEN is   5s                 once, after the start
              every:30s          again and again; ,first=5s
              poisson:10m        at random, so often on the average
              on:db.exits+2s     after what happens to another service
    SERVICE may be several, as web+api: both at one instant.
    Further: ,times=3 ,until=10m, and ,lasting=5m for what goes on for a while.

    \b
    colony simulate --crash web@5s --crash api@every:30s --exit db@1m:0 --for 2h
    colony simulate --script outage.toml --seed 7
    colony simulate new.toml --from-journal --since yesterday

    A single run ends the command with 1 if the colony gives up or cannot start.
    """
    _refuse_what_differs(compare, sweep, from_journal, script, since if since is not None else name)
    path = _in(session, file) if file else session.needed_file()
    config = load(session, path)
    scenario = _scenario(session, config, faults, behaviour, script, horizon, seed)
    night = None
    if from_journal:
        from colony.cli import recorded

        night = recorded.night(session, config, name, since, scenario.seed)
        scenario = recorded.with_night(scenario, night, horizon)
    if save is not None:
        _save(_in(session, save), scenario)
    if runs or compare or sweep:
        _experiment(session, path, config, scenario, runs, compare, sweep, night, as_json)
    elif night is not None:
        recorded.what_if(session, night, config, scenario, timeline, width, as_json)
    else:
        _one(session, config, scenario, timeline, zoom, width, as_json)


def _refuse_what_differs(
    compare: tuple[Path, ...],
    sweep: tuple[str, ...],
    from_journal: bool,
    script: Path | None,
    of_the_journal: str | None,
) -> None:
    """Ends the command, with the usage, where options do not go together."""
    if compare and sweep:
        usage("--compare and --sweep are two questions: ask one at a time")
    if from_journal and script is not None:
        usage("--from-journal is a scenario of its own: it goes without --script")
    if of_the_journal is not None and not from_journal:
        usage("--since and --colony say what is taken from the journal: add --from-journal")


def _experiment(
    session: Session,
    path: Path,
    config: Config,
    scenario: Scenario,
    runs: int | None,
    compare: tuple[Path, ...],
    sweep: tuple[str, ...],
    night: Replay | None,
    as_json: bool,
) -> None:
    """More than one run. `night` is what really happened, if the scenario is made of that."""
    from colony.cli import experiments

    if sweep:
        experiments.swept(session, path, sweep, scenario, runs, as_json)
        return
    if not compare:
        experiments.many(session, config, scenario, runs or 1, as_json)
        return
    before = []
    if night is not None and not runs:  # what happened once has no distribution
        from colony.cli.recorded import happened

        before = [happened(night)]
    configs = [config, *(load(session, _in(session, other)) for other in compare)]
    experiments.compared(session, configs, scenario, runs, as_json, before)


def _in(session: Session, path: Path) -> Path:
    """A path of the command line's, which -C may have moved."""
    return path if session.directory is None else session.here / path


def _scenario(
    session: Session,
    config: Config,
    faults: dict[str, tuple[str, ...]],
    behaviours: tuple[str, ...],
    script: Path | None,
    horizon: float | None,
    seed: int | None,
) -> Scenario:
    """The file's scenario, if there is one, with what the flags add; ends the program with all
    that is wrong with either."""
    from colony.config import ConfigError, render
    from colony.lab.flags import parse_flags
    from colony.lab.script import Script, load_script

    problems: list[Any] = []
    read = Script()
    given: tuple[Any, ...] = ()
    behaved: dict[str, Any] = {}
    try:
        read = (
            Script() if script is None else load_script(str(_in(session, script)), config.services)
        )
    except ConfigError as error:
        problems += error.problems
    try:
        flags = [(kind, text) for kind, texts in faults.items() for text in texts]
        given, behaved = parse_flags(flags, behaviours, config.services, read.behaviours)
    except ConfigError as error:
        problems += error.problems
    if problems:
        click.echo(render(problems, color=session.colour(sys.stderr)), err=True, color=True)
        sys.exit(Exit.WRONG)
    whole = Script(
        faults=(*read.faults, *given),
        behaviours=behaved,
        horizon=read.horizon,
        seed=read.seed,
    )
    return whole.scenario(horizon, seed)


def _save(path: Path, scenario: Scenario) -> None:
    from colony.lab.script import written

    try:
        path.write_text(written(scenario), encoding="utf-8")
    except OSError as error:
        raise Failed(Exit.FAILED, f"{path} cannot be written: {error.strerror}") from None


# -- one run ---------------------------------------------------------------------------------------


def _one(
    session: Session,
    config: Config,
    scenario: Scenario,
    timeline: str,
    zoom: tuple[float | None, float | None],
    width: int | None,
    as_json: bool,
) -> None:
    """Plays once and shows what came of it; ends the program with 1 if that is bad."""
    from colony.lab.summary import summarise
    from colony.lab.world import simulate as play

    trace = play(config, scenario)
    summary = summarise(trace)
    if as_json:
        out.as_json(as_data(config, scenario, trace, summary))
    else:
        if timeline == "auto":
            timeline = "lanes" if out.someone_watches() else "lines"
        show_timeline(session, trace, timeline, zoom, width)
        lines = summary_lines(trace, summary, session.colour())
        lines += _unnoticed(trace, config)
        sys.stdout.write("\n".join(lines) + "\n")
    if trace.ending.kind in ("gave_up", "start_failed"):
        sys.exit(Exit.FAILED)


def as_data(config: Config, scenario: Scenario, trace: Trace, summary: Summary) -> dict[str, Any]:
    """All of it, for machines."""
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(summary)
    for name, each in summary.services.items():
        plain["services"][name]["availability"] = each.availability
        plain["services"][name]["seemed_available"] = each.seemed_available
    return {
        "config": config.path,
        "scenario": msgspec.to_builtins(scenario),
        "summary": plain,
        "trace": msgspec.to_builtins(trace),
    }


def show_timeline(
    session: Session,
    trace: Trace,
    form: str,
    zoom: tuple[float | None, float | None] = (None, None),
    width: int | None = None,
) -> None:
    """A trace as lanes, as lines, or not at all. `width`: None for the terminal's."""
    from colony.cli.experiments import console
    from colony.lab import timeline

    if form == "none":
        return
    target = console(session)
    if form == "lines":
        lines: Iterable[Any] = timeline.changes(trace)
    else:
        fits = width or min(max(target.width, NARROWEST), WIDEST)
        lines = timeline.lanes(trace, fits, start=zoom[0], end=zoom[1])
    for line in lines:
        target.print(line, soft_wrap=True)
    target.print()


def summary_lines(trace: Trace, summary: Summary, colour: bool) -> list[str]:
    """The figures of a run, for people."""
    headers: tuple[str, ...] = (
        "SERVICE",
        "AVAILABLE",
        "DOWN",
        "OUTAGES",
        "LONGEST",
        "RESTARTS",
        "ENDS",
        "TAKEN DOWN",
    )
    services = summary.services.values()
    rows = [_row(each) for each in services]
    if any(each.unnoticed for each in services):
        headers = (*headers, "HUNG UNNOTICED")
        rows = [(*row, _time(each.unnoticed)) for row, each in zip(rows, services, strict=True)]
    return [*out.table(headers, rows), "", *_conclusion(trace, summary, colour)]


def _time(seconds: float) -> str:
    from colony.lab.timeline import length

    return length(seconds) if seconds else "-"


def _row(each: ServiceSummary) -> tuple[str, ...]:
    from colony.lab.tables import percent
    from colony.lab.timeline import clock, length

    longest = "-"
    if each.longest_at is not None:
        longest = f"{length(each.longest)} at {clock(each.longest_at).partition('.')[0]}"
    takers = ", ".join(f"{count} by {name}" for name, count in each.taken_down.items())
    return (
        each.service,
        percent(each.availability) if each.first_ready is not None else "never ready",
        _time(each.downtime),
        str(each.outages or "-"),
        longest,
        str(each.restarts or "-"),
        str(each.crashes + each.exits or "-"),
        takers or "-",
    )


def _unnoticed(trace: Trace, config: Config) -> list[str]:
    """The services that hang without a check that would find out: to their supervisor they are
    well, for ever. The kernel accepts connections also for a process that hangs."""
    from colony.lab.timeline import clock
    from colony.services.specs import health_probe

    lines: dict[str, str] = {}
    for entry in trace.entries:
        if entry.kind != "hung" or entry.service in lines:
            continue
        service = config.services[entry.service]
        blind = "it has no health check"
        if service.health is not None:
            blind = "a connection is all that its health check asks for"
            if health_probe(service, service.health).kind != "tcp":
                continue
        text = f"  nobody notices that {entry.service} hangs at {clock(entry.at)}: {blind}"
        lines[entry.service] = text
    return list(lines.values())


_LIMITS: Final = {
    "deadline": "was not ready in time",
    "health": "failed its health check",
    "grace": "did not end in its grace and was killed",
}


def _conclusion(trace: Trace, summary: Summary, colour: bool) -> list[str]:
    """How it ended, and which limits were in the way, the first one first."""
    from colony.lab.timeline import clock, ending, length

    words = ending(trace.ending, trace.colony, when=True).plain
    shape, _, rest = words.partition(" ")
    code = {"‡": 31, "!": 31, "✓": 32, "■": 36}.get(shape)
    lines = [f"{out.paint(shape, code, colour)} {rest}"]
    if [limit.kind for limit in summary.limits] == ["intensity"]:
        return lines  # which is what has just been said
    for number, limit in enumerate(summary.limits):
        if limit.kind == "intensity":
            text = f"{limit.service} needed {limit.detail}"
        else:
            text = f"{limit.service} {_LIMITS[limit.kind]}"
        first = "first limit" if number == 0 else "then"
        times = f" ({limit.times} times in all)" if limit.times > 1 else ""
        lines.append(f"  {first} at {clock(limit.at)}: {text}{times}")
    if summary.peak is not None and not summary.gave_up:
        peak = summary.peak
        within = f" in {length(trace.period)}" if trace.period else ""  # not in the journal
        lines.append(
            f"  nearest to the restart limit at {clock(peak.at)}: "
            f"{peak.count} of {peak.limit}{within}, by {peak.service}"
        )
    return lines
