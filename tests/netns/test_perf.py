"""What the kernel notes of its events: how it is read, and that nothing stays of it."""

from __future__ import annotations

import os
import secrets
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from netns import perf
from netns.perf import Layout, Point, Record, Recorder, records, why_not
from tests.netns.support import open_descriptors

EXIT = Point("sched/sched_process_exit")

FORMAT = """\
name: inet_sock_set_state
ID: 2287
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:const void * skaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:__u16 dport;\toffset:26;\tsize:2;\tsigned:0;
\tfield:__u8 saddr_v6[16];\toffset:40;\tsize:16;\tsigned:0;

print fmt: "family=%s protocol=%s", REC->family
"""


def record(kind: int, pid: int, time: int, raw: bytes) -> bytes:
    padded = raw + bytes(-(len(raw) + 4) % 8)
    size = 28 + len(padded)
    return struct.pack("=IHHIIQI", kind, 0, size, pid, pid, time, len(padded)) + padded


def test_the_kernels_description_tells_where_the_fields_are() -> None:
    layout = Layout.parse(2287, FORMAT)
    assert layout.fields == {
        "common_type": (0, 2),
        "common_pid": (4, 4),
        "skaddr": (8, 8),
        "dport": (26, 2),
        "saddr_v6": (40, 16),
    }
    raw = bytes(26) + (443).to_bytes(2, "little") + bytes(12) + bytes(range(16))
    assert layout.number(raw, "dport") == 443
    assert layout.data(raw, "saddr_v6") == bytes(range(16))


def test_a_rings_text_is_read_to_where_it_is_cut_off() -> None:
    ours, other = struct.pack("=H", 7) + b"ours", struct.pack("=H", 8) + b"other"
    text = record(9, 2, 20, ours) + record(2, 0, 0, b"lost") + record(9, 3, 15, other)
    text += record(9, 1, 10, ours)
    found = list(records(text, {7: 0}))
    assert [(each.pid, each.time, each.point) for each in found] == [(2, 20, 0), (1, 10, 0)]
    assert found[0].raw.startswith(ours)
    for length in range(len(text)):
        assert list(records(text[:length], {7: 0})) == found[: length >= 40]
    assert list(records(b"", {7: 0})) == []


def ended(recorder: Recorder) -> set[int]:
    return {each.pid for each in recorder.read()}


def child(program: str = "/bin/true") -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([program])
    process.wait()
    return process.pid


@contextmanager
def on_processors(some: set[int]) -> Iterator[None]:
    """This thread and its children run on these only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, some)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def may_record() -> bool:
    """Whether this process has the right to it; where it has not, so it is said."""
    refusal = why_not((EXIT,))
    if refusal:
        with pytest.raises(OSError, match=refusal):
            Recorder.open((EXIT,))
    return not refusal


def opened(point: Point = EXIT, size: int = perf.RING) -> Recorder | None:
    """None where this process may not; else the caller's to close."""
    return Recorder.open((point,), size) if may_record() else None


def test_each_event_is_read_once() -> None:
    recorder = opened()
    if recorder is None:
        return
    with recorder:
        one = child()
        assert one in ended(recorder)
        two = child()
        found = recorder.read()
        assert found == sorted(found)
        assert two in {each.pid for each in found}
        assert one not in {each.pid for each in found}
        assert isinstance(found[0], Record)


def test_what_is_too_old_is_gone_and_the_rest_is_whole(tmp_path: Path) -> None:
    name = f"perf{secrets.token_hex(4)}"
    shutil.copy("/bin/true", tmp_path / name)
    recorder = opened(Point(EXIT.name, (f'comm == "{name}"',)), size=4096)
    if recorder is None:
        return
    one = {min(os.sched_getaffinity(0))}  # each processor has a ring of its own
    with recorder, on_processors(one):
        pids = [child(str(tmp_path / name)) for _ in range(150)]
        found = recorder.read()
        assert pids[-1] in {each.pid for each in found}
        assert {each.pid for each in found} < set(pids)
        [layout] = recorder.layouts
        names = {layout.data(each.raw, "comm").rstrip(b"\0") for each in found}
        assert names == {name.encode()}


def test_nothing_is_left_open() -> None:
    before = open_descriptors()
    recorder = opened()
    if recorder is None:
        return
    assert any("perf_event" in each for each in open_descriptors() - before)
    recorder.close()
    recorder.close()
    assert recorder.read() == []
    assert open_descriptors() <= before


def test_an_event_that_is_not_there_is_said() -> None:
    assert why_not((Point("sock/no_such_event"),)) in (
        "No such file or directory",
        "Permission denied",
        "Operation not permitted",
    )


def test_a_filter_that_the_kernel_does_not_know_is_not_the_last_word() -> None:
    if not may_record():
        return
    known = f"pid == {os.getpid()}"
    with Recorder.open((Point(EXIT.name, ("no_such_field == 1", known)),)) as recorder:
        child()
        assert recorder.read() == []
    with pytest.raises(OSError, match="Invalid argument"):
        Recorder.open((Point(EXIT.name, ("no_such_field == 1",)),))


def test_nothing_stays_of_one_that_was_killed() -> None:
    if not may_record():
        return
    script = (
        "import os, signal\nfrom netns.perf import Point, Recorder\n"
        f"Recorder.open((Point({EXIT.name!r}),))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -9
