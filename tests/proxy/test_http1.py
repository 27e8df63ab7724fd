"""HTTP/1.1 framing: what a head says, where a body ends, and what is refused."""

from __future__ import annotations

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1 import (
    CHUNKED,
    HEAD_MAX,
    UNTIL_CLOSE,
    BadChunk,
    BadRequest,
    Body,
    RequestHead,
    ResponseHead,
    read_request,
    read_response,
)


def head(*fields: str, line: str = "GET / HTTP/1.1") -> bytes:
    return "\r\n".join([line, *fields, "", ""]).encode("latin-1")


# requests


def test_a_request_head_and_what_follows_it() -> None:
    raw = head("Host: a.example", "Accept: */*")
    assert read_request(raw + b"more") == RequestHead(
        raw, b"GET", b"a.example", body=0, upgrade=False, end=len(raw)
    )


def test_a_head_that_is_not_all_there_yet() -> None:
    raw = head("Host: a", "X: y")
    assert [read_request(raw[:n]) for n in range(len(raw))] == [None] * len(raw)


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        (["Content-Length: 0"], 0),
        (["content-length:  12  "], 12),
        (["Content-Length: 5", "CONTENT-LENGTH: 5"], 5),
        (["Transfer-Encoding: chunked"], CHUNKED),
        (["transfer-encoding: Chunked"], CHUNKED),
    ],
)
def test_the_length_of_a_request_body(fields: list[str], body: int) -> None:
    found = read_request(head("Host: a", *fields))
    assert found is not None
    assert found.body == body


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        (["Upgrade: websocket", "Connection: Upgrade"], True),
        (["Connection: keep-alive, upgrade", "Upgrade: websocket"], True),
        (["Connection: keep-alive", "Connection: upgrade", "Upgrade: x"], True),
        (["Upgrade: websocket"], False),
        (["Connection: upgrade"], False),
        (["Upgrade-Insecure-Requests: 1", "Connection: upgrade"], False),
    ],
)
def test_an_upgrade_needs_both_fields(fields: list[str], upgrade: bool) -> None:
    found = read_request(head("Host: a", *fields))
    assert found is not None
    assert found.upgrade is upgrade


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (head(), 400, "names no Host"),
        (head("Host: a", "Host: b"), 400, "two Host fields"),
        (head("Host: a", "Host: a"), 400, "two Host fields"),
        (head("Host: a", "Content-Length: 5", "Content-Length: 6"), 400, "two different"),
        (head("Host: a", "Content-Length: 5, 5"), 400, "not a number"),
        (head("Host: a", "Content-Length: +5"), 400, "not a number"),
        (head("Host: a", "Content-Length: 5x"), 400, "not a number"),
        (head("Host: a", "Content-Length: "), 400, "not a number"),
        (head("Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"), 400, "both"),
        (head("Host: a", "Transfer-Encoding: gzip, chunked"), 501, "chunked"),
        (head("Host: a", "Transfer-Encoding: x", "Transfer-Encoding: chunked"), 400, "two"),
        (head("Host: a", "Transfer-Encoding: chunked", line="GET / HTTP/1.0"), 501, "chunked"),
        (head("Host: a", "Transfer-Encoding : chunked"), 400, "not HTTP/1.1"),
        (head("Host: a", " folded"), 400, "not HTTP/1.1"),
        (head("Host: a", "No colon"), 400, "not HTTP/1.1"),
        (head("Host: a", "X: a\nContent-Length: 5"), 400, "not HTTP/1.1"),
        (head("Host: a", "X: a\0"), 400, "not HTTP/1.1"),
        (b"GET / HTTP/1.1\nHost: a\n\r\n\r\n", 400, "not HTTP/1.1"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "not HTTP/1.1"),
        (head("Host: a", line="GET / HTTP/2.0"), 400, "not HTTP/1.1"),
        (head("Host: a", line="GET /a b HTTP/1.1"), 400, "not HTTP/1.1"),
        (head("Host: a:443", line="CONNECT a:443 HTTP/1.1"), 400, "neither a path nor"),
        (head("Host: a", line="GET ftp://a/ HTTP/1.1"), 400, "neither a path nor"),
        (head("Host: a", line="GET http://b/ HTTP/1.1"), 400, "differ"),
        (head("Host: a", line="GET http://x@a/ HTTP/1.1"), 400, "differ"),
        (b"\x16\x03\x01\x02\x00\x01", 400, "plain HTTP"),
        (b"a" * (HEAD_MAX + 1), 431, "longer than 65536"),
        (head("Host: a", "X: " + "a" * HEAD_MAX), 431, "longer than 65536"),
    ],
)
def test_a_request_that_is_refused(raw: bytes, status: int, reason: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_request(raw)
    assert caught.value.status == HTTPStatus(status)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("target", "origin"),
    [
        ("http://a.example/x?y", "/x?y"),
        ("HTTP://A.example/", "/"),
        ("http://a.example", "/"),
        ("http://a.example?q", "/?q"),
        ("/http://b/", "/http://b/"),
    ],
)
def test_a_target_in_absolute_form_becomes_a_path(target: str, origin: str) -> None:
    found = read_request(head("Host: a.example", line=f"GET {target} HTTP/1.1"))
    assert found is not None
    assert found.raw == head("Host: a.example", line=f"GET {origin} HTTP/1.1")


def test_options_for_the_whole_server() -> None:
    raw = head("Host: a", line="OPTIONS * HTTP/1.1")
    found = read_request(raw)
    assert found is not None
    assert found.raw == raw


