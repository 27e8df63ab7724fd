"""The command line: a table of commands, each loaded when it is used.

What every command shares is in `session` (whom it asks, which colony is meant) and `output` (what
it shows, and how). The client commands import click, json and sockets; a test looks at
`sys.modules` that it stays so.
"""

from __future__ import annotations

import errno
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from colony.cli import output as out
from colony.cli.session import Failed, Session, show_error, wrong_usage
from colony.client import ClientError
from colony.exits import MEANINGS, Exit
from colony.version import VERSION


class Entry(NamedTuple):
    """A command: where it is, and its line in the list of commands."""

    module: str
    help: str
    section: str


COMMANDS: Final[dict[str, Entry]] = {
    "run": Entry("run", "Run colonies in the foreground.", "Run"),
    "up": Entry("up", "Start a colony in the running instance.", "Run"),
    "down": Entry("up", "Stop colonies.", "Run"),
    "apply": Entry("up", "Make a running colony what its file says now.", "Run"),
    "ls": Entry("look", "List colonies.", "Look"),
    "ps": Entry("look", "List the services of a colony.", "Look"),
    "logs": Entry("logs", "Show what services wrote.", "Look"),
    "events": Entry("look", "Show what happens.", "Look"),
    "tree": Entry("look", "Show the supervision tree.", "Look"),
    "inspect": Entry("look", "Show all that is known of a colony.", "Look"),
    "url": Entry("look", "Print the URL of a service.", "Look"),
    "open": Entry("look", "Open a service in the browser.", "Look"),
    "start": Entry("act", "Start a colony, or services of it.", "Act"),
    "stop": Entry("act", "Stop services; they stay stopped.", "Act"),
    "restart": Entry("act", "Restart services.", "Act"),
    "signal": Entry("act", "Send a signal to a service.", "Act"),
    "send": Entry("act", "Write to a service's standard input.", "Act"),
    "wait": Entry("act", "Wait for a service.", "Act"),
    "attach": Entry("attach", "Attach to a terminal inside a colony.", "Terminals"),
    "terminals": Entry("terminals", "List terminals, or end one.", "Terminals"),
    "capture": Entry("terminals", "Print what a terminal shows.", "Terminals"),
    "exec": Entry("exec", "Run a command inside a colony.", "Act"),
    "port-forward": Entry("act", "Open a port of a colony on this host.", "Act"),
    "focus": Entry("network", "Give localhost's plain ports to one colony.", "Act"),
    "net": Entry("network", "Networks, the host's ports, who reaches whom.", "Act"),
    "new": Entry("new", "Make a workspace of a repository, with all it needs.", "Files"),
    "rm": Entry("new", "Remove a colony's workspace, database and logs.", "Files"),
    "init": Entry("init", "Write a colony.toml for what is in a folder.", "Files"),
    "validate": Entry("files", "Check a colony.toml.", "Files"),
    "simulate": Entry("simulate", "Try a restart policy against faults, in virtual time.", "Files"),
    "template": Entry("template", "List, show and make templates.", "Files"),
    "schema": Entry("files", "Print the JSON Schema of colony.toml, or the API's.", "Files"),
    "daemon": Entry("daemon", "Control the instance in the background.", "Instance"),
    "doctor": Entry("doctor", "Check this machine.", "Instance"),
    "mcp": Entry("mcp", "Serve tools for coding agents on stdio.", "Instance"),
    "completion": Entry("completion", "Print the completion script of a shell.", "Instance"),
    "version": Entry("version", "Print the version.", "Instance"),
}

ALIASES: Final = {"status": "ps", "list": "ls"}
"""Other names that people try first; not shown."""


AS_JSON: Final = "colony.json"
"""Of the context's `meta`: whether --json was given, in whatever state the rest of the line is."""


class Commands(click.Group):
    """The table as a click group: a command's module is imported when it is asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        name = ALIASES.get(name, name)
        entry = COMMANDS.get(name)
        if entry is None:
            return None
        module = import_module(f"colony.cli.{entry.module}")
        command: click.Command = getattr(module, name.replace("-", "_"))
        return command

    def resolve_command(
        self, context: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(context, args)
        except click.UsageError as error:
            raise _unknown(context, args, error) from None

    def shell_complete(
        self, context: click.Context, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        """After a word that is no command there is nothing to complete."""
        words = [*context._protected_args, *context.args]
        return [] if words else super().shell_complete(context, incomplete)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for section in dict.fromkeys(entry.section for entry in COMMANDS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, e.help) for name, e in COMMANDS.items() if e.section == section]
                )

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(code)), words) for code, words in MEANINGS.items()])

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        own = args[: args.index("--")] if "--" in args else args
        as_json = "--json" in own
        try:
            context = super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            sys.exit(wrong_usage(error, as_json, "colony"))
        context.meta[AS_JSON] = as_json
        return context

    def invoke(self, context: click.Context) -> Any:
        try:
            result = super().invoke(context)
            sys.stdout.flush()  # so that a reader who has left is met here
            return result
        except ClientError as error:
            sys.exit(show_error(context.obj, error))
        except click.UsageError as error:
            command = f"colony {context.invoked_subcommand or ''}".rstrip()
            sys.exit(wrong_usage(error, context.meta[AS_JSON], command, context.obj))
        except click.Abort:
            # At a question: Ctrl-C, or the end of what could have been the answer.
            sys.exit(Exit.CTRL_C)
        except BrokenPipeError:
            # Whoever read our output has left: what `head` does to everybody.
            out.to_nobody()
            sys.exit(0)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            sys.stdout = None  # or Python tries again, and complains
            full = Failed(Exit.FAILED, f"what was to be written was not: {error.strerror}")
            sys.exit(show_error(context.obj, full))


def _unknown(context: click.Context, args: list[str], error: click.UsageError) -> click.UsageError:
    from difflib import get_close_matches

    if not args or args[0].startswith("-"):
        return error
    near = get_close_matches(args[0], [*COMMANDS, *ALIASES], n=1, cutoff=0.6)
    hint = f"; did you mean {ALIASES.get(near[0], near[0])!r}?" if near else ""
    return click.UsageError(f"there is no command {args[0]!r}{hint}", context)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="colony %(version)s")
@click.option(
    "-C",
    "directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Act as if started in this directory.",
)
@click.option(
    "-f", "--file", type=click.Path(path_type=Path), help="The colony.toml; default: the nearest."
)
@click.option(
    "-H",
    "--host",
    metavar="ADDRESS",
    help="The instance to ask: unix:///PATH, http://HOST:PORT. Default: $COLONY_HOST, else yours.",
)
@click.option(
    "--color",
    "--colour",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Colours. Default: on a terminal, unless NO_COLOR is set.",
)
@click.option(
    "--debug", is_flag=True, help="Show tracebacks of Colony's own errors, and what blocks it."
)
@click.pass_context
def colony(
    context: click.Context,
    directory: Path | None,
    file: Path | None,
    host: str | None,
    color: str,
    debug: bool,
) -> None:
    """Isolated development environments, supervised as Erlang/OTP supervises processes.

    Most commands are about the colony of the nearest colony.toml, from here upward.
    """
    context.obj = Session(directory, file, host, color, debug=debug)
    context.obj.json = context.meta[AS_JSON]
