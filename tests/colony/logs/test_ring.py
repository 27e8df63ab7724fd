"""The ring: lines out of chunks, in whatever pieces they come, and what is dropped."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from colony.logs.files import as_text, gap
from colony.logs.lines import LONGEST, LogLine, Stream
from colony.logs.query import Filter, select
from colony.logs.ring import Ring, lines_of

WRITES = st.lists(
    st.tuples(
        st.sampled_from(["stdout", "stderr"]),
        st.lists(st.sampled_from([b"\n", b"a", b"\r", b"\xff\x00", b"long" * 10]), max_size=8).map(
            b"".join
        ),
    ),
    max_size=30,
)


def filled(*writes: tuple[str, bytes], **limits: int) -> Ring:
    ring = Ring("web", **limits)
    for position, (stream, data) in enumerate(writes, 1):
        ring.append(position, float(position), _stream(stream), data)
    return ring


def _stream(name: str) -> Stream:
    return "stderr" if name == "stderr" else "stdout"


def lines(ring: Ring) -> list[LogLine]:
    return [line for chunk in ring.chunks() for line in lines_of("web", chunk)]


def test_lines_are_numbered_over_both_streams_in_the_order_in_which_they_end() -> None:
    ring = filled(("stdout", b"a\nb\nc"), ("stderr", b"x\n"), ("stdout", b"d\n"))
    assert lines(ring) == [
        LogLine("web", 1, 1.0, "stdout", b"a"),
        LogLine("web", 2, 1.0, "stdout", b"b"),
        LogLine("web", 3, 2.0, "stderr", b"x"),
        LogLine("web", 4, 3.0, "stdout", b"cd"),
    ]


def test_an_unfinished_line_is_there_for_those_who_ask_and_a_line_once_the_stream_ends() -> None:
    ring = filled(("stdout", b"a\nprompt> "))
    assert ring.unfinished(9.0) == [LogLine("web", 2, 9.0, "stdout", b"prompt> ", more=True)]
    assert ring.close(2, 2.0, "stdout")
    assert not ring.close(3, 3.0, "stdout")
    assert lines(ring)[1:] == [LogLine("web", 2, 2.0, "stdout", b"prompt> ")]
    assert ring.unfinished(9.0) == []


def test_bytes_that_are_no_text_survive_and_a_carriage_return_at_the_end_does_not() -> None:
    ring = filled(("stdout", b"\xff\xfe\x00\r\n\ra\r\n"))
    assert [line.data for line in lines(ring)] == [b"\xff\xfe\x00", b"\ra"]
    assert lines(ring)[0].text == "��\x00"


def test_an_overlong_line_comes_in_pieces_of_one_number_and_each_but_the_last_says_so() -> None:
    long = b"x" * (2 * LONGEST + 5)
    ring = filled(("stdout", b"a\n" + long + b"\nb\n"))
    found = [(line.number, line.piece, line.more, len(line.data)) for line in lines(ring)]
    assert found == [
        (1, 0, False, 1),
        (2, 0, True, LONGEST),
        (2, 1, True, LONGEST),
        (2, 2, False, 5),
        (3, 0, False, 1),
    ]


def test_a_line_that_does_not_end_goes_out_in_open_chunks_that_continue_each_other() -> None:
    part = b"x" * (LONGEST + 1)
    ring = filled(
        ("stdout", part), ("stderr", b"e\n"), ("stdout", part), ("stdout", b"end\nnext\n")
    )
    found = [(line.number, line.piece, line.more, line.stream) for line in lines(ring)]
    assert found == [
        (1, 0, True, "stdout"),
        (1, 1, True, "stdout"),
        (2, 0, False, "stderr"),
        (1, 2, True, "stdout"),
        (1, 3, True, "stdout"),
        (1, 4, False, "stdout"),
        (3, 0, False, "stdout"),
    ]
    assert b"".join(line.data for line in lines(ring) if line.number == 1) == part * 2 + b"end"


def test_the_oldest_chunks_go_and_are_counted() -> None:
    ring = filled(*[("stdout", b"%04d\n" % number) for number in range(1, 101)], max_bytes=50)
    assert (ring.bytes, ring.lines, ring.first, ring.dropped) == (50, 100, 91, 90)
    assert ring.dropped_bytes == 90 * 5
    assert [line.data for line in lines(ring)] == [b"%04d" % number for number in range(91, 101)]
    ring = filled(*[("stdout", b"%04d\n" % number) for number in range(1, 101)], max_lines=10)
    assert (ring.first, len(lines(ring))) == (91, 10)


def test_what_is_saved_is_saved_once_and_what_was_overtaken_is_counted() -> None:
    ring = filled(("stdout", b"a\nb\n"), max_bytes=10)
    chunks, lost = ring.save()
    assert ([chunk.data for chunk in chunks], lost) == ([b"a\nb\n"], 0)
    assert ring.save() == ([], 0)
    for position in range(2, 12):
        ring.append(position, 1.0, "stdout", b"12345678\n")
    chunks, lost = ring.save()
    assert (len(chunks), lost, ring.unsaved) == (1, 9, 0)


@given(WRITES)
def test_whatever_the_pieces_each_streams_lines_are_what_was_written(
    writes: list[tuple[str, bytes]],
) -> None:
    ring = filled(*writes)
    for position, stream in enumerate(("stdout", "stderr"), 1000):
        ring.close(position, 1.0, _stream(stream))
    for stream in ("stdout", "stderr"):
        written = b"".join(data for name, data in writes if name == stream)
        raw = b"".join(chunk.data for chunk in ring.chunks() if chunk.stream == stream)
        assert raw == written
        *ended, last = written.split(b"\n")
        expected = [line.removesuffix(b"\r") for line in ended] + ([last] if last else [])
        assert [line.data for line in lines(ring) if line.stream == stream] == expected
    assert [line.number for line in lines(ring)] == list(range(1, ring.lines + 1))


@given(WRITES, st.integers(1, 60), st.integers(1, 5))
def test_the_ring_never_holds_more_than_it_may(
    writes: list[tuple[str, bytes]], max_bytes: int, max_lines: int
) -> None:
    ring = filled(*writes, max_bytes=max_bytes, max_lines=max_lines)
    chunks = ring.chunks()
    assert ring.bytes == sum(len(chunk.data) for chunk in chunks)
    assert len(chunks) <= 1 or ring.bytes <= max_bytes
    assert len(chunks) <= 1 or ring.lines - chunks[1].first + 1 < max_lines + 1


# Asking.


def test_the_services_lines_are_merged_by_the_order_in_which_they_were_read() -> None:
    web = filled(("stdout", b"a\n"), ("stderr", b"b\n"))
    api = Ring("api")
    api.append(3, 3.0, "stdout", b"c\n")
    rings = [("web", web.chunks()), ("api", api.chunks())]
    assert [line.data for line in select(rings, Filter())] == [b"a", b"b", b"c"]
    assert [line.data for line in select(rings, Filter(count=2))] == [b"b", b"c"]
    assert [line.data for line in select(rings, Filter(grep="[ac]"))] == [b"a", b"c"]
    assert [line.data for line in select(rings, Filter(stream="stderr"))] == [b"b"]
    assert [line.data for line in select(rings, Filter(since=2.0, until=2.5))] == [b"b"]
    after = [("web", web.chunks(1)), ("api", api.chunks(1))]
    assert [line.data for line in select(after, Filter())] == [b"b", b"c"]


# On disk.


def test_a_chunk_in_the_file_has_time_and_stream_before_each_line() -> None:
    ring = filled(("stdout", b"a\n\xff\n"), ("stderr", b"x" * (LONGEST + 1)), ("stderr", b"y\n"))
    one, two, three = ring.chunks()
    assert as_text(one) == (
        b"1970-01-01T00:00:01.000000Z out a\n1970-01-01T00:00:01.000000Z out \xff\n"
    )
    assert as_text(two).startswith(b"1970-01-01T00:00:02.000000Z err xxx")
    assert as_text(three) == b"1970-01-01T00:00:03.000000Z err+ y\n"
    assert gap(3) == b"# 3 lines are missing here: they came faster than they could be kept\n"
