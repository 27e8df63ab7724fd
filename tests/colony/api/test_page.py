"""The documentation in the browser: whole, linked, and fetching nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from colony.api.openapi import document
from colony.api.page import ORDER, _kind, _paragraphs, group_of, page
from colony.api.routes import ROUTES

VOID = {"meta", "br", "link", "img"}


class Reader(HTMLParser):
    """What is in a page: identifiers, links, tags; and that what opens also closes."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = dict(attrs)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def read() -> Reader:
    reader = Reader()
    reader.feed(page())
    return reader


def test_every_operation_and_every_type_is_there_once(read: Reader) -> None:
    types = [f"type-{name}" for name in document()["components"]["schemas"]]
    assert sorted(read.ids) == sorted([*(route.name for route in ROUTES), *types])


def test_it_is_well_formed(read: Reader) -> None:
    assert read.open == ["html"]


def test_every_link_leads_somewhere_and_nothing_is_fetched(read: Reader) -> None:
    assert {link for link in read.links if not link.startswith("#type-")} == {"/api/openapi.json"}
    assert {link[1:] for link in read.links if link.startswith("#")} <= set(read.ids)
    assert not read.tags & {"script", "link", "img", "iframe"}
    assert not re.search(r"url\(|@import|javascript:", page())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_path_has_its_heading(route: object) -> None:
    assert group_of(getattr(route, "path", "")) in ORDER


def test_names_and_texts_are_escaped() -> None:
    assert _kind({"enum": ["<b>"]}) == "<code>&quot;&lt;b&gt;&quot;</code>"
    assert _paragraphs("a <b> `c`") == "<p>a &lt;b&gt; <code>c</code></p>\n"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "integer", "minimum": 1, "maximum": 9}, "integer ≥ 1 ≤ 9"),
        ({"type": "array", "items": {"type": "string"}}, "[string]"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": "object", "additionalProperties": {"type": "number"}}, "object of number"),
        ({"$ref": "#/components/schemas/X"}, '<a href="#type-X"><code>X</code></a>'),
        ({}, "any"),
    ],
)
def test_a_schema_in_a_few_words(schema: dict[str, object], words: str) -> None:
    assert _kind(schema) == words
