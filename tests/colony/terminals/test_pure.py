"""The pure parts of terminals, cut at every point."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from colony import config
from colony.terminals import chord, frames
from colony.terminals.answers import CUT, Questions, Silence, without_questions
from colony.terminals.chord import Chord, parse, spelled
from colony.terminals.driven import Terminal
from colony.terminals.modes import Modes
from colony.terminals.plan import session_environment
from colony.terminals.replay import BOUNDARY, Replay, boundary, replay
from colony.terminals.ring import Ring
from colony.terminals.screen import emulated
from colony.terminals.sizes import Size, agreed, size_of

PIECES = [
    b"\x1b[?1049h",
    b"\x1b[?1049l",
    b"\x1b[?25l",
    b"\x1b[?2004h",
    b"\x1b[?1002;1006h",
    b"\x1b[!p",
    b"\x1bc",
    b"\x1b=",
    b"\x1b>",
    b"\x1b[4 q",
    b"\x1b]0;a title\x07",
    "\x1b]2;tïtle\x1b\\".encode(),
    b"\x1b[1;31m",
    b"\x1b",
    b"text\n",
    b"\x1b]7;",
    b"[?1h",
    b"\x1b[>4;2m",
    b"\x1b[>4m",
    b"\x1b[>1u",
    b"\x1b[>5u",
    b"\x1b[<u",
    b"\x1b[=3;2u",
    b"\x1b[?2048h",
]
streams = st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


places = st.lists(st.integers(0, 10_000), max_size=20)


@given(st.integers(1, 20), st.lists(st.binary(max_size=30), max_size=10))
def test_a_ring_keeps_the_last_bytes_and_hands_out_those_it_loses(
    capacity: int, chunks: list[bytes]
) -> None:
    ring, lost = Ring(capacity), b""
    for chunk in chunks:
        lost += ring.append(chunk)
    whole = b"".join(chunks)
    assert (ring.start, ring.end) == (max(0, len(whole) - capacity), len(whole))
    assert lost == whole[: ring.start]
    for offset in range(ring.start, ring.end + 1):
        assert ring.read(offset, 7) == whole[offset : offset + 7]


def test_a_ring_has_no_byte_that_it_does_not_keep() -> None:
    ring = Ring(4)
    ring.append(b"abcdef")
    with pytest.raises(ValueError, match=r"offset 1 is not within 2\.\.6"):
        ring.read(1, 1)
    with pytest.raises(ValueError, match="positive number of bytes, got: 0"):
        Ring(0)


@given(streams, places)
def test_modes_are_the_same_however_the_stream_is_cut(data: bytes, at: list[int]) -> None:
    whole, pieces = Modes(), Modes()
    whole.feed(data)
    for piece in cut(data, at):
        pieces.feed(piece)
    assert pieces == whole


@given(streams)
def test_a_prelude_leads_to_the_state(data: bytes) -> None:
    modes, fresh = Modes(), Modes()
    modes.feed(data)
    fresh.feed(modes.prelude())
    modes._rest = b""
    assert fresh == modes


def test_modes_of_a_full_screen_program() -> None:
    modes = Modes()
    modes.feed(b"\x1b[?1049h\x1b[?1h\x1b=\x1b[?25l\x1b]2;vim\x07\x1b[?1;25")
    modes.feed(b"h")
    assert modes.prelude() == b"\x1b[?1049h\x1b[?1h\x1b=\x1b]2;vim\x1b\\"


def test_a_title_may_have_any_character() -> None:
    modes = Modes()
    modes.feed("\x1b]0;✓ all is done\x07".encode())  # with the byte 0x9c, which ends nothing
    assert modes.title == "✓ all is done"


@given(streams)
def test_who_leaves_has_a_terminal_as_before(data: bytes) -> None:
    modes = Modes()
    modes.feed(data)
    modes._rest = b""
    modes.feed(modes.leave())
    modes.title = ""
    modes.keyboard.stacks[1][:] = [0]
    assert modes == Modes()


def test_how_keys_are_told_is_undone_and_done_again() -> None:
    modes = Modes()
    modes.feed(b"\x1b[>1u\x1b[?1049h\x1b[>5u\x1b[>4;2m")
    assert modes.prelude() == b"\x1b[>1u\x1b[?1049h\x1b[=0;1u\x1b[>5u\x1b[>4;2m"
    assert modes.leave().startswith(b"\x1b[<1u\x1b[?1049l\x1b[<1u\x1b[>4m")
    modes.feed(b"\x1b[<u\x1b[?1049l\x1b[<u\x1b[>4;m")
    assert modes.prelude() == b""
    assert b"u" not in modes.leave()


@given(streams, st.integers(1, 60))
@example(b"\x1b[>1u\x1b[?1049htext\n", 14)  # a line's end is after the switch, not before
@example(
    b"\x1b[>5u\x1b[?2004h[?1h\x1b", 30
)  # a sequence that is begun at the end, not at the start
def test_a_replay_ends_in_the_present_state(data: bytes, capacity: int) -> None:
    ring, before, now = Ring(capacity), Modes(), Modes()
    before.feed(ring.append(data))
    now.feed(data)
    for most in (None, 10):
        shown = Modes()
        shown.feed(whole(ring, replay(ring, before, now, most)))
        assert (shown.set, shown.alternate) == (now.set, now.alternate)
        assert shown.keyboard.state == now.keyboard.state
        assert (shown.keypad, shown.cursor) == (now.keypad, now.cursor)


def whole(ring: Ring, shown: Replay) -> bytes:
    kept = ring.read(shown.start, shown.end - shown.start)
    return shown.begun + without_questions(kept) + shown.after


def test_a_replay_asks_the_terminal_nothing() -> None:
    asked = b"a\x1b[6n\x1b[cb\x1b[>0q\x1b]11;?\x07\x1b[?2026$p\x1bP+q544e\x1b\\c\x1b[31md\x1b[?25h"
    silent = without_questions(asked)
    assert len(silent) == len(asked)
    assert silent.replace(b"\0", b"") == b"abc\x1b[31md\x1b[?25h"


ASKED = [
    (b"\x1b[c", b"\x1b[?62;22c"),
    (b"\x1b[>0c", b"\x1b[>1;7402;0c"),
    (b"\x1b[=c", b"\x1bP!|7E565445\x1b\\"),
    (b"\x1b[6n", b"\x1b[12;40R"),
    (b"\x1b[?996n", b"\x1b[?15n"),
    (b"\x1b[>q", b"\x1bP>|kitty(0.32)\x1b\\"),
    (b"\x1b[?2026$p", b"\x1b[?2026;2$y"),
    (b"\x1b[?u", b"\x1b[?0u"),
    (b"\x1b[?4m", b"\x1b[>4;2m"),
    (b"\x1b[18t", b"\x1b[8;24;80t"),
    (b"\x1b]11;?\x07", b"\x1b]11;rgb:0000/0000/0000\x07"),
    (b"\x1b]4;1;?\x1b\\", b"\x1b]4;1;rgb:cccc/0000/0000\x1b\\"),
    (b"\x1bP+q544e\x1b\\", b"\x1bP1+r544e=787465726d\x1b\\"),
    (b"\x1bP$qm\x1b\\", b"\x1bP1$r0m\x1b\\"),
]


@pytest.mark.parametrize(("question", "answer"), ASKED)
def test_of_two_answers_the_first_is_passed_on(question: bytes, answer: bytes) -> None:
    for place in range(len(question)):
        asked = Questions(0.0)
        asked.note(b"some text" + question[:place], 10.0)
        asked.note(question[place:] + b"more", 10.0)
        assert asked.answered(b"a" + answer + b"b", 10.1) == b"a" + answer + b"b"
        assert asked.answered(b"c" + answer + b"\x1b[A", 10.2) == b"c\x1b[A"
    assert without_questions(b"a" + question + b"b") == b"a" + bytes(len(question)) + b"b"


def test_an_answer_to_nothing_is_dropped_and_a_key_is_not() -> None:
    asked = Questions(0.0)
    assert asked.answered(b"\x1b[?62c", 0.5) == b"\x1b[?62c"  # asked of one, before there were two
    assert asked.answered(b"\x1b[?62c", 1.5) == b""
    keys = b"\x1b\x1b[A\x1b[1;5R\x1b[15;2~\x1bOR\x1b[<0;3;4M\x1b[I\x1b[97;5u\x1b[27;5;99~\xc3\xa4"
    assert asked.answered(keys, 1.5) == keys
    asked.note(b"\x1b[c", 2.0)
    assert asked.answered(b"\x1b[?62c", 12.0) == b""  # nobody waits any longer
    asked.note(b"\x1b]4;0;?;1;?\x07", 13.0)  # two in one
    colour = b"\x1b]4;0;rgb:00/00/00\x07"
    assert asked.answered(colour + colour + colour, 13.0) == colour + colour


def test_a_replay_copies_nothing_and_notifies_nobody() -> None:
    acts = b"a\x1b]52;c;QUJD\x07b\x1b]9;done\x1b\\c\x1b]777;notify;done\x07d\x05"
    silent = without_questions(acts)
    assert len(silent) == len(acts)
    assert silent.replace(b"\0", b"") == b"abcd"
    shows = (
        b"\x1b]8;;http://x\x1b\\\x1b]0;t\x07\x1b[5S\x1b[>4;2m\x1b[>1u\x1b[=1;1u\x1b[<u\x1b[8;1;1t"
    )
    assert without_questions(shows) == shows


def test_a_replay_rings_no_bell() -> None:
    rings = b"a\x07b\x1b]0;title\x07c\x07\x1b[m\x07"
    assert without_questions(rings) == b"a\0b\x1b]0;title\x07c\0\x1b[m\0"


BASE64 = b"QUJD\r\n" * 5000
LONG = [
    (b"\x1b]52;c;" + BASE64 + b"\x07", True),
    (b"\x1b]52;;" + BASE64 + b"\x1b\\", True),
    (b"\x1b]1337;Copy=:" + BASE64 + b"\x07", True),
    (b"\x1b]1337;File=:" + BASE64 + b"\x07", False),
    (b"\x1b]2;" + BASE64 + b"\x1b\\", False),
    (b"\x1bPq" + BASE64 + b"\x1b\\", False),
]


@pytest.mark.parametrize("which", range(len(LONG)))
@given(st.lists(st.integers(CUT, 3 * CUT), max_size=20))
def test_a_long_string_is_shown_again_whole_or_not_at_all(which: int, sizes: list[int]) -> None:
    string, acts = LONG[which]
    stream = b"a\x07" + string + b"b\x07" + string
    silence, shown, at = Silence(), b"", 0
    while at < len(stream):
        piece = stream[at : at + (sizes.pop() if sizes else CUT)]
        taken = silence.take(piece, at + len(piece) == len(stream))
        assert 0 < len(taken) <= len(piece)
        shown += taken
        at += len(taken)
    whole = bytes(len(string)) if acts else string
    assert shown == b"a\0" + whole + b"b\0" + whole


@given(st.integers(0, 15), st.sampled_from([b"\x07", b"\x1b\\", b"\x18", b"\x1b[m"]), places)
def test_it_is_known_in_which_string_a_stream_is(long: int, end: bytes, at: list[int]) -> None:
    string = b"\x1b]52;c;" + b"Q" * (long * 100)
    for stream, inside in (
        (b"a" + string, 1),
        (b"a" + string + end, -1),
        (b"a" + string + end + b"b" + string, 2 + len(string) + len(end)),
    ):
        modes = Modes()
        for piece in cut(stream, at):
            modes.feed(piece)
        assert modes.string == inside


def test_a_replay_begins_after_a_line() -> None:
    for kept, begin in (
        (b"31mhalf\nwhole", 8),
        (b"\xa4half\x1b[m", 5),
        (b"nothing", 7),
        (b"#0~~@@\n#1??\x1b\\after\nthis", 13),  # within a picture
        (b"line\n\x1bP#0~~\x1b\\", 5),
        (bytes(BOUNDARY) + b"\nlong\x1b", BOUNDARY + 1),
        (bytes(BOUNDARY) + b"long\x1b\n", BOUNDARY + 4),
    ):
        for before in (1, len(kept) // 2, len(kept)):  # wherever the ring goes round
            ring = Ring(len(kept))
            ring.append(bytes(before))
            ring.append(kept)
            assert boundary(ring, ring.start) == before + begin
    ring = Ring(9)
    ring.append(b"from one\n")
    assert boundary(ring, 0) == 0


# -- the detach keys -------------------------------------------------------------------------------

KEYS = parse(chord.DEFAULT)
typed = st.lists(
    st.sampled_from(
        [b"\x1d", b"d", b"x", b"\x1b", b"\x1b[200~", b"\x1b[201~", b"\xc3\xa4", b"[20"]
    ),
    max_size=12,
).map(b"".join)


@given(typed, places)
def test_the_chord_is_found_however_it_is_read(data: bytes, at: list[int]) -> None:
    whole, pieces = Chord(KEYS), Chord(KEYS)
    expected = whole.feed(data, 0.0) + whole.expire(1.0)
    passed = b"".join(pieces.feed(piece, 0.0) for piece in cut(data, at)) + pieces.expire(1.0)
    assert (passed, pieces.detached) == (expected, whole.detached)


sequences = st.text(alphabet="\x1b[0127;:u~dA", max_size=40).map(str.encode)


@given(st.one_of(st.binary(max_size=200), sequences), places)
def test_what_has_no_first_key_is_passed_on_whole(data: bytes, at: list[int]) -> None:
    data = data.replace(b"\x1d", b"")
    one = Chord(KEYS)
    passed = b"".join(one.feed(piece, 0.0) for piece in cut(data, at)) + one.expire(1.0)
    assert passed == data
    assert not one.detached


@pytest.mark.parametrize(
    ("data", "passed", "detached"),
    [
        (b"ls\x1ddmore", b"ls", True),
        (b"\x1dx", b"\x1dx", False),
        (b"\x1d\x1d", b"\x1d", False),
        (b"\x1d\x1dd", b"\x1dd", False),
        (b"\x1b[200~\x1dd\x1b[201~", b"\x1b[200~\x1dd\x1b[201~", False),
        (b"\x1b[200~a\x1b[201~\x1dd", b"\x1b[200~a\x1b[201~", True),
        (bytes(range(0x80, 0x100)), bytes(range(0x80, 0x100)), False),
    ],
)
def test_the_chord(data: bytes, passed: bytes, detached: bool) -> None:
    one = Chord(KEYS)
    assert (one.feed(data, 0.0), one.detached) == (passed, detached)


TOLD_OTHERWISE = [
    (b"\x1b[27;5;93~", b"d"),  # xterm, as vim asks for it
    (b"\x1b[93;5u", b"d"),  # kitty
    (b"\x1b[93;133u", b"d"),  # and NumLock is on
    (b"\x1b[93;5:1u\x1b[93;5:3u", b"\x1b[100;1:1u"),  # with releases
    (b"\x1b[57442;5u\x1b[93;5u\x1b[57442;1:3u", b"\x1b[100u"),  # with Ctrl itself
    (b"\x1b[1098::93;5u", b"\x1b[1074::100;;1074u"),  # on a Cyrillic layout
]


@pytest.mark.parametrize(("first", "then"), TOLD_OTHERWISE)
def test_keys_are_the_same_however_they_are_told(first: bytes, then: bytes) -> None:
    one, again, held = Chord(KEYS), Chord(KEYS), Chord(KEYS)
    assert one.feed(b"ls" + first + then + b"more", 0.0) in (b"ls", b"ls\x1b[57442;5u")
    assert one.detached
    passed = again.feed(first, 0.0) + again.feed(b"x" + then, 0.1)
    assert (passed, again.detached) == (first + b"x" + then, False)
    passed = held.feed(first, 0.0) + held.expire(0.5)
    assert (passed, held.due) == (first, None)


@pytest.mark.parametrize(("first", "then"), TOLD_OTHERWISE)
@pytest.mark.parametrize("pasted", [b"\x1b[200~", b""])
def test_a_key_is_known_wherever_its_sequence_is_cut(
    first: bytes, then: bytes, pasted: bytes
) -> None:
    typed = pasted + first + then
    for place in range(1, len(typed)):
        one = Chord(KEYS)
        passed = one.feed(typed[:place], 0.0) + one.feed(typed[place:], 0.1)
        assert one.detached is not bool(pasted)
        if pasted:
            assert passed == typed


def test_escape_is_not_held_back() -> None:
    one = Chord(KEYS)
    assert one.feed(b"\x1b", 0.0) == b"\x1b"
    assert one.due is None
    assert one.feed(b"\x1dd", 9.0) == b""
    assert one.detached


def test_other_keys_of_the_same_kind_are_passed_on() -> None:
    for typed in (b"\x1b[27;5;99~", b"\x1b[93;3u", b"\x1b[1;5A", b"\x1b[200", b"\x1b[<0;3;4M"):
        one = Chord(KEYS)
        passed = one.feed(typed, 0.0)
        assert (passed + one.expire(1.0), one.detached) == (typed, False)


@pytest.mark.parametrize(
    ("sequence", "key"),
    [
        (b"\x1b[27;6;95~", 0x1F),
        (b"\x1b[45;6u", 0x1F),
        (b"\x1b[32;5u", 0),
        (b"\x1b[97;5u", 1),
        (b"\x1b[27;6;65~", 1),
        (b"\x1b[100;2u", ord("D")),
        (b"\x1b[27;2;68~", ord("D")),
        (b"\x1b[93;7u", chord.OTHER_KEY),
        (b"\x1b[99999999999;5u", chord.OTHER_KEY),
        (b"\x1b[93;5:3u", chord.NO_KEY),
        (b"\x1b[200~", chord.OTHER_KEY),
    ],
)
def test_which_key_a_sequence_is(sequence: bytes, key: int) -> None:
    assert chord.key_of(sequence) == key


def test_a_first_key_that_nothing_follows_is_passed_on() -> None:
    one = Chord(KEYS)
    assert one.feed(b"\x1d", 1.0) == b""
    assert one.due == 1.5
    assert one.expire(1.4) == b""
    assert one.expire(1.5) == b"\x1d"
    assert one.due is None
    assert (one.feed(b"d", 2.0), one.detached) == (b"d", False)


def test_detach_keys_are_read_and_spelled() -> None:
    assert spelled(parse("ctrl-],d")) == "Ctrl-] d"
    assert parse("Ctrl-P,ctrl-q") == b"\x10\x11"
    with pytest.raises(ValueError, match=r"as ctrl-\],d, got: 'hyper-x'"):
        parse("hyper-x")


# -- what patterns see -----------------------------------------------------------------------------

COPIED = b"\x1b]52;c;" + b"QUJD" * 5000 + b"\x07"
PICTURE = b"\x1bPq#0~~@@\n#1??\x1b\\\x1b_Ga=T,q=2;QUJD\x1b\\"


@given(places)
def test_patterns_see_text_however_it_is_cut(at: list[int]) -> None:
    written = "\x1b(B\x1b[mäb\x1b7c\r\n".encode() + COPIED + b"d" + PICTURE + "漢\x1b=".encode()
    seen = Terminal(None, "1")  # type: ignore[arg-type]
    for piece in cut(written, at):
        seen._add(piece)
    assert seen._text == "äbc\nd漢"


def test_a_screen_shows_what_stands_after_an_emoji() -> None:
    written = "⚠\ufe0f careful: 👨\u200d👩 \u202eboth\ne\u0301nd\xff".encode() + b"\xff\r\n>"
    shown = emulated(written.replace(b"\n", b"\r\n"), Size(4, 40), Modes())
    assert shown.text == "⚠ careful: 👨👩 both\nénd\xff\ufffd\n>"
    assert (shown.cursor_row, shown.cursor_column) == (2, 1)


# -- sizes and frames ------------------------------------------------------------------------------


def test_the_smallest_of_those_who_type_wins() -> None:
    assert agreed([Size(30, 100), Size(50, 80), None], [Size(5, 5)]) == Size(30, 80)
    assert agreed([None], [Size(5, 6)]) == Size(5, 6)
    assert agreed([], []) is None
    assert size_of(0, 80) is None
    assert size_of(24, 99999) == Size(24, 4096)


@given(
    st.lists(st.tuples(st.sampled_from([frames.TEXT, frames.BINARY]), st.binary(max_size=300))),
    places,
    st.booleans(),
)
def test_frames_arrive_however_they_are_cut(
    messages: list[tuple[int, bytes]], at: list[int], client: bool
) -> None:
    wire = b"".join(
        frames.masked(kind, data, b"\x01\xfe\x80\x00") if client else frames.unmasked(kind, data)
        for kind, data in messages
    )
    reader = frames.FrameReader()
    assert [each for piece in cut(wire, at) for each in reader.feed(piece)] == messages


def test_a_long_frame_and_a_broken_one() -> None:
    reader = frames.FrameReader()
    long = bytes(70_000)
    assert list(reader.feed(frames.unmasked(frames.BINARY, long))) == [(frames.BINARY, long)]
    with pytest.raises(frames.BadFrame, match="reserved bits set, got: 0xf2"):
        list(reader.feed(b"\xf2\x00"))
    assert frames.accept_for(b"dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


# -- the environment -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ({}, {"LANG": "C.UTF-8"}),
        ({"LANG": "C", "LC_ALL": "POSIX", "LC_CTYPE": "C"}, {"LANG": "C.UTF-8"}),
        ({"LANG": "C", "LC_ALL": "de_DE.utf8"}, {"LANG": "C", "LC_ALL": "de_DE.utf8"}),
        ({"LANG": "sv_SE.UTF-8"}, {"LANG": "sv_SE.UTF-8"}),
        # The terminal that Colony was started in is none of its sessions'.
        ({"LANG": "C.UTF-8", "TERM": "dumb", "TMUX": "x", "COLUMNS": "9"}, {"LANG": "C.UTF-8"}),
    ],
)
def test_what_a_sessions_program_is_told_of_its_terminal(
    tmp_path: Path, outside: dict[str, str], inside: dict[str, str]
) -> None:
    file = tmp_path / "colony.toml"
    file.write_text('[colony]\nname = "x"\n[services.web]\ncommand = "true"\n[terminal]\n')
    env = session_environment(outside, config.load(file), {}, "7")
    known = {"TERM", "COLORTERM", "LANG", "LC_ALL", "LC_CTYPE", "TMUX", "COLUMNS"}
    assert {key: value for key, value in env.items() if key in known} == {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        **inside,
    }
    assert (env["COLONY_NAME"], env["COLONY_TERMINAL"]) == ("x", "7")


@given(streams)
def test_a_screen_that_is_not_cleared_keeps_its_cursor(data: bytes) -> None:
    """Unless the program that is shown has asked for it."""
    ring, now = Ring(4096), Modes()
    ring.append(data)
    now.feed(data)
    shown = replay(ring, Modes(), now, clear=False)
    begun = replay(Ring(4096), Modes(), Modes(), clear=False).begun
    assert shown.begun.startswith(begun)
    assert not any(moves in begun for moves in (b"\x1b[H", b"\x1b[2J", b"1049", b"\x1b[!p"))
