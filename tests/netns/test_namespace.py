"""A colony's complete network on the real kernel."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from netns import host, linux, namespace, nft, pins
from netns.errors import NameTaken, NetnsError, PacketFilterError, StepFailed
from netns.namespace import STEPS, Build, Namespace, Step
from tests.netns.support import (
    PATIENCE,
    answer,
    listen,
    open_descriptors,
    output,
    query,
    reach,
    read,
    rig,
    traces,
    unique,
)

pytestmark = pytest.mark.real_time

STEP_NAMES = [step.name for step in STEPS]


async def test_it_is_complete_and_says_so(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (_, instance, network):
        seen: list[str] = []
        space = await network.create(name, on_step=lambda step, _: seen.append(step))
        assert seen == list(space.steps) == STEP_NAMES
        assert space.milliseconds == sum(space.steps.values())
        assert f"colony-{name}" in output("ip", "netns", "list").split()
        (link,) = query("ip", "-j", "-d", "link", "show", space.link)
        assert link["ifalias"] == f"colony:{instance.id}:{name}"
        assert link["altnames"] == [f"colony-{name}"]
        assert link["group"] == str(0x6C000000 | int(instance.id, 16))
        assert (link["num_tx_queues"], link["num_rx_queues"]) == (1, 1)
        inner = query("ip", "-j", "-n", space.name, "address")
        assert [(i["ifname"], "UP" in i["flags"]) for i in inner] == [("lo", True), ("eth0", True)]
        addresses = {a["local"] for a in inner[1]["addr_info"]}
        assert addresses == {str(space.address.v4), str(space.address.v6)}
        (outer,) = query("ip", "-j", "address", "show", space.link)
        gateways = [str(space.address.gateway4), str(space.address.gateway6)]
        assert [a["local"] for a in outer["addr_info"]] == gateways
        assert all("NOARP" in end["flags"] for end in (outer, inner[1]))
        assert outer["address"] == inner[1]["address"]
        (default,) = query("ip", "-j", "-n", space.name, "route", "show", "default")
        assert default["gateway"] == str(space.address.gateway4)
        assert space.redirect
        assert space.inode == os.stat(f"/run/netns/{space.name}").st_ino
        assert repr(space) == f"<Namespace colony-{name} {space.address.v4} open>"
        await network.destroy(space)
        assert repr(space) == f"<Namespace colony-{name} {space.address.v4} gone>"


async def test_nothing_is_left_after_destruction_nor_after_close(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (_, instance, network):
        before = traces(instance.id, tmp_path)
        await network.destroy(await network.create(name))
        held = open_descriptors()  # with the mould of the views, which the first one leaves
        space = await network.create(name)
        assert traces(instance.id, tmp_path, name) != before
        await network.destroy(space)
        await network.destroy(space)
        colonies = f"file {tmp_path}/instances/{instance.id}/colonies"
        assert [t for t in traces(instance.id, tmp_path, name) if t != colonies] == before
        assert open_descriptors() <= held
        with pytest.raises(NetnsError, match=f"the namespace colony-{name} is gone"):
            _ = space.place
    assert traces(instance.id, tmp_path, name) == []


@pytest.mark.parametrize("step", STEP_NAMES)
async def test_a_failed_step_leaves_nothing_and_is_named(tmp_path: Path, step: str) -> None:
    name = unique()

    def fail(done: str, _: float) -> None:
        if done == step:
            raise OSError(28, "No space left on device")

    async with rig(tmp_path) as (_, instance, network):
        await network.destroy(await network.create(unique()))  # what is made once has been made
        before, held = traces(instance.id, tmp_path, name), open_descriptors()
        with pytest.raises(StepFailed) as caught:
            await network.create(name, on_step=fail)
        assert caught.value.step == step
        assert str(caught.value) == (
            f"cannot make the network of colony {name!r}, step {step!r}: "
            "[Errno 28] No space left on device"
        )
        assert not hasattr(caught.value, "__notes__")
        assert traces(instance.id, tmp_path, name) == before
        assert open_descriptors() <= held
        await network.destroy(await network.create(name))


async def test_a_step_that_fails_by_itself_halfway_is_undone_too(tmp_path: Path) -> None:
    """The kernel's own refusals, each with its words."""
    async with rig(tmp_path) as (thread, instance, network):
        taken = await network.create(unique())
        before, held = traces(instance.id, tmp_path), open_descriptors()
        free = network.pool.allocate("x")
        for address, mtu, step, words in (
            (free, 1 << 20, "link", "creating the veth pair .*: Invalid argument"),
            (taken.address, 1500, "host side", "adding the route to"),
        ):
            plan = namespace.Plan(unique(), address, "", "", mtu=mtu)
            with pytest.raises(StepFailed, match=words) as caught:
                await thread.run(namespace.create, thread, network._host, plan, None)
            assert caught.value.step == step
            assert traces(instance.id, tmp_path, plan.colony) == before
            assert open_descriptors() <= held
        await network.destroy(taken)


