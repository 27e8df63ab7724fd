"""What a command works with: which instance, which colony, which service is meant; and its errors.

A service is named `web`, or `blog/web` for one of another colony than the nearest file's.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import cached_property, update_wrapper
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from colony.cli.output import coloured, message, paint
from colony.client import Client, ClientError, Gone, Paused, Problem, Unreachable, path_of
from colony.escapes import plain
from colony.exits import BY_CODE, Exit

FILE: Final = "colony.toml"

F = TypeVar("F", bound=Callable[..., Any])


class Failed(ClientError):
    """A command's own error, with its exit status, what to do, what the command takes, and what
    whoever asked for JSON gets besides."""

    def __init__(
        self,
        code: Exit,
        text: str,
        help: str = "",
        usage: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(text)
        self.code = code
        self.help = help
        self.usage = usage
        self.data = data or {}


class Session:
    """One invocation of the command line."""

    def __init__(
        self,
        directory: Path | None,
        file: Path | None,
        host: str | None,
        color: str,
        *,
        debug: bool = False,
    ) -> None:
        self.directory = directory
        self.file = file
        self.host = host
        self.color = color
        self.debug = debug
        self.json = False
        """Whether errors go out as JSON, too."""

    def __repr__(self) -> str:
        return f"<Session in {self.here}>"

    @property
    def here(self) -> Path:
        """Where the command acts. Raises `Failed` if that has been removed."""
        try:
            return (self.directory or Path()).absolute()
        except FileNotFoundError:
            words = "the folder that you are in has been removed"
            raise Failed(Exit.WRONG, words, "go to another one: cd") from None

    @cached_property
    def client(self) -> Client:
        """The client of the instance that is meant."""
        try:
            return Client.find(self.host)
        except ValueError as error:
            raise Failed(Exit.WRONG, str(error)) from None

    def colour(self, stream: Any = None) -> bool:
        """Whether to colour what goes to a stream; stdout by default."""
        return coloured(stream or sys.stdout, self.color)

    # -- which file ----------------------------------------------------------------------------

    def nearest(self) -> Path | None:
        """The colony.toml that is named, or the nearest one, from here upward; None without."""
        if self.file is not None:
            return self.here / self.file
        for directory in (self.here, *self.here.parents):
            if (directory / FILE).is_file():
                return directory / FILE
        return None

    def needed_file(self) -> Path:
        """The same, for a command that cannot do without; as the user would write it."""
        path = self.nearest()
        if path is None:
            raise Failed(
                Exit.WRONG,
                f"there is no {FILE} in {self.here} or above it",
                "name one, or write one: [services.web] with a command and a port",
            )
        return Path(os.path.relpath(path)) if self.directory is None else path

    # -- which colony --------------------------------------------------------------------------

    @cached_property
    def colonies(self) -> list[dict[str, Any]]:
        """All colonies of the instance, as they were when first asked for."""
        found: list[dict[str, Any]] = self.client.get("/api/colonies")
        return found

    def colony(self, name: str | None = None) -> str:
        """The name of the colony that is meant: the one given, else the nearest file's."""
        if name is not None:
            return name
        path = self.nearest()
        names = [each["name"] for each in self.colonies]
        if path is None:
            help = (
                f"name it: there is {', '.join(names)}" if names else "start one: colony run FILE"
            )
            raise Failed(
                Exit.WRONG, f"which colony? There is no {FILE} in {self.here} or above it", help
            )
        for each in self.colonies:
            if os.path.realpath(each["path"]) == os.path.realpath(path):
                return str(each["name"])
        here = os.path.relpath(path)
        help = "start it: colony up" + (f" (there are {', '.join(names)})" if names else "")
        raise Failed(Exit.NOT_FOUND, f"the colony of {here} is not here", help)

    def found(self, name: str | None = None) -> dict[str, Any]:
        """That colony, as the API gives it."""
        answer: dict[str, Any] = self.client.get(path_of("colonies", self.colony(name)))
        return answer

    def targets(self, given: tuple[str, ...], colony: str | None) -> list[tuple[str, str]]:
        """`web`, `blog/web` → colony and service. Raises for a service that its colony has not."""
        made = []
        for each in given:
            owner, slash, service = each.rpartition("/")
            made.append((owner if slash else self.colony(colony), service))
        for owner, service in made:
            self._check(owner, service)
        return made

    def _check(self, colony: str, service: str) -> None:
        present = {each["name"]: each for each in self.colonies}
        if colony not in present:
            raise not_there("colony", colony, list(present))
        services = [each["name"] for each in present[colony]["services"]]
        if service not in services:
            raise not_there(f"service in colony {colony} called", service, services)


