"""What a colony sees of the files of Colony's own: nothing of what leads into an instance, its own
or another one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netns.instance import Instance
from netns.namespace import Namespace
from netns.thread import NetworkThread
from tests.netns.support import rig, unique

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes network namespaces: root")


async def seen(thread: NetworkThread, space: Namespace, path: Path) -> list[str] | str:
    """What a look at this directory from inside gives."""

    def look() -> list[str] | str:
        with thread.inside(space):
            return os.listdir(path)

    return await thread.run(look)


async def test_no_sockets_of_other_instances_are_seen_either(tmp_path: Path) -> None:
    """One beside ours, one with a runtime directory of its own that holds something of the
    machine's, and one that begins later than the colony."""
    with Instance.claim(tmp_path / "one") as beside:
        (beside.own / "admin").touch()
        async with rig(tmp_path / "two") as elsewhere, rig(tmp_path / "one") as made:
            (elsewhere.instance.own / "admin").touch()
            (made.instance.own / "admin").touch()
            thread = made.thread
            space = await made.network.create(unique())
            for own in (beside.own, elsewhere.instance.own, made.instance.own):
                assert "admin" not in await seen(thread, space, own)
                assert os.listdir(own) == ["admin"]
            with Instance.claim(tmp_path / "one") as later:
                (later.own / "admin").touch()
                assert await seen(thread, space, later.own) == ["admin"]
                assert await made.network.heal(space) == []
                assert await seen(thread, space, later.own) == []
                assert os.listdir(later.own) == ["admin"]
            assert not later.directory.exists()
            await made.network.destroy(space)
