"""A colony's complete network, made by a table of steps and unmade by reading it backwards.

Law: `STEPS` is the whole recipe. Every step undoes itself, done or half done; when one fails it and
those before it are undone, last first, and the error names it. Destruction is the same undoing.

    namespace ─ pin ─ link ─ host side ─ inside ─ redirect ─ files ─ view ─ egress ─ routes

`namespace` takes one that is ready, if there is, with its `redirect` (see `netns.bare`). `inside`
sets the inner end up, and `routes` comes last: the kernel tells the host's end of that at once, on
another processor and under the lock that every route needs (0.3 ms with 500). What is in between
needs no such lock.

               host                        namespace colony-{name}
    ┌─────────────────────────┐        ┌──────────────────────────────────┐
    │ vc{instance}{serial}    │  veth  │ eth0  10.200.0.2/32              │
    │ 10.200.0.1/32 ──────────┼────────┤       default via 10.200.0.1     │
    │ 10.200.0.2 dev vc…      │        │ lo    127.0.0.1 ← all that comes │
    └─────────────────────────┘        └──────────────────────────────────┘

Routed point to point, no bridge: a bridge floods each newcomer to every port, so that creation
grows with their number. The gateway's address is on every host end, so that no shared device
exists whose life somebody would have to manage, and the kernel's reverse-path check (`rp_filter`)
stops a colony that speaks under another's address.

Both ends have the same hardware address and ask for none (`NOARP`), so that no neighbour has to be
found, over IPv4 or IPv6, and the IPv6 addresses that the kernel makes up for a link (fe80::…) are
wanted by nobody: they are not made. They were half of what the kernel goes through, under its
routing lock, when a link comes up.

All of this runs on the network thread. The asynchronous face is `netns.network`.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Final, Literal

import msgspec

from netns import messages, names, netlink, pins, ruleset, userns
from netns.bare import LOOPBACK_INDEX, redirect_home
from netns.errors import NetnsError, StepFailed
from netns.host import Host
from netns.netlink import Netlink
from netns.nfnetlink import Packets
from netns.pool import Address
from netns.thread import NetworkThread, Place

Egress = Literal["nat", "some", "none"]
EGRESS: Final[tuple[Egress, ...]] = ("nat", "some", "none")

OnStep = Callable[[str, float], object]

DEFAULT_MTU: Final = 1500

_ANYWHERE4: Final = ip_network("0.0.0.0/0")
_ANYWHERE6: Final = ip_network("::/0")

_HOST_CONF4: Final = ((messages.RP_FILTER, 1),)
# Without it the kernel refuses a packet from outside for 127.0.0.1. Harmless in here, where the
# only neighbour is the host; never set on the host itself.
_INNER_CONF4: Final = ((messages.ROUTE_LOCALNET, 1),)

# (setting, value, whether the kernel may lack it)
_HOST_SETTINGS: Final = (
    # A colony must not become the host's router by advertising itself.
    ("ipv6/conf/{link}/accept_ra", "0", True),
)


class Plan(msgspec.Struct, frozen=True):
    """What a colony's network shall be.

    hosts, resolv_conf
        The text of the colony's own files.
    egress
        "nat": out through the host's address. "none": no way out, not even to the host. "some":
        the way is there, and leads where `Network.permit` says.
    """

    colony: str
    address: Address
    hosts: str
    resolv_conf: str
    egress: Egress = "nat"
    mtu: int = DEFAULT_MTU


class Namespace:
    """A colony's network, from `Network.create` to `Network.destroy`.

    name
        What `ip netns list` shows.
    place
        Its descriptors, for `NetworkThread.inside`, `socket`, `connect` and `spawn`.
    inode
        The network namespace's inode, by which its processes are found.
    link
        The veth pair's end on the host.
    files
        The directory of its own files.
    hosts
        The text that its hosts file should have; `hosts_file` is that file's device and inode.
    redirect
        Whether a server on the colony's 127.0.0.1 is reached by its address from outside; False
        where the kernel has no packet filter.
    covered
        The directories of other instances that it does not see.
    detours
        The TCP ports that are reached at another one, and that one; see `lead`. `udp_detours` the
        same for UDP; None where there never was one.
    steps
        The milliseconds of each step.
    """

    __slots__ = (
        "_mnt",
        "_net",
        "address",
        "colony",
        "covered",
        "detours",
        "egress",
        "files",
        "hosts",
        "hosts_file",
        "inode",
        "instance",
        "ipv6",
        "link",
        "mtu",
        "redirect",
        "steps",
        "udp_detours",
    )

    def __init__(self, plan: Plan, instance: str, files: Path, ipv6: bool) -> None:
        self.colony = plan.colony
        self.address = plan.address
        self.egress = plan.egress
        self.mtu = plan.mtu
        self.hosts = plan.hosts
        self.hosts_file = (0, 0)
        self.instance = instance
        self.files = files
        self.ipv6 = ipv6
        self.inode = 0
        self.link = ""
        self.redirect = False
        self.covered: frozenset[str] = frozenset()
        self.detours: dict[int, int] = {}
        self.udp_detours: dict[int, int] | None = None
        self.steps: dict[str, float] = {}
        self._net: int | None = None
        self._mnt: int | None = None

    def __repr__(self) -> str:
        state = "open" if self._net is not None else "gone"
        return f"<Namespace {self.name} {self.address} {state}>"

    @property
    def name(self) -> str:
        return names.namespace_name(self.colony)

    @property
    def milliseconds(self) -> float:
        """All steps together."""
        return sum(self.steps.values())

    @property
    def is_open(self) -> bool:
        return self._net is not None

    @property
    def place(self) -> Place:
        """Raises `NetnsError` once the namespace is destroyed."""
        if self._net is None:
            raise NetnsError(f"the namespace {self.name} is gone")
        return Place(self._net, self._mnt, self.inode)

    def let_go(self) -> None:
        """Closes what of it is open, and removes nothing: for one whose network can no longer do
        that. Of no effect once it is destroyed."""
        for fd in (self._net, self._mnt):
            if fd is not None:
                os.close(fd)
        self._net = self._mnt = None


class Build:
    """A namespace in the making or unmaking, with all that the steps need."""

    __slots__ = (
        "host",
        "index",
        "inner",
        "let_out",
        "packets",
        "plan",
        "reserved",
        "space",
        "thread",
    )

    def __init__(self, thread: NetworkThread, host: Host, plan: Plan, space: Namespace) -> None:
        self.thread = thread
        self.host = host
        self.plan = plan
        self.space = space
        self.inner: Netlink | None = None
        self.packets: Packets | None = None
        self.index = names.INNER_INDEX  # of eth0: the first device in a new namespace
        self.reserved = False
        self.let_out = False

    @property
    def instance(self) -> str:
        return self.host.instance.id

    def leave(self) -> None:
        """Closes the sockets that were made inside."""
        for made in (self.inner, self.packets):
            if made is not None:
                made.close()
        self.inner = self.packets = None

    def inside(self) -> contextlib.AbstractContextManager[None]:
        """The network namespace alone, for the host's /proc and files are wanted there."""
        return self.thread.inside(Place(self.space.place.net))


