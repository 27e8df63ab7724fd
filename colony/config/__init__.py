"""colony.toml: read, checked as a whole, and every mistake shown at its place.

    from colony import config

    try:
        colony = config.load("colony.toml")
    except config.ConfigError as error:
        print(config.render(error.problems))
    else:
        for service in colony.services.values():
            print(service.name, service.argv, service.port)

`load` reads a file and `parse` a text; both give a `Config` that can be started as it stands, or
raise `ConfigError` with all problems at once. What hinders nothing (a deprecated table, an assumed
name) is in `Config.warnings`. The fields, their units and defaults are in `schema`.

Imports msgspec and the standard library only, so that `colony validate` starts fast.
"""

from colony.config.load import load, parse
from colony.config.problems import ConfigError, Place, Problem
from colony.config.render import as_data, render
from colony.config.schema import (
    BackoffRule,
    Colony,
    Config,
    Environment,
    Health,
    Network,
    Ready,
    Service,
    Stop,
    Supervision,
    Terminal,
)

__all__ = [
    "BackoffRule",
    "Colony",
    "Config",
    "ConfigError",
    "Environment",
    "Health",
    "Network",
    "Place",
    "Problem",
    "Ready",
    "Service",
    "Stop",
    "Supervision",
    "Terminal",
    "as_data",
    "load",
    "parse",
    "render",
]
