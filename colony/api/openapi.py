"""The OpenAPI 3.1 document, made of the table of routes and the types. Pure."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec

from colony.api.problems import KINDS
from colony.api.routes import ROUTES, Route
from colony.api.types import Problem
from colony.version import VERSION

_REFERENCE: Final = "#/components/schemas/{name}"
_EVERYWHERE: Final = (
    "invalid_request",
    "unauthorized",
    "forbidden",
    "misdirected",
    "invalid",
    "fault",
)
_WITH_BODY: Final = ("too_large", "unsupported_media_type", "timeout")


def document() -> dict[str, Any]:
    """The whole document, as plain values."""
    kinds = [Problem, *(kind for route in ROUTES for kind in _types(route))]
    schemas, components = msgspec.json.schema_components(
        [*kinds, *(route.query for route in ROUTES)], ref_template=_REFERENCE
    )
    by_type = dict(zip([_key(kind) for kind in kinds], schemas, strict=False))
    queries = {route.query.__name__ for route in ROUTES}
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        operation = _operation(route, by_type, components)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return plain(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "Colony",
                "version": VERSION,
                "description": "One instance of Colony and its colonies. Over its unix socket no "
                "token is needed; over TCP one is, always.",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "http://localhost:8000"}],
            "security": [{"token": []}, {}],
            "paths": paths,
            "components": {
                "schemas": {name: s for name, s in components.items() if name not in queries},
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            },
        }
    )


def plain(value: Any) -> dict[str, Any]:
    """A document as JSON has it: a default that is a tuple becomes an array."""
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(value))
    return made


def _types(route: Route) -> list[Any]:
    return [kind for kind in (route.returns, route.body) if kind is not None]


def _key(kind: Any) -> str:
    return repr(kind)


def _operation(route: Route, schemas: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_query_parameters(route, components)],
        "responses": _responses(route, schemas),
    }
    if route.public:
        operation["security"] = [{}]
    if route.body is not None:
        content = {"application/json": {"schema": schemas[_key(route.body)]}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in route.parameters
    ]


def _query_parameters(route: Route, components: dict[str, Any]) -> list[dict[str, Any]]:
    schema = components[route.query.__name__]
    return [
        {
            "name": name,
            "in": "query",
            "required": name in schema.get("required", ()),
            "schema": kind,
        }
        for name, kind in schema.get("properties", {}).items()
    ]


def _responses(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    schema = schemas[_key(route.returns)]
    content: dict[str, Any] = {}
    if route.stream in ("", "either"):
        content[route.media] = {"schema": schema}
    if route.stream == "sse":
        content["text/event-stream"] = {"schema": {"type": "string"}}
    if route.stream in ("ndjson", "either"):
        content["application/x-ndjson"] = {"schema": {"type": "string"}}
    if route.stream in ("text", "either"):
        content["text/plain"] = {"schema": {"type": "string"}}
    responses: dict[str, Any] = {
        str(status): {"description": _phrase(status), "content": content}
        for status in (route.status, *route.also)
    }
    codes = {*_EVERYWHERE, *route.errors}
    if route.public:
        codes.remove("unauthorized")
    if route.parameters:
        codes.add("not_found")
    if route.body is not None:
        codes.update(_WITH_BODY)
    problem = {"application/problem+json": {"schema": schemas[_key(Problem)]}}
    for code in sorted(codes, key=lambda code: KINDS[code][0]):
        status, title = KINDS[code]
        responses[str(status)] = {"description": title, "content": problem}
    return responses


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