class Step(msgspec.Struct, frozen=True):
    """One line of the recipe. `undo` must bear that `do` was never or half done."""

    name: str
    do: Callable[[Build], None]
    undo: Callable[[Build], None]


def _nothing(_: Build) -> None:
    """Gone with the namespace or the link."""


def _write_files(b: Build) -> None:
    directory = str(b.space.files)
    try:
        os.mkdir(directory, 0o755)
    except FileNotFoundError:  # the instance's first
        os.makedirs(directory, 0o755)
    _write(f"{directory}/resolv.conf", b.plan.resolv_conf)
    status = _write(f"{directory}/hosts", b.plan.hosts)
    b.space.hosts_file = (status.st_dev, status.st_ino)


def _write(path: str, text: str) -> os.stat_result:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
        return os.fstat(fd)
    finally:
        os.close(fd)


def _remove_files(b: Build) -> None:
    b.host.views.remove_files(b.plan.colony)


def _make_namespace(b: Build) -> None:
    made = b.host.take_bare(b.thread)
    b.space._net, b.inner, b.packets = made.net, made.inner, made.packets
    b.space.redirect = made.redirect
    b.space.inode = os.fstat(made.net).st_ino
    # Before the pin: whoever finds a pin must be able to tell whose it is.
    alias = names.alias(b.instance, b.plan.colony)
    assert b.inner is not None
    b.inner.send(messages.configure_link(LOOPBACK_INDEX, "lo", alias=alias))


