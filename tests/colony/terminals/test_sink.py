"""Writing to what may take nothing, without waiting for it."""

from __future__ import annotations

import os
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from colony.terminals.outer import last_words, takes
from colony.terminals.sink import Sink

MUCH = b"".join(b"%07d\n" % number for number in range(60_000))
SHORT = 0.01


@contextmanager
def ends(kind: str) -> Iterator[tuple[int, int]]:
    """What is read, and what is written to."""
    if kind == "socket":
        one, other = socket.socketpair()
        read, write = one.detach(), other.detach()
    elif kind == "pipe":
        read, write = os.pipe()
    else:
        read, write = os.openpty()
        tty.setraw(write)
    try:
        yield read, write
    finally:
        os.close(write)
        os.close(read)


def read(fd: int, count: int) -> bytes:
    got = b""
    while len(got) < count:
        got += os.read(fd, count - len(got))
    return got


KINDS = ["terminal", "pipe", "socket"]


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_waits_and_all_arrives_in_order(kind: str) -> None:
    with ends(kind) as (reading, writing), closing(Sink(writing)) as sink:
        sink.put(MUCH)
        sink.put(b"more")
        assert 0 < sink.unsent < len(MUCH)
        assert os.get_blocking(writing)  # it is not ours alone
        assert not sink.finish(SHORT)
        got = b""
        while sink.unsent:
            got += os.read(reading, 4096)
            sink.flush()
        assert got + read(reading, len(MUCH) + 4 - len(got)) == MUCH + b"more"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_taken_can_be_thrown_away(kind: str) -> None:
    with ends(kind) as (reading, writing), closing(Sink(writing)) as sink:
        sink.put(3 * MUCH)
        assert not sink.finish(SHORT)
        sink.drop()
        sink.put(b"last")
        got = b""
        while not got.endswith(b"last"):
            got += os.read(reading, 65536)
            sink.flush()
        assert len(got) < len(MUCH)


def keep_writing(sink: Sink) -> None:
    while True:
        sink.put(MUCH)
        sink.finish()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_who_reads_no_more_is_told_of(kind: str) -> None:
    with ends(kind) as (reading, writing):
        sink = Sink(writing)
        os.dup2(writing, reading)  # so that nobody has the end that is read
        with pytest.raises(BrokenPipeError):
            keep_writing(sink)
        with suppress(BrokenPipeError):
            sink.close(None)


def test_a_file_makes_nobody_wait(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file, closing(Sink(file.fileno())) as sink:
        sink.put(MUCH)
        sink.put(b"more")
        assert (sink.fd, sink.unsent) == (file.fileno(), 0)
    assert (tmp_path / "file").read_bytes() == MUCH + b"more"


def test_a_line_can_follow_the_last_words_though_they_fit_into_a_full_terminal() -> None:
    with ends("terminal") as (reading, writing), closing(Sink(writing)) as sink:
        while takes(writing, SHORT):
            sink.put(b"y" * 1000)
        assert sink.unsent == 0  # short pieces, each into the rest of a buffer
        last_words(sink, b"bye")
        settings = termios.tcgetattr(writing)
        settings[1] |= termios.OPOST | termios.ONLCR
        termios.tcsetattr(writing, termios.TCSANOW, settings)
        mine = os.open(os.ttyname(writing), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            assert os.write(mine, b"it went away\n" * 10) == 130
        finally:
            os.close(mine)
        got = b""
        while not got.endswith(b"bye" + b"it went away\r\n" * 10):
            got += os.read(reading, 4096)