async def test_undoing_bears_that_nothing_was_done(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, instance, network):
        plan = namespace.Plan(unique(), network.pool.allocate("x"), "", "")
        files = instance.files_of(plan.colony)
        build = Build(thread, network._host, plan, Namespace(plan, instance.id, files, True))
        assert await thread.run(namespace.undo, build) == []


async def test_undoing_goes_on_after_an_error_and_backwards(tmp_path: Path) -> None:
    undone: list[str] = []

    def step(name: str) -> Step:
        def undo(_: Build) -> None:
            undone.append(name)
            if name == "b":
                raise NetnsError("stuck")

        return Step(name, lambda _: None, undo)

    async with rig(tmp_path) as (thread, instance, network):
        plan = namespace.Plan(unique(), network.pool.allocate("x"), "", "")
        space = Namespace(plan, instance.id, tmp_path, True)
        build = Build(thread, network._host, plan, space)
        errors = namespace.undo(build, tuple(step(name) for name in "abcd"), spare="c")
    assert undone == ["d", "b", "a"]
    assert [str(error) for error in errors] == ["stuck"]


async def test_a_cancelled_creation_leaves_nothing(tmp_path: Path) -> None:
    name = unique()
    begun, go = threading.Event(), threading.Event()

    def pause(step: str, _: float) -> None:
        if step == "link":
            begun.set()
            go.wait(PATIENCE)

    async with rig(tmp_path) as (_, instance, network):
        before = traces(instance.id, tmp_path)
        await network.destroy(await network.create(unique()))
        held = open_descriptors()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: network.create(name, on_step=pause))
            await anyio.to_thread.run_sync(begun.wait, PATIENCE)
            tasks.cancel_scope.cancel()
            go.set()
        colonies = f"file {tmp_path}/instances/{instance.id}/colonies"
        left = [t for t in traces(instance.id, tmp_path, name) if t not in (colonies, "record")]
        assert left == [t for t in before if t != "record"]
        assert open_descriptors() <= held
        assert network.pool.held() == {}


async def test_the_same_port_in_two_colonies(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        one, two = await network.create(unique("a")), await network.create(unique("b"))
        with (
            listen(await thread.socket(one), "0.0.0.0", 3000) as first,
            listen(await thread.socket(two), "0.0.0.0", 3000) as second,
        ):
            assert reach(one.address.v4, 3000, first, b"one") == b"one"
            assert reach(two.address.v4, 3000, second, b"two") == b"two"
            assert answer(first, await thread.connect(one, 3000), b"one") == b"one"
            assert answer(second, await thread.connect(two, 3000), b"two") == b"two"
        await network.destroy(one)
        await network.destroy(two)


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "::", "own address"])
async def test_a_listener_is_reached_by_the_colonys_address(tmp_path: Path, host: str) -> None:
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(unique())
        family = socket.AF_INET6 if host == "::" else socket.AF_INET
        where = str(space.address.v4) if host == "own address" else host
        with listen(await thread.socket(space, family), where, 3000) as server:
            if host != "own address":  # the redirect leads to 127.0.0.1, where it is not
                assert reach(space.address.v4, 3000, server, b"veth") == b"veth"
            client = await thread.connect(space, 3000, space.address.v4)
            assert answer(server, client, b"socket") == b"socket"
        await network.destroy(space)