def _drop_namespace(b: Build) -> None:
    b.leave()
    net, b.space._net = b.space._net, None
    if net is not None:
        os.close(net)


def pin(b: Build) -> None:
    directory = b.host.instance.pins
    if userns.entered() and (other := b.host.instance.other_with(b.plan.colony)):
        # Their pins are in mount namespaces that do not know of each other; their files do.
        raise pins.taken_by(b.plan.colony, other)
    try:
        b.host.label.reserve(b.plan.colony)
    except FileExistsError:
        raise pins.name_taken(b.thread, b.plan.colony, b.instance, directory) from None
    b.reserved = True
    with b.host.views.own_change():
        pins.mount(b.plan.colony, b.space.place.net, directory)


def _unpin(b: Build) -> None:
    if b.reserved:
        with b.host.views.own_change():
            pins.remove(b.plan.colony, b.host.instance.pins)
        b.host.label.close_unused()
        b.reserved = False


def make_link(b: Build) -> None:
    link = b.host.next_link()
    group = names.link_group(b.instance)
    b.host.netlink.send(messages.create_veth(link, group, b.plan.mtu, b.space.place.net))
    b.space.link = link


def _delete_link(b: Build) -> None:
    if b.space.link and netlink.exists(b.space.link):
        b.host.netlink.send(messages.delete_link(b.space.link))


def configure_host_side(b: Build) -> None:
    # The settings come first: no packet passes before both ends are up.
    for setting, value, optional in _HOST_SETTINGS:
        b.host.settings.write(setting.format(link=b.space.link), value, optional=optional)
    index = netlink.index_of(b.space.link)
    address, metric = b.plan.address, b.host.instance.number
    alias = names.alias(b.instance, b.plan.colony)
    requests = [
        messages.configure_link(
            index, b.space.link, alias=alias, settings4=_HOST_CONF4, only_given6=b.space.ipv6
        ),
        messages.add_altname(index, names.altname(b.plan.colony)),
    ]
    if b.space.ipv6:
        # While the link is down: each new address of one that is up makes the kernel look through
        # all links' routes for multicast (0.1 ms with 500). For IPv4 it is the other way round.
        requests.append(messages.add_address(index, address.gateway6))
    requests += [
        messages.set_up(index, b.space.link),
        messages.add_address(index, address.gateway4),
        messages.add_route(address.v4, index, metric, source=address.gateway4),
    ]
    if b.space.ipv6:
        requests.append(messages.add_route(address.v6, index, metric, source=address.gateway6))
    b.host.netlink.send(*requests)


def _delete_host_routes(b: Build) -> None:
    # They would go with the link; but the link goes some milliseconds later, and until then a
    # connection to the colony should fail at once.
    if not b.space.link or not netlink.exists(b.space.link):
        return
    index, metric = netlink.index_of(b.space.link), b.host.instance.number
    requests = [messages.delete_route(b.plan.address.v4, index, metric)]
    if b.space.ipv6:
        requests.append(messages.delete_route(b.plan.address.v6, index, metric))
    b.host.netlink.send(*requests)


def set_inside_up(b: Build) -> None:
    assert b.inner is not None
    b.inner.send(
        messages.configure_link(
            b.index, names.INNER_INTERFACE, settings4=_INNER_CONF4, only_given6=b.space.ipv6
        ),
        messages.set_up(b.index, names.INNER_INTERFACE),
    )


def route_inside(b: Build) -> None:
    assert b.inner is not None
    b.inner.send(*inner_routes(b))


def inner_routes(b: Build) -> list[messages.Request]:
    """What gives a namespace its addresses and its ways."""
    index, address, metric = b.index, b.plan.address, b.host.instance.number
    out = b.plan.egress != "none"
    requests = [
        messages.add_address(index, address.v4),
        messages.add_route(address.gateway4, index, metric),
    ]
    # Without a way out there still is one to the neighbours: who may be reached, the host decides.
    reached = (_ANYWHERE4,) if out else tuple(pool.v4 for pool in b.host.pool.all)
    requests += [
        messages.add_route(each, index, metric, gateway=address.gateway4) for each in reached
    ]
    if b.space.ipv6:
        requests += [
            messages.add_address(index, address.v6),
            messages.add_route(address.gateway6, index, metric),
        ]
        # A default route that leads nowhere costs every client a timeout before it tries IPv4.
        if out and b.host.forwards_ipv6():
            gateway6 = address.gateway6
            requests.append(messages.add_route(_ANYWHERE6, index, metric, gateway=gateway6))
    return requests


