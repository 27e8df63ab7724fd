"""What a session runs: pure, from colony.toml and what is asked for."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from typing import Final

import msgspec

from actors import Reason
from colony.config import Config
from colony.config.interpolation import arguments, resolved
from colony.environment import at_terminal, colony_environment
from colony.terminals.sizes import DEFAULT, Size
from netns import ExitStatus
from netns.names import COLONY_VARIABLE

TERMINAL_VARIABLE: Final = "COLONY_TERMINAL"
"""By which the processes of a session are found."""

MAIN: Final = "terminal"
"""The session of colony.toml's [terminal]; others have numbers."""

OUTER: Final = frozenset({"COLONY_SERVICE", "PORT"})
"""Variables about the service that Colony itself may run in: they say nothing here."""


class SessionPlan(msgspec.Struct, frozen=True):
    """What one session's actor is told.

    lingers
        Whether it lives on when its last viewer leaves. Default true.
    """

    colony: str
    name: str
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    instance: str
    isolated: bool
    size: Size = DEFAULT
    lingers: bool = True

    def __repr__(self) -> str:
        return f"<SessionPlan {self.colony}/{self.name} {self.argv[0]}>"  # env may hold secrets


class SessionOver(Reason, frozen=True):
    """A session's program has ended. Orderly whatever its status: it is its user's affair."""

    status: ExitStatus

    @property
    def orderly(self) -> bool:
        return True

    def __str__(self) -> str:
        return str(self.status)


def session_environment(
    system: Mapping[str, str], config: Config, urls: Mapping[str, str], name: str
) -> dict[str, str]:
    """The environment of a session: the system's, the colony's, [terminal]'s; and a terminal's."""
    env = at_terminal(colony_environment(system, config, urls))
    env = {key: value for key, value in env.items() if key not in OUTER}
    env |= resolved(config.environment(config.terminal), env)
    # Whatever the file says, these stay: it is by them that strays are found.
    return env | {COLONY_VARIABLE: config.name, TERMINAL_VARIABLE: name}


def session_command(config: Config, env: Mapping[str, str]) -> tuple[str, ...]:
    """[terminal] command; default the user's shell."""
    if config.terminal.command is None:
        return (users_shell(env),)
    return arguments(config.terminal.argv, env)


def users_shell(env: Mapping[str, str]) -> str:
    """$SHELL, else the user's in the machine's list of users, else /bin/sh."""
    shell = env.get("SHELL", "")
    if not shell:
        try:
            shell = pwd.getpwuid(os.getuid()).pw_shell
        except KeyError:
            shell = ""
    return shell if shell.startswith("/") and os.access(shell, os.X_OK) else "/bin/sh"
