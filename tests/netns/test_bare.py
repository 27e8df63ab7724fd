"""A namespace that is made ahead is the next colony's, and nobody else ever sees it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netns import linux
from netns.bare import make_bare
from netns.errors import NetnsError, PacketFilterError, StepFailed
from netns.instance import Instance
from netns.namespace import STEPS
from netns.network import Network
from netns.nfnetlink import Packets
from netns.settings import Settings
from netns.thread import NetworkThread
from tests.netns.support import listen, open_descriptors, query, reach, rig, traces, unique

pytestmark = pytest.mark.real_time


def ready(network: Network) -> int:
    """The inode of the one that is ready."""
    spare = network._host._spare
    assert spare is not None
    return os.fstat(spare.net).st_ino


async def test_the_next_colony_takes_it(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        await network.prepare()
        first = ready(network)
        await network.prepare()
        assert ready(network) == first
        one, two = await network.create(unique()), await network.create(unique())
        assert one.inode == first
        assert two.inode != first
        assert list(one.steps) == list(two.steps) == [step.name for step in STEPS]
        links = [query("ip", "-j", "-n", space.name, "link") for space in (one, two)]
        assert [[end["ifname"] for end in ends] for ends in links] == [["lo", "eth0"]] * 2
        assert links[0][0]["flags"] == links[1][0]["flags"]
        for space in (one, two):
            assert space.redirect
            with listen(await thread.socket(space), "127.0.0.1", 3000) as server:
                assert reach(space.address.v4, 3000, server, b"home") == b"home"
        await network.destroy(one, two)


async def test_nobody_sees_it_and_closing_ends_it(tmp_path: Path) -> None:
    async with NetworkThread() as thread:
        with Instance.claim(tmp_path) as instance:
            held = open_descriptors()
            network = await Network.open(thread, instance)
            before = traces(instance.id, tmp_path)
            await network.prepare()
            assert traces(instance.id, tmp_path) == before
            assert open_descriptors() - held
            await network.close()
            assert open_descriptors() <= held


@pytest.mark.parametrize("step", [STEPS[0].name, STEPS[-1].name])
async def test_it_goes_with_the_creation_that_took_it(tmp_path: Path, step: str) -> None:
    def fail(done: str, _: float) -> None:
        if done == step:
            raise OSError(28, "No space left on device")

    async with rig(tmp_path) as (_, _, network):
        await network.destroy(await network.create(unique()))  # what is made once has been made
        held = open_descriptors()
        await network.prepare()
        with pytest.raises(StepFailed):
            await network.create(unique(), on_step=fail)
        assert open_descriptors() <= held


async def test_a_refused_redirect_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PacketFilterError("no rules today")

    async with rig(tmp_path) as (_, _, network):
        await network.destroy(await network.create(unique()))  # what is made once has been made
        held = open_descriptors()
        with monkeypatch.context() as patched:
            patched.setattr(Packets, "apply", refuse)
            with pytest.raises(PacketFilterError, match="no rules today"):
                await network.prepare()
        assert open_descriptors() <= held
        await network.destroy(await network.create(unique()))


async def test_one_that_fails_halfway_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise NetnsError("no such setting")

    async with NetworkThread() as thread:
        with monkeypatch.context() as patched:
            patched.setattr(Settings, "write", refuse)
            held = open_descriptors()
            with pytest.raises(NetnsError, match="no such setting"):
                await thread.run(make_bare, thread, Settings())
            assert open_descriptors() <= held

        def where() -> int:
            return os.stat(linux.NET_NAMESPACE).st_ino

        assert await thread.run(where) == os.fstat(thread.home.net).st_ino