def _redirect(b: Build) -> None:
    assert b.packets is not None
    if not b.space.redirect:
        b.space.redirect = redirect_home(b.packets, required=b.host.rules)


def _make_view(b: Build) -> None:
    b.space._mnt = b.host.views.make(b.thread, b.plan.colony)
    b.space.covered = b.host.views.covered


def _drop_view(b: Build) -> None:
    mnt, b.space._mnt = b.space._mnt, None
    if mnt is not None:
        os.close(mnt)


def _let_out(b: Build) -> None:
    if b.plan.egress == "nat":
        b.host.let_out(b.plan.address)
        b.let_out = True


def _keep_in(b: Build) -> None:
    if b.let_out:
        b.let_out = False
        b.host.keep_in(b.plan.address)


STEPS: Final = (
    Step("namespace", _make_namespace, _drop_namespace),
    Step("pin", pin, _unpin),
    Step("link", make_link, _delete_link),
    Step("host side", configure_host_side, _delete_host_routes),
    Step("inside", set_inside_up, _nothing),
    Step("redirect", _redirect, _nothing),
    Step("files", _write_files, _remove_files),
    Step("view", _make_view, _drop_view),
    Step("egress", _let_out, _keep_in),
    Step("routes", route_inside, _nothing),
)


def create(thread: NetworkThread, host: Host, plan: Plan, on_step: OnStep | None) -> Namespace:
    """Makes a colony's network. On the network thread.

    on_step
        Called after each step, on this thread, with its name and milliseconds. What it raises
        counts as the step's failure.

    Raises `StepFailed`; then nothing is left.
    """
    files = host.views.files_of(thread, plan.colony)
    space = Namespace(plan, host.instance.id, files, host.ipv6)
    build = Build(thread, host, plan, space)
    for number, step in enumerate(STEPS):
        begun = time.perf_counter()
        try:
            step.do(build)
            space.steps[step.name] = (time.perf_counter() - begun) * 1000
            if on_step:
                on_step(step.name, space.steps[step.name])
        except BaseException as error:
            failure = StepFailed(plan.colony, step.name, error)
            for trouble in undo(build, STEPS[: number + 1]):
                failure.add_note(f"while undoing: {trouble}")
            if not isinstance(error, Exception):
                raise
            raise failure from error
    build.leave()
    return space


def lead(
    thread: NetworkThread,
    space: Namespace,
    port: int,
    other: int | None,
    protocol: ruleset.Transport = "tcp",
) -> None:
    """What arrives for a port of the colony goes to this other one on 127.0.0.1; None: to itself
    again. On the network thread. Raises `PacketFilterError`."""
    if protocol == "udp":
        known = {} if space.udp_detours is None else space.udp_detours
        first = () if space.udp_detours is not None else ruleset.udp_detours()
    else:
        known, first = space.detours, ()
    with thread.inside(Place(space.place.net)), Packets() as packets:
        if other is None:
            change = ruleset.delete_detour(port, protocol)
            packets.apply(f"ending the detour of {protocol} port {port}", *first, change)
            known.pop(port, None)
        else:
            change = ruleset.add_detour(port, other, protocol)
            packets.apply(f"leading {protocol} port {port} to {other}", *first, change)
            known[port] = other
    if protocol == "udp":
        space.udp_detours = known


def undo(build: Build, steps: tuple[Step, ...] = STEPS, *, spare: str = "") -> list[Exception]:
    """Undoes the steps, last first, all of them; returns what went wrong on the way.

    spare
        The name of a step to leave undone.
    """
    errors: list[Exception] = []
    for step in reversed(steps):
        if step.name == spare:
            continue
        try:
            step.undo(build)
        except Exception as error:
            errors.append(error)
    return errors


def dismantle(thread: NetworkThread, host: Host, space: Namespace) -> list[Exception]:
    """Undoes a whole namespace but for its link, which the kernel removes by itself once nothing
    refers to the namespace (see `Network.destroy`). On the network thread."""
    plan = Plan(space.colony, space.address, "", "", space.egress)
    build = Build(thread, host, plan, space)
    build.reserved = space.is_open
    build.let_out = space.is_open and space.egress == "nat"
    return undo(build, spare="link")
