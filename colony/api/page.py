"""The API's documentation as one page for a browser, made of the OpenAPI document. Pure.

No script, nothing fetched: it is as readable from a file, or offline. Everything that comes from a
name or a docstring is escaped.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import Any, Final

from colony.api.openapi import document

GROUPS: Final[tuple[tuple[str, str], ...]] = (
    ("Terminals", r"/terminals"),
    ("Network", r"/api/networks?\b|/forwards?\b"),
    ("Services", r"\{service\}|/services"),
    ("Colonies", r"/api/colonies"),
    ("Instance", r""),
)
"""A heading, and what is found in the paths below it; the first that fits has it."""

ORDER: Final = ("Colonies", "Services", "Terminals", "Network", "Instance")

STYLE: Final = """\
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --get: #2a7; --post: #37c;
  --delete: #c43 }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, .path { font-family: ui-monospace, monospace; font-size: .9em; overflow-wrap: anywhere }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line) }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .4rem 0;
  padding: .3rem .7rem }
details[open] { background: var(--soft) }
summary { cursor: pointer }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0;
  border-bottom: 1px solid var(--line) }
.method { display: inline-block; width: 4.8rem; font-weight: 700 }
.GET { color: var(--get) } .POST { color: var(--post) } .DELETE { color: var(--delete) }
pre { white-space: pre-wrap; background: var(--soft); padding: .6rem; border-radius: .4rem }
"""

_HEAD: Final = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
<h1>{title}</h1>
<p>{description} The document for machines is at <a href="/api/openapi.json">/api/openapi.json</a>
(with the token over TCP).</p>
<pre><code>curl --unix-socket /run/colony/colony.sock http://colony/api/colonies
curl -H "Authorization: Bearer $(colony daemon token)" http://localhost:8000/api/colonies</code></pre>
<p>An error is <code>application/problem+json</code>, a {problem}.</p>
"""

_Schema = dict[str, Any]


@functools.cache
def page() -> str:
    """The whole page. Made once: whoever asks for it has shown no token."""
    made = document()
    info = made["info"]
    head = _HEAD.format(
        title=escape(f"{info['title']} API {info['version']}"),
        style=STYLE,
        description=escape(info["description"]),
        problem=_link("Problem"),
    )
    return "".join([head, *_operations(made["paths"]), *_types(made["components"]["schemas"])])


def group_of(path: str) -> str:
    """The heading that a path is below."""
    return next(name for name, pattern in GROUPS if re.search(pattern, path))


# -- operations ------------------------------------------------------------------------------------


def _operations(paths: dict[str, dict[str, Any]]) -> Iterator[str]:
    for group in ORDER:
        yield f"<h2>{group}</h2>\n"
        for path, methods in paths.items():
            if group_of(path) == group:
                for method, operation in methods.items():
                    yield _operation(method.upper(), path, operation)


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parts = [
        f'<details id="{escape(operation["operationId"])}"><summary>'
        f'<span class="method {method}">{method}</span><span class="path">{escape(path)}</span>'
        f" — {escape(operation['summary'])}</summary>\n"
    ]
    if operation["parameters"]:
        rows = [
            (_code(p["name"]), escape(p["in"]), _kind(p["schema"]), _about(p))
            for p in operation["parameters"]
        ]
        parts.append(_table(("parameter", "in", "type", ""), rows))
    if "requestBody" in operation:
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        parts.append(f"<p>Body: {_kind(body)}</p>\n")
    answers = [_answer(status, each) for status, each in operation["responses"].items()]
    parts.append(_table(("status", "", "answer"), answers))
    return "".join([*parts, "</details>\n"])


def _about(parameter: dict[str, Any]) -> str:
    if parameter["required"]:
        return "required"
    default = parameter["schema"].get("default")
    return "" if default in (None, [], "") else f"default {_code(_value(default))}"


def _answer(status: str, response: dict[str, Any]) -> tuple[str, str, str]:
    kinds = [
        f"{_kind(content['schema'])} as {_code(media)}"
        for media, content in response["content"].items()
        if media != "application/problem+json"
    ]
    return status, escape(response["description"]), "<br>".join(kinds)


# -- types -----------------------------------------------------------------------------------------


def _types(schemas: dict[str, _Schema]) -> Iterator[str]:
    yield "<h2>Types</h2>\n"
    for name, schema in sorted(schemas.items()):
        yield f'<h3 id="type-{escape(name)}">{escape(name)}</h3>\n'
        yield _paragraphs(schema.get("description", ""))
        needed = schema.get("required", ())
        rows = [
            (_code(field), _kind(kind), "" if field in needed else _default(kind))
            for field, kind in schema.get("properties", {}).items()
        ]
        if rows:
            yield _table(("field", "type", ""), rows)


def _default(schema: _Schema) -> str:
    default = schema.get("default")
    return "optional" if default is None else f"default {_code(_value(default))}"


def _paragraphs(text: str) -> str:
    """A docstring: paragraphs, and its indented parts as they are."""
    parts = []
    for each in re.split(r"\n\s*\n", text.strip()):
        tag = "pre" if re.search(r"^\s{2,}", each, re.M) else "p"
        parts.append(f"<{tag}>{_marked(each)}</{tag}>\n")
    return "".join(parts)


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _kind(schema: _Schema) -> str:
    """A schema in a few words, with links to the types it names."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema or "oneOf" in schema:
        return " or ".join(_kind(each) for each in schema.get("anyOf") or schema["oneOf"])
    if "enum" in schema:
        return " | ".join(_code(_value(each)) for each in schema["enum"])
    if "const" in schema:
        return _code(_value(schema["const"]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"[{_kind(schema.get('items') or {})}]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_kind(schema['additionalProperties'])}"
    words = kind if isinstance(kind, str) else " or ".join(kind)
    return escape(" ".join([schema.get("format", words), *_limits(schema)]))


def _limits(schema: _Schema) -> Iterator[str]:
    for key, sign in (("minimum", "≥"), ("maximum", "≤"), ("maxLength", "at most")):
        if key in schema:
            yield f"{sign} {schema[key]}" + (" characters" if key == "maxLength" else "")


# -- pieces ----------------------------------------------------------------------------------------


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["<table><tr>", *(f"<th>{head}</th>" for head in heads), "</tr>\n"]
    for row in rows:
        lines += ["<tr>", *(f"<td>{cell}</td>" for cell in row), "</tr>\n"]
    return "".join([*lines, "</table>\n"])


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _link(name: str) -> str:
    return f'<a href="#type-{escape(name)}"><code>{escape(name)}</code></a>'


def _value(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