async def test_a_listener_on_ipv6(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(unique())
        with listen(await thread.socket(space, socket.AF_INET6), "::1", 3000) as server:
            assert answer(server, await thread.connect(space, 3000), b"one") == b"one"
        with listen(await thread.socket(space, socket.AF_INET6), "::", 3001) as server:
            assert reach(space.address.v6, 3001, server, b"six") == b"six"
        with pytest.raises(ConnectionRefusedError, match="nothing listens on port 3002 inside"):
            await thread.connect(space, 3002, space.address.v4)
        await network.destroy(space)


async def test_a_low_port_needs_no_right(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(unique())
        setting = "/proc/sys/net/ipv4/ip_unprivileged_port_start"

        def inside() -> str:
            with thread.inside(space):
                return read(setting)

        assert await thread.run(inside) == "0"
        assert read(setting) != "0"
        await network.destroy(space)


async def test_its_own_hosts_and_resolv_conf(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(name, hosts={"db": "127.0.0.1"}, nameservers=["192.0.2.5"])

        def inside(path: str) -> str:
            with thread.inside(space):
                return read(path)

        mine = read("/etc/hosts")
        hosts = f"127.0.0.1 localhost {name}\n127.0.0.1 db"
        assert (await thread.run(inside, "/etc/hosts")).endswith(hosts)
        assert "nameserver 192.0.2.5" in await thread.run(inside, "/etc/resolv.conf")
        await network.set_hosts(space, {"other": "10.200.0.9"})
        assert (await thread.run(inside, "/etc/hosts")).endswith("10.200.0.9 other")
        assert read("/etc/hosts") == mine
        await network.destroy(space)


async def test_a_colony_does_not_hold_on_to_its_neighbours_pins(tmp_path: Path) -> None:
    """A mount namespace begins as a copy of all mounts; a copied pin keeps a namespace alive."""
    async with rig(tmp_path) as (thread, _, network):
        first, second = await network.create(unique("a")), await network.create(unique("b"))

        def mounts() -> str:
            with thread.inside(second):
                return Path("/proc/thread-self/mountinfo").read_text()

        assert "/run/netns" not in await thread.run(mounts)
        await network.destroy(first)
        await network.destroy(second)


async def test_destruction_does_not_wait_for_who_still_holds_the_namespace(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (thread, instance, network):
        space = await network.create(name)
        with await thread.socket(space):
            await network.destroy(space)
            left = [t for t in traces(instance.id, tmp_path, name) if t.startswith("link")]
            assert left == []
        again = await network.create(name)
        assert again.address == space.address
        assert again.link != space.link
        await network.destroy(again)


async def test_arguments_are_checked(tmp_path: Path) -> None:
    async with rig(tmp_path) as (_, _, network):
        with pytest.raises(NetnsError, match="a colony's name is"):
            await network.create("../../etc")
        with pytest.raises(NetnsError, match="egress is one of nat, some, none, got: 'all'"):
            await network.create("a", egress="all")  # type: ignore[arg-type]
        assert len(network.pool) == 0


async def test_a_name_that_this_instance_has_already(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (_, _, network):
        space = await network.create(name)
        with pytest.raises(NetnsError, match=f"colony '{name}' has a network in this instance"):
            await network.create(name)
        await network.destroy(space)


async def test_a_name_that_another_instance_has(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path / "one") as one, rig(tmp_path / "two") as two:
        space = await one.network.create(name)
        with pytest.raises(StepFailed) as caught:
            await two.network.create(name)
        assert isinstance(caught.value.__cause__, NameTaken)
        assert caught.value.__cause__.instance == one.instance.id
        assert str(caught.value.__cause__) == (
            f"the namespace colony-{name} belongs to another instance of Colony, "
            f"{one.instance.id}; stop that colony or give this one another name"
        )
        assert os.stat(f"/run/netns/{space.name}").st_ino == space.inode
        await one.network.destroy(space)
        await two.network.destroy(await two.network.create(name))


async def test_a_name_that_a_stranger_has(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (_, _, network):
        output("ip", "netns", "add", f"colony-{name}")
        try:
            with pytest.raises(StepFailed, match=f"ip netns delete colony-{name}"):
                await network.create(name)
            assert f"colony-{name}" in output("ip", "netns", "list")
        finally:
            output("ip", "netns", "delete", f"colony-{name}")


async def test_two_instances_have_different_pools(tmp_path: Path) -> None:
    async with rig(tmp_path / "one") as one, rig(tmp_path / "two") as two:
        assert not one.network.pool.v4.overlaps(two.network.pool.v4)
        assert not one.network.pool.v6.overlaps(two.network.pool.v6)


async def test_a_network_reopened_after_its_owners_crash_goes_on(tmp_path: Path) -> None:
    """The namespace and the pool outlive the object that made them."""
    async with rig(tmp_path) as first:
        space = await first.network.create(unique())
        reopened = await type(first.network).open(
            first.thread, first.instance, pool=first.network.pool
        )
        assert reopened.pool is first.network.pool
        table = output("nft", "list", "table", "inet", f"colony_{first.instance.id}")
        assert str(space.address.v4) in table
        other = await reopened.create(unique())
        assert other.link != space.link
        await reopened.destroy(other)
        await reopened.destroy(space)
        await reopened.close()


async def test_pins_say_whose_they_are(tmp_path: Path) -> None:
    name = unique()
    async with rig(tmp_path) as (thread, instance, network):
        space = await network.create(name)
        assert await thread.run(pins.read, thread, name) == pins.Pin(name, instance.id, space.inode)
        await network.destroy(space)
        assert await thread.run(pins.read, thread, name) is None
        other = secrets.token_hex(3)
        label = pins.Label(other)
        await thread.run(label.reserve, name)
        label.close()
        assert await thread.run(pins.read, thread, name) == pins.Pin(name, other, None)
        await thread.run(pins.remove, name)
        await thread.run(pins.remove, name)


def test_one_file_labels_all_pins_as_long_as_one_has_it(tmp_path: Path) -> None:
    directory = str(tmp_path)
    label = pins.Label("a1b2c3", directory)

    def inode(colony: str) -> int:
        return os.stat(pins.path_of(colony, directory)).st_ino

    label.reserve("a")
    label.reserve("b")
    assert inode("a") == inode("b")
    with pytest.raises(FileExistsError):
        label.reserve("a")
    for colony in ("a", "b"):
        label.close_unused()
        assert repr(label) == "<Label a1b2c3 in use>"
        pins.remove(colony, directory)
    label.reserve("c")  # the kernel gives a file without a name no other
    assert Path(pins.path_of("c", directory)).read_text() == "a1b2c3"
    pins.remove("c", directory)
    label.close_unused()
    assert repr(label) == "<Label a1b2c3 unused>"


async def test_a_colonys_files_are_on_no_disk(tmp_path: Path) -> None:
    async with rig(tmp_path) as (thread, instance, network):
        name = unique()
        space = await network.create(name)
        assert sorted(os.listdir(space.files)) == ["hosts", "resolv.conf"]
        assert not instance.files_of(name).exists()

        def seen() -> list[str]:
            with thread.inside(space):
                return sorted(os.listdir(instance.own))

        # Its neighbours' files are not there either.
        other = await network.create(unique())
        assert await thread.run(seen) == ["hosts", "resolv.conf"]
        (space.files / "hosts").write_text("192.0.2.1 nowhere\n")
        assert await network.heal(space) == ["the hosts file"]
        await network.destroy(space, other)
        assert not space.files.exists()


async def test_without_a_shelf_the_files_are_in_the_instances_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_: str) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(linux, "own_tmpfs", refused)
    async with rig(tmp_path) as (thread, instance, network):
        name = unique()
        space = await network.create(name)
        assert space.files == instance.files_of(name)

        def inside() -> str:
            with thread.inside(space):
                return read("/etc/hosts")

        assert (await thread.run(inside)).endswith(f"127.0.0.1 localhost {name}")
        await network.destroy(space)
        assert not space.files.exists()


async def test_views_made_after_the_host_has_mounted_something_have_their_files(
    tmp_path: Path,
) -> None:
    """Another mould has the same shelf."""
    async with rig(tmp_path) as (thread, _, network):
        first = await network.create(unique())
        network._host.views._stale = True
        second = await network.create(unique())

        def inside(space: Namespace) -> str:
            with thread.inside(space):
                return read("/etc/hosts").split()[-1]

        assert [await thread.run(inside, each) for each in (first, second)] == [
            first.colony,
            second.colony,
        ]
        await network.destroy(first, second)


@pytest.fixture
def no_packet_filter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine without the library: the loader is asked for one that is not there."""
    monkeypatch.setattr(nft, "LIBRARY", "libnftables-is-not-here.so.1")
    nft._library.cache_clear()
    yield
    nft._library.cache_clear()


async def test_without_the_packet_filters_library_there_still_is_a_redirect(
    tmp_path: Path, no_packet_filter: None
) -> None:
    async with rig(tmp_path) as (thread, _, network):
        assert not network.rules
        space = await network.create(unique())
        assert space.redirect
        with listen(await thread.socket(space), "127.0.0.1", 3000) as server:
            assert answer(server, await thread.connect(space, 3000), b"in") == b"in"
            assert reach(space.address.v4, 3000, server, b"veth") == b"veth"
        with listen(await thread.socket(space), "0.0.0.0", 3001) as server:
            assert reach(space.address.v4, 3001, server, b"veth") == b"veth"
        await network.destroy(space)
    with pytest.raises(PacketFilterError, match="install the package that holds it"):
        nft.Nft()


async def test_without_ipv6_on_the_host_there_is_a_network_without_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "ipv6_enabled", lambda: False)
    async with rig(tmp_path) as (thread, _, network):
        space = await network.create(unique())
        shown = query("ip", "-j", "-n", space.name, "address", "show", "eth0")
        assert str(space.address.v6) not in str(shown)
        with listen(await thread.socket(space), "127.0.0.1", 3000) as server:
            assert reach(space.address.v4, 3000, server, b"veth") == b"veth"
        await network.destroy(space)
