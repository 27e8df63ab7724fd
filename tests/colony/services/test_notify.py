"""The socket by which a service speaks of itself, and its end."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import anyio
import pytest

from actors import backend
from colony.services.notify import NotifySocket, parse


async def test_a_message_is_had_and_what_has_no_value_is_left_out(tmp_path: Path) -> None:
    notify = NotifySocket(str(tmp_path))
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as service:
            service.sendto(b"READY=1\nSTATUS=so far = so good\nnothing", notify.path)
        assert await notify.receive() == {"READY": "1", "STATUS": "so far = so good"}
    finally:
        notify.close()


def test_nothing_but_a_newline_ends_an_assignment() -> None:
    said = "STATUS=a\rb\x85c\u2028d\nREADY=1".encode()
    assert parse(said) == {"STATUS": "a\rb\x85c\u2028d", "READY": "1"}


async def test_who_listens_when_it_is_closed_is_told_so(tmp_path: Path) -> None:
    notify, ends = NotifySocket(str(tmp_path)), list[str]()

    async def listen() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await notify.receive()
        ends.append("closed")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        await backend.until_idle()
        notify.close()
        notify.close()
        assert os.listdir(tmp_path) == []
    assert ends == ["closed"]
    with pytest.raises(anyio.ClosedResourceError):
        await notify.receive()
