"""The client's HTTP parser: framing, whole or broken."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from colony.http1 import Body, Broken, End, Event, Head, ResponseParser, request

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n"
    b"5\r\nhello\r\n3;name=value\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n"
)
COUNTED = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnope"


def parsed(data: bytes, *cuts: int, method: str = "GET") -> tuple[ResponseParser, list[Event]]:
    parser = ResponseParser(method)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    events: list[Event] = []
    for start, stop in itertools.pairwise(edges):
        events += parser.feed(data[start:stop])
    return parser, events


def body(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Body))


@given(st.lists(st.integers(0, len(CHUNKED)), max_size=8))
def test_a_chunked_answer_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    parser, events = parsed(CHUNKED, *cuts)
    assert events[0] == Head(200, {"transfer-encoding": "chunked", "x-a": "b"})
    assert body(events) == b"helloabc"
    assert events[-1] == End()
    assert parser.complete


@given(st.lists(st.integers(0, len(COUNTED)), max_size=8))
def test_a_counted_answer_is_the_same_however_it_is_cut(cuts: list[int]) -> None:
    parser, events = parsed(COUNTED, *cuts)
    assert events[0] == Head(404, {"content-length": "4"})
    assert body(events) == b"nope"
    assert parser.complete


@pytest.mark.parametrize("size", range(len(CHUNKED)))
def test_an_answer_that_stops_anywhere_is_broken(size: int) -> None:
    parser, _ = parsed(CHUNKED[:size])
    with pytest.raises(Broken):
        parser.end()


def test_without_a_length_the_answer_ends_with_the_connection() -> None:
    parser, events = parsed(b"HTTP/1.0 200 OK\r\n\r\nall of it")
    assert body(events) == b"all of it"
    assert not parser.complete
    parser.end()
    assert parser.complete


def test_interim_answers_are_passed_over() -> None:
    _, events = parsed(b"HTTP/1.1 100 Continue\r\n\r\n" + COUNTED)
    assert events[0] == Head(404, {"content-length": "4"})


@pytest.mark.parametrize("status", [204, 304])
def test_some_answers_have_no_body(status: int) -> None:
    parser, events = parsed(b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n" % status)
    assert events[-1] == End()
    assert parser.complete


def test_the_answer_to_head_has_no_body() -> None:
    parser, _ = parsed(COUNTED[:-4], method="HEAD")
    assert parser.complete


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1" * 5000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
    ],
)
def test_what_is_no_answer_is_broken(data: bytes) -> None:
    with pytest.raises(Broken):
        parsed(data)


def test_a_request_has_its_length() -> None:
    assert request("POST", "/a?b=c", "colony", {"X": "y"}, b"{}") == (
        b"POST /a?b=c HTTP/1.1\r\nHost: colony\r\nX: y\r\nContent-Length: 2\r\n\r\n{}"
    )
    assert request("GET", "/", "colony", {}) == b"GET / HTTP/1.1\r\nHost: colony\r\n\r\n"


def test_a_line_end_cannot_be_smuggled_into_a_head() -> None:
    with pytest.raises(ValueError, match="line end"):
        request("GET", "/\r\nX: y", "colony", {})
    with pytest.raises(ValueError, match="line end"):
        request("GET", "/", "colony", {"X": "a\nb"})