def test_an_empty_line_before_a_request_is_skipped() -> None:
    raw = head("Host: a")
    assert read_request(b"\r\n" + raw + b"x") == RequestHead(
        raw, b"GET", b"a", 0, False, len(raw) + 2
    )


def test_forwarded_fields_are_ours_alone() -> None:
    raw = head(
        "X-Forwarded-For: 6.6.6.6", "Host: a:80", "x-forwarded-proto: https", "X-Forwarded-Hosts: y"
    )
    found = read_request(raw)
    assert found is not None
    assert found.forwarded(b"127.0.0.1") == head(
        "Host: a:80",
        "X-Forwarded-Hosts: y",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: a:80",
        "X-Forwarded-Proto: http",
    )


@given(st.binary(max_size=200))
def test_whatever_comes_is_a_head_or_refused_or_unfinished(data: bytes) -> None:
    try:
        found = read_request(data)
    except BadRequest:
        return
    assert found is None or (found.host is not None and found.end <= len(data))


# responses


def answer(*fields: str, status: str = "200 OK") -> bytes:
    return head(*fields, line=f"HTTP/1.1 {status}")


@pytest.mark.parametrize(
    ("raw", "method", "status", "body"),
    [
        (answer("Content-Length: 5"), b"GET", 200, 5),
        (answer("Content-Length: 5"), b"HEAD", 200, 0),
        (answer("Content-Length: 0"), b"GET", 200, 0),
        (answer("Transfer-Encoding: chunked"), b"GET", 200, CHUNKED),
        (answer("Transfer-Encoding: gzip, chunked"), b"GET", 200, CHUNKED),
        (answer("Transfer-Encoding: chunked", "Content-Length: 5"), b"GET", 200, CHUNKED),
        (answer("Transfer-Encoding: gzip"), b"GET", 200, UNTIL_CLOSE),
        (answer(), b"GET", 200, UNTIL_CLOSE),
        (answer("Content-Length: x"), b"GET", 200, UNTIL_CLOSE),
        (answer("Content-Length: 5", "Content-Length: 6"), b"GET", 200, UNTIL_CLOSE),
        (answer("Content-Length: 5", status="204 No Content"), b"GET", 204, 0),
        (answer("Content-Length: 5", status="304 Not Modified"), b"GET", 304, 0),
        (answer(status="100 Continue"), b"POST", 100, 0),
        (answer("Upgrade: x", status="101 Switching Protocols"), b"GET", 101, 0),
        (answer("Content-Length: 5", status="500"), b"GET", 500, 5),
    ],
)
def test_the_length_of_a_response_body(raw: bytes, method: bytes, status: int, body: int) -> None:
    assert read_response(raw + b"more", method) == ResponseHead(status, body, len(raw))


@pytest.mark.parametrize(
    ("status", "interim"), [(100, True), (103, True), (101, False), (200, False), (0, False)]
)
def test_interim_responses(status: int, interim: bool) -> None:
    assert ResponseHead(status, 0, 20).interim is interim


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.", b"HTTP/1.1 200 OK\r\nA: b\r\n"])
def test_a_response_head_that_is_not_all_there(raw: bytes) -> None:
    assert read_response(raw, b"GET") is None


@pytest.mark.parametrize(
    "raw", [b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 xx\r\n\r\n", b"HTTP/2 200\r\n\r\n", b"+OK 12345"]
)
def test_what_is_no_response_goes_on_until_the_end(raw: bytes) -> None:
    assert read_response(raw, b"GET") == ResponseHead(0, UNTIL_CLOSE, 0)


# bodies


CHUNKS = b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n"


def test_a_body_of_known_length_ends_where_it_says() -> None:
    body = Body(5)
    assert body.feed(b"xxhel", 2) == 5
    assert body.done is False
    assert body.feed(b"lo GET") == 2
    assert body.done is True
    assert body.feed(b"GET") == 0


def test_an_empty_body_is_done_at_once() -> None:
    assert Body(0).done is True


def test_a_body_until_close_is_never_done() -> None:
    body = Body(UNTIL_CLOSE)
    assert body.feed(b"x" * 1000) == 1000
    assert body.done is False


@pytest.mark.parametrize("step", [1, 2, 3, 7, 100])
def test_a_chunked_body_ends_after_its_trailers(step: int) -> None:
    body, data, at = Body(CHUNKED), CHUNKS + b"GET / HTTP/1.1", 0
    while not body.done:
        at += body.feed(data[at : at + step])
    assert data[at:] == b"GET / HTTP/1.1"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"x\r\n", "hexadecimal"),
        (b"\r\n", "hexadecimal"),
        (b"-5\r\n", "hexadecimal"),
        (b"0x5\r\n", "hexadecimal"),
        (b"5\nhello\r\n", "hexadecimal"),
        (b"5\r\nhelloXX\r\n", "longer than its size"),
        (b"0\r\nT: x\n\r\n", "CRLF"),
        (b"1" * 5000, "longer than 4096"),
        (b"0\r\n" + b"a" * 5000, "longer than 4096"),
    ],
)
def test_a_broken_chunk(data: bytes, reason: str) -> None:
    with pytest.raises(BadChunk, match=reason):
        Body(CHUNKED).feed(data)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.integers(1, 40), st.binary())
def test_any_chunks_in_any_pieces(parts: list[bytes], step: int, after: bytes) -> None:
    coded = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    body, data, at = Body(CHUNKED), coded + after, 0
    while not body.done:
        at += body.feed(data[at : at + step])
    assert at == len(coded)
