"""Lines on their way to who asks: what is asked for, what was missed, one look for many."""

from __future__ import annotations

import json
import threading
from typing import Any

import anyio
import msgspec
import pytest
from anyio.lowlevel import checkpoint

from colony.api import types as t
from colony.api.lines import Looks, Place, as_json, as_text, filter_of, page_json
from colony.api.problems import ApiError
from colony.logs import Filter, LogLine, LogPage, Logs

WHEN = 1_700_000_000.25


def line(number: int, data: bytes, service: str = "web", **more: Any) -> LogLine:
    return LogLine(service, number, WHEN, "stdout", data, **more)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (t.LogQuery(), Filter(100)),
        (t.LogQuery(tail=3), Filter(3)),
        (t.LogQuery(since="17"), Filter(after=17)),
        (t.LogQuery(since="17", tail=3), Filter(3, after=17)),
        (t.LogQuery(since="2023-11-14T22:13:20Z"), Filter(since=1_700_000_000.0)),
        (t.LogQuery(grep="^a"), Filter(100, grep="^a")),
    ],
)
def test_a_query_is_a_filter(query: t.LogQuery, expected: Filter) -> None:
    assert filter_of(query) == expected


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        (t.LogQuery(grep="("), "grep", "no regular expression"),
        (t.LogQuery(since="soon"), "since", "got: 'soon'"),
    ],
)
def test_a_bad_query_names_the_field(query: t.LogQuery, field: str, words: str) -> None:
    with pytest.raises(ApiError) as raised:
        filter_of(query)
    [advice] = raised.value.problem.problems
    assert advice.field == field
    assert words in advice.message


def test_a_page_is_what_the_types_say() -> None:
    page = LogPage((line(3, b"a\xffb", more=True), line(3, b"c", piece=1)), 9, {"web": 2})
    read = msgspec.json.decode(page_json("app", page), type=t.LogPage)
    assert read.cursor == 9
    assert read.dropped == {"web": 2}
    assert [(x.seq, x.text, x.piece, x.more) for x in read.lines] == [
        (3, "a\ufffdb", 0, True),
        (3, "c", 1, False),
    ]


def test_what_was_missed_stands_at_the_services_first_line() -> None:
    lines = [line(5, b"x"), line(1, b"y", "api"), line(6, b"z")]
    written = as_json("app", lines, {"web": 4})
    assert [json.loads(each)["dropped"] for each in written.splitlines()] == [4, 0, 0]
    assert as_text("app", lines[:1], {"web": 4}) == "… 4 lines dropped\nx\n".encode()


def test_text_is_byte_for_byte() -> None:
    assert as_text("app", [line(1, b"a\xff\x1b[1m")], {}) == b"a\xff\x1b[1m\n"


def test_a_follower_knows_to_the_line_what_it_missed() -> None:
    place = Place(LogPage((), 10, {"web": 2}, {"web": 40}))
    assert place.advance(LogPage((), 20, {"web": 30}, {"web": 90})) == {}
    assert place.advance(LogPage((), 30, {"web": 95, "api": 3}, {"web": 99, "api": 5})) == {
        "web": 5,
        "api": 3,
    }
    assert place.after == 30


class Slow(Logs):
    """Logs that wait until they may answer, and count the looks."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0
        self.may = threading.Event()

    def page(self, *args: Any) -> LogPage:
        self.looks += 1
        self.may.wait(30)
        return super().page(*args)


@pytest.mark.backends("asyncio")
async def test_followers_at_the_same_place_share_a_look() -> None:
    logs = Slow()
    looks = Looks(logs)
    pages: list[LogPage] = []

    async def look() -> None:
        pages.append(await looks.page("app", (), Filter()))

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(look)
        await checkpoint()
        logs.may.set()
    assert len(pages) == 100
    assert logs.looks == 1


@pytest.mark.backends("asyncio")
async def test_when_the_one_that_looks_leaves_another_looks() -> None:
    logs = Slow()
    looks = Looks(logs)
    first = anyio.CancelScope()
    pages: list[LogPage] = []

    async def leave() -> None:
        with first:
            await looks.page("app", (), Filter())

    async def look() -> None:
        pages.append(await looks.page("app", (), Filter()))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave)
        await checkpoint()
        tasks.start_soon(look)
        await checkpoint()
        first.cancel()
        logs.may.set()
    assert pages == [LogPage((), 0, {}, {})]