def not_there(what: str, name: str, known: list[str]) -> Failed:
    """There is none of that name; with the near miss."""
    near = get_close_matches(name, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    verb = "is" if len(known) == 1 else "are"
    help = f"there {verb} {', '.join(known)}" if known else "there is none"
    return Failed(Exit.NOT_FOUND, f"there is no {what} {name!r}{hint}", help)


# -- errors ----------------------------------------------------------------------------------------


def show_error(session: Session | None, error: ClientError) -> int:
    """Says on stderr what went wrong, and returns the exit status for it."""
    code, help = _meaning(error)
    text = str(error)
    if session is not None and session.json:
        problem = error.data if isinstance(error, Problem | Failed) else {}
        shown = {"code": int(code), "message": text, "help": help, "problem": problem}
        print(json.dumps({"error": shown}, ensure_ascii=False), file=sys.stderr)
        return code
    colour = coloured(sys.stderr, session.color if session else "auto")
    message(f"{paint('error', 31, colour)}: {text}")
    if isinstance(error, Problem):
        _show_details(error)
    if isinstance(error, Failed) and error.usage:
        message(f"  = {paint('usage', 1, colour)}: {error.usage}")
    if help:
        message(f"  = {paint('help', 1, colour)}: {help}")
    return code


def wrong_usage(
    error: click.UsageError, as_json: bool, command: str, session: Session | None = None
) -> int:
    """Says what is wrong with a command line as any other error is said; the exit status."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return Exit.WRONG
    usage = ""
    if error.ctx is not None:
        command = error.ctx.command_path
        usage = " ".join([command, *error.ctx.command.collect_usage_pieces(error.ctx)])
    session = session or Session(None, None, None, "auto")
    session.json = as_json
    wrong = Failed(Exit.WRONG, _in_our_words(error), f"{command} --help", usage)
    return show_error(session, wrong)


def _in_our_words(error: click.UsageError) -> str:
    """Click's sentence as the one line that our own are."""
    if isinstance(error, click.NoSuchOption):
        if error.option_name == "--json":
            return "--json stands after the command, as in: colony ls --json"
        near = " or ".join(repr(each) for each in error.possibilities or ())
        hint = f"; did you mean {near}?" if near else ""
        return f"there is no option {error.option_name!r}{hint}"
    text = " ".join(error.format_message().split()).replace(". Did you mean ", "; did you mean ")
    return text[:1].lower() + text[1:].removesuffix(".")


def _show_details(error: Problem) -> None:
    problems = error.data.get("problems", ())
    for each in problems[1:] if len(problems) > 1 else ():
        message(f"       {each['field']}: {each['message']}")
    for step in error.data.get("steps", ()):
        message(f"  ~ {step['service'] or 'the colony'}: {step['because']}")
    lines = error.data.get("last_lines", ())
    if lines:
        message("  the last lines that it wrote:")
        for line in lines:
            message(f"  | {plain(line)}")


def _meaning(error: ClientError) -> tuple[Exit, str]:
    if isinstance(error, Failed):
        return error.code, error.help
    if isinstance(error, Problem):
        return BY_CODE.get(error.code, Exit.FAILED), error.help
    if isinstance(error, Unreachable | Paused | Gone):
        return Exit.UNREACHABLE, ""
    return Exit.FAILED, ""


def usage(text: str) -> NoReturn:
    """Ends the command: it was used wrongly."""
    raise Failed(Exit.WRONG, text)


# -- what commands share ---------------------------------------------------------------------------


class Group(click.Group):
    """Commands below a command. Those that list, remove or show have the other usual name, too."""

    ALIASES: Final = {"ls": "list", "list": "ls", "rm": "remove", "show": "inspect"}

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        found = super().get_command(context, name)
        return found or super().get_command(context, self.ALIASES.get(name, name))


def pass_session(command: F) -> F:
    """Gives a command its `Session` as first argument."""

    def with_session(*args: Any, **options: Any) -> Any:
        session: Session = click.get_current_context().obj
        session.json = bool(options.get("as_json"))
        return command(session, *args, **options)

    wrapped: Any = update_wrapper(with_session, command)
    return wrapped  # type: ignore[no-any-return]


json_option = click.option("--json", "as_json", is_flag=True, help="As JSON, with stable keys.")


def colony_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Completion: the names of the colonies that are there."""
    return [name for name in _names(context) if name.startswith(incomplete)]


def first_colony(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Completion: a colony as the first of several words."""
    given = context.params.get(parameter.name or "")
    return [] if given else colony_names(context, parameter, incomplete)


def signal_names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Completion: signals, as HUP or as SIGHUP."""
    import signal

    names = [each.name.removeprefix("SIG") for each in signal.Signals]
    prefix = "SIG" if incomplete.upper().startswith("SIG") else ""
    return [prefix + name for name in names if (prefix + name).startswith(incomplete.upper())]


def network_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Completion: the networks that were created or that a colony names."""
    with _quietly():
        found = _session(context).client.get("/api/networks")
        names = [each["name"] for each in found if each["name"]]
        return [name for name in names if name.startswith(incomplete)]
    return []


def terminal_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Completion: colonies, and after one's name and a slash its terminals."""
    colony, slash, _rest = incomplete.partition("/")
    found = _names(context)
    if slash:
        with _quietly():
            listed = _session(context).client.get(path_of("colonies", colony, "terminals"))
            found = [f"{colony}/{each['name']}" for each in listed]
    return [name for name in found if name.startswith(incomplete)]


def service_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Completion: the nearest colony's services, and `colony/service` of all others."""
    session = _session(context)
    found: list[str] = []
    with _quietly():
        nearest = None
        with _quietly():
            nearest = session.colony()
        for each in session.colonies:
            mine = each["name"] == nearest
            for service in each["services"]:
                name = service["name"]
                found.append(name if mine else f"{each['name']}/{name}")
    return [name for name in found if name.startswith(incomplete)]


def file_services(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Completion: the services of the file that is given, or of the nearest one; after a `+` one
    more. No instance is asked."""
    import tomllib

    session = _session(context)
    before, plus, begun = incomplete.rpartition("+")
    given: Path | None = context.params.get("file")
    with _quietly():
        path = session.here / given if given is not None else session.nearest()
        if path is not None:
            try:
                services = tomllib.loads(path.read_text(encoding="utf-8")).get("services", {})
            except ValueError:  # no TOML, or no text
                return []
            taken = before.split("+")
            names = [each for each in services if each.startswith(begun) and each not in taken]
            return [f"{before}{plus}{name}" for name in names]
    return []


def _names(context: click.Context) -> list[str]:
    with _quietly():
        return [each["name"] for each in _session(context).colonies]
    return []


def _session(context: click.Context) -> Session:
    """While completing, the group's function has not run: what it would make is made here."""
    top = context.find_root().params
    return Session(top.get("directory"), top.get("file"), top.get("host"), "never")


@contextmanager
def _quietly() -> Iterator[None]:
    """No completion is better than an error in the middle of a line."""
    try:
        yield
    except (ClientError, OSError):
        return
