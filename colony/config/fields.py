"""Which keys each table of colony.toml may hold, and how each one's value is read.

The law: a key that is not in its table here is unknown, and every key here is a field of the
table's Struct in `schema` (a test holds the two together).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from colony.config import networks, probes, values
from colony.config.schema import (
    BackoffRule,
    Colony,
    Config,
    EgressPolicy,
    Environment,
    Health,
    Network,
    Policy,
    Ready,
    Service,
    Stop,
    Supervision,
    Terminal,
)
from colony.config.values import Reader

DAY: Final = 24 * 3600.0


class Each(Struct, frozen=True):
    """A table whose keys are the user's own: `key` refuses a bad one, `value` reads each value."""

    key: Callable[[str], object]
    value: Reader


class Tables(Struct, frozen=True):
    """A table of tables whose names are the user's own, each of them a `kind`."""

    key: Callable[[str], object]
    kind: type[Struct]


class Short(Struct, frozen=True):
    """A table that may be written as one value too: `word` makes its fields of that."""

    word: Callable[[object], dict[str, Any]]
    kind: type[Struct]


Entry = Reader | Each | Tables | Short | type[Struct]

_VARIABLES: Final = Each(values.variable_name, values.variable)
_STRATEGY: Final = values.choice("one_for_one", "rest_for_one", "one_for_all")

TABLES: Final[dict[type[Struct], dict[str, Entry]]] = {
    Config: {
        "colony": Colony,
        "services": Tables(values.name, Service),
        "terminal": Terminal,
        "supervision": Supervision,
        "network": Network,
    },
    Colony: {
        "name": values.name,
        "template": values.name,
        "description": values.text,
        "restart_strategy": _STRATEGY,
        "env": _VARIABLES,
        "environment": Environment,
        "ports": Each(values.name, values.port),
    },
    Environment: {
        "node_version": values.version,
        "package_manager": values.choice("npm", "yarn", "pnpm", "bun"),
        "python_version": values.version,
        "ruby_version": values.version,
        "rust_version": values.version,
        "setup": probes.lines,
    },
    Service: {
        "command": values.command,
        "port": values.port,
        "path": values.url_path,
        "cwd": values.filled,
        "env": _VARIABLES,
        "restart": values.choice(
            "permanent",
            "transient",
            "temporary",
            aliases={"always": "permanent", "on-failure": "transient", "never": "temporary"},
        ),
        "stop": Stop,
        "after": probes.after,
        "env_file": probes.files,
        "ready": Short(probes.ready_word, Ready),
        "health": Health,
        "backoff": BackoffRule,
        "pty": values.flag,
        "exit_colony": values.flag,
    },
    Stop: {
        "signal": probes.signal_number,
        "grace": values.duration(0, 600),
        "command": values.command,
    },
    Ready: {
        "tcp": probes.port_or_true,
        "http": values.url_path,
        "exec": values.command,
        "log": probes.pattern,
        "notify": values.flag,
        "none": values.flag,
        "port": values.port,
        "interval": values.duration(0.001, DAY),
        "timeout": values.duration(0.001, DAY),
        "deadline": values.duration(0.001, DAY),
    },
    Health: {
        "tcp": probes.port_or_true,
        "http": values.url_path,
        "exec": values.command,
        "notify": values.flag,
        "port": values.port,
        "interval": values.duration(0.01, DAY),
        "timeout": values.duration(0.001, DAY),
        "failures": probes.failures,
    },
    BackoffRule: {
        "min": values.duration(0, DAY),
        "max": values.duration(0, DAY),
        "factor": probes.factor,
        "jitter": probes.part,
        "reset": values.duration(0, DAY),
    },
    Terminal: {"command": values.command, "env": _VARIABLES},
    Supervision: {
        "strategy": _STRATEGY,
        "intensity": values.count,
        "period": values.duration(0.001, DAY),
    },
    Network: {
        "mode": values.choice("bridge", "host", "none", "share"),
        "share": values.name,
        "egress": values.choice("nat", "none", "proxy"),
        "network": values.name,
        "ports": networks.ports,
        "hostname": networks.hostname,
        "ip": networks.address,
        "expose": values.choice("declared", "auto"),
        "policy": Policy,
    },
    Policy: {"allow_from": networks.colonies, "egress": EgressPolicy, "api": values.flag},
    EgressPolicy: {"allow": networks.destinations},
}

HOMES: Final[dict[str, str]] = {
    **dict.fromkeys(TABLES[EgressPolicy], "[network.policy.egress]"),
    **dict.fromkeys(TABLES[Policy], "[network.policy]"),
    **dict.fromkeys(TABLES[Network], "[network]"),
    **dict.fromkeys(TABLES[Supervision], "[supervision]"),
    **dict.fromkeys(TABLES[Colony], "[colony]"),
    **dict.fromkeys(TABLES[Environment], "[colony.environment]"),
    **dict.fromkeys(TABLES[BackoffRule], "[services.NAME.backoff]"),
    **dict.fromkeys(TABLES[Health], "[services.NAME.health]"),
    **dict.fromkeys(TABLES[Ready], "[services.NAME.ready]"),
    **dict.fromkeys(TABLES[Stop], "[services.NAME.stop]"),
    **dict.fromkeys(TABLES[Service], "[services.NAME]"),
    "env": "[colony.env], [services.NAME] or [terminal]",
}
"""Where a key belongs that stands in the wrong table."""

SYNONYMS: Final[dict[str, str]] = {
    **dict.fromkeys(("cmd", "exec", "run", "script", "start"), "command"),
    **dict.fromkeys(("dir", "directory", "workdir", "working_dir", "working_directory"), "cwd"),
    **dict.fromkeys(("environment", "envs", "vars", "variables"), "env"),
    **dict.fromkeys(("autorestart", "restart_policy"), "restart"),
    **dict.fromkeys(("max_restarts", "retries"), "intensity"),
    **dict.fromkeys(("depends_on", "needs", "requires", "dependencies"), "after"),
    **dict.fromkeys(("envfile", "dotenv", "environment_file"), "env_file"),
    **dict.fromkeys(("readiness", "readiness_probe", "wait_for"), "ready"),
    **dict.fromkeys(("healthcheck", "liveness", "liveness_probe"), "health"),
    **dict.fromkeys(("tty", "interactive"), "pty"),
    "url": "path",
}
"""What other tools call it."""
