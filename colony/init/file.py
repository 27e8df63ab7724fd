"""The text of a new colony.toml, and putting it into its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from colony.config import ConfigError, parse
from colony.config.values import valid_name
from colony.init.found import Found, FoundService, Wanted

FILE: Final = "colony.toml"
HIDDEN: Final = ".colony"
"""A folder beside the file for what is made and not kept: git is told to pass it by."""

SCHEMA: Final = f"{HIDDEN}/colony.schema.json"

HEAD: Final = f"""\
#:schema {SCHEMA}
# Check it with `colony validate`, start it with `colony run`.
"""

HELLO: Final = FoundService(
    name="web",
    command="python3 -m http.server {port}",
    origin="nothing was recognised here: an example",
    port=4001,
)

MORE: Final = """\
# ready = "/health"          # asked until it answers; by default the port is tried
# env = { LOG_LEVEL = "debug" }
# restart = "on-failure"     # always (the default), on-failure, never
"""

TAIL: Final = """\
# What a terminal of the colony runs.
# [terminal]
# command = "bash"
"""


class AlreadyThere(FileExistsError):
    """There is a colony.toml, which is not overwritten unasked."""


def text(found: Found, folder_name: str, *, template: str | None = None, name: str = "") -> str:
    """A valid colony.toml that says where it has everything from."""
    parts = [HEAD, _colony(name or valid_name(folder_name) or "my-app", template)]
    if found.environment and template is None:
        parts.append(_environment(found.environment))
    if template is None:
        parts += _services(found.services or (HELLO,))
    else:
        parts.append(
            f"# What differs from the template (colony template show {template} prints it):\n"
            "# [services.web]\n# port = 3000\n"
        )
    parts.append(TAIL)
    made = "\n".join(parts)
    parse(made, workspace="/nonexistent/folder")  # or it is a mistake of ours
    return made


def _colony(name: str, template: str | None) -> str:
    lines = ["[colony]", f"name = {quoted(name)}"]
    if template is not None:
        lines.append(f"template = {quoted(template)}")
    return "\n".join(lines) + "\n"


def _environment(wanted: tuple[Wanted, ...]) -> str:
    lines = [f"{line.field} = {quoted(line.value)}  # {line.origin}" for line in wanted]
    return "\n".join(["[colony.environment]", *lines]) + "\n"


def _services(services: tuple[FoundService, ...]) -> list[str]:
    """Each service's table; of what would not be valid here, as a comment, and why."""
    if _refused("".join(map(_service, services))):
        # One that is wrong by itself, or else the order: a cycle, an end that nobody waits for.
        services = tuple(msgspec.structs.replace(service, after={}) for service in services)
    made, valid = [], False
    for service in services:
        lines = _service(service)
        why = _refused(lines)
        if why:
            lines = "\n".join(f"# {_comment(line)}" for line in [why, *lines.splitlines()]) + "\n"
        elif not valid:
            lines, valid = lines + MORE, True
        made.append(lines)
    return made if valid else [*made, _service(HELLO) + MORE]


def _refused(lines: str) -> str:
    try:
        parse("[colony]\nname = 'a'\n" + lines, workspace="/nonexistent/folder")
    except ConfigError as error:
        return f"not taken: {error.problems[0].message}"
    return ""


def _service(service: FoundService) -> str:
    lines = [
        f"# From {_comment(service.origin)}" if service is not HELLO else f"# {service.origin}",
        f"[services.{service.name}]",
        f"command = {quoted(service.command)}",
    ]
    if service.port is not None:
        why = f"  # {service.port_from}" if service.port_from else ""
        lines.append(f"port = {service.port}{why}")
    else:
        lines.append("# port = 3000               # where it listens, if it does")
    if service.cwd:
        lines.append(f"cwd = {quoted(service.cwd)}")
    if service.ready.startswith("/"):
        lines.append(f"ready = {quoted(service.ready)}")
    if service.after:
        lines.append(f"after = {_inline(service.after)}")
    if service.restart:
        lines.append(f"restart = {quoted(service.restart)}")
    if service.env:
        lines.append(f"env = {_inline(service.env)}")
    return "\n".join(lines) + "\n"


def _inline(values: dict[str, str]) -> str:
    import tomlkit

    table = tomlkit.inline_table()
    table.update(values)
    return table.as_string()


def quoted(value: str) -> str:
    """A TOML string."""
    import tomlkit

    return tomlkit.string(value).as_string()


def _comment(value: str) -> str:
    return "".join(each if each.isprintable() else " " for each in value)[:120]


def write(folder: Path, content: str, *, force: bool = False) -> Path:
    """Writes colony.toml, and the schema for editors beside it in a folder that git passes by.

    Raises `AlreadyThere` if there is one and `force` is not set, and `OSError`.
    """
    from colony.files import replace_text
    from colony.schema import SHIPPED

    file = folder / FILE
    if file.exists() and not force:
        raise AlreadyThere(str(file))
    hidden = folder / HIDDEN
    hidden.mkdir(exist_ok=True)
    replace_text(hidden / ".gitignore", "*\n")
    replace_text(folder / SCHEMA, SHIPPED.read_text("utf-8"))
    replace_text(file, content)
    return file
