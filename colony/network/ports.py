"""Ports of the host that lead into colonies, and the colony that has the plain ones.

    ports           (one per instance)  every forward, and the sockets that listen for them
    ports of X      (one per colony)    what X's file wants; X's forwards stand while it lives

Law: a port of the host has one holder, who is named to whoever else wants it. A colony whose
forwards cannot all be had does not start; so nobody believes to talk to it and talks to another.

`focus` gives one colony at a time the plain ports: localhost:3000 is then its port 3000. A forward
that a file asks for comes before a focus, and the focus gives way.

Should `ports` die, its connections end with it; the colonies hear of its next life (`follow`) and
tell it again what they want. What was added by hand is forgotten then, and said to be.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

import anyio
import anyio.to_thread
import msgspec

from actors import (
    Actor,
    ActorDown,
    Call,
    Cast,
    Context,
    Down,
    Event,
    Ignore,
    OwnedTask,
    Ref,
    Refused,
    events,
    on,
)
from colony.network import splice
from colony.network.forms import Forward, overlap
from colony.places import Places
from colony.services.holder import holder_of
from proxy.ports import let_go

PORTS: Final = "ports"
"""The name of `HostPorts` in its system."""

BACKLOG: Final = 128

AUTOMATIC: Final = 10
"""How many ports are tried for `auto`: one that is free on 127.0.0.1 may be taken on ::1."""


def ports_name(colony: str) -> str:
    """The name of a colony's own actor for its ports."""
    return f"ports/{colony}"


class Standing(msgspec.Struct, frozen=True):
    """A forward that stands.

    host_port
        The one that it has; of `auto`, the one that was free.
    addresses
        Where it listens on the host.
    origin
        Who wanted it: the colony's file, somebody while it runs, or `colony focus`.
    """

    colony: str
    forward: Forward
    host_port: int
    addresses: tuple[str, ...]
    origin: str = "file"


class ForwardOpened(Event, frozen=True, kw_only=True):
    """A port of the host leads to a colony's port now."""

    colony: str
    forward: str
    host_port: int
    addresses: tuple[str, ...]


class ForwardClosed(Event, frozen=True, kw_only=True):
    """A port of the host leads nowhere any more."""

    colony: str
    forward: str
    host_port: int


class FocusChanged(Event, frozen=True, kw_only=True):
    """The plain localhost ports are this colony's now; "": nobody's. `missed` says which ones it
    could not get, and why."""

    colony: str
    ports: tuple[int, ...]
    missed: tuple[str, ...] = ()


class Claim(Call["HostPorts", tuple[Standing, ...]], frozen=True):
    """A colony wants these forwards for as long as `owner` lives: all of them, or `Refused`.

    plain
        The ports of its services, for `Focus`.
    isolated
        Whether they are its own. On the host's network a forward from a port to itself is there
        already, and there is nothing to focus.
    """

    owner: Ref[Any]
    colony: str
    forwards: tuple[Forward, ...]
    plain: tuple[int, ...] = ()
    isolated: bool = True


class AddForward(Call["HostPorts", Standing], frozen=True):
    """One more forward while the colony runs. `Refused` if it cannot be had."""

    colony: str
    forward: Forward


class RemoveForward(Call["HostPorts", Standing], frozen=True):
    """Closes the forward at a port of the host. `Refused` if there is none."""

    colony: str
    host_port: int
    protocol: str = "tcp"


class GetForwards(Call["HostPorts", tuple[Standing, ...]], frozen=True):
    """All forwards that stand, of all colonies."""


class Focus(Call["HostPorts", FocusChanged], frozen=True):
    """Gives the plain localhost ports to a colony; "": to nobody. `Refused` for an unknown one."""

    colony: str


class GetFocus(Call["HostPorts", str], frozen=True):
    """Which colony has the plain ports; "" if none."""


class _Owner(msgspec.Struct):
    """What is remembered of a colony."""

    ref: Ref[Any]
    plain: tuple[int, ...]
    isolated: bool


class HostPorts(Actor):
    """Owns the sockets on the host that lead into colonies.

    places
        The way in.
    """

    def __init__(self, places: Places) -> None:
        self.places = places
        self.owners: dict[str, _Owner] = {}
        self.standing: dict[Standing, OwnedTask] = {}
        self.focused = ""

    # -- asked for -----------------------------------------------------------------------------

    @on(Claim)
    async def claim(self, msg: Claim) -> tuple[Standing, ...]:
        wanted = [f for f in msg.forwards if msg.isolated or not _is_itself(f)]
        for forward in wanted:
            self._refuse_held(forward, msg.colony)
        kept = [each for each in self._of(msg.colony) if each.forward in wanted]
        await self._close(each for each in self._of(msg.colony) if each not in kept)
        opened: list[Standing] = []
        before = self.owners.get(msg.colony)
        self.owners[msg.colony] = _Owner(msg.owner, msg.plain, msg.isolated)
        try:
            for forward in wanted:
                if all(each.forward != forward for each in kept):
                    opened.append(await self._open(msg.colony, forward, "file"))
        except BaseException:
            await self._close(opened)
            del self.owners[msg.colony]
            if before is not None:
                self.owners[msg.colony] = before
            raise
        self.ctx.monitor(msg.owner)
        if self.focused == msg.colony and msg.isolated:
            await self._focus_on(msg.colony)
        return (*kept, *opened)

    @on(AddForward)
    async def add(self, msg: AddForward) -> Standing:
        if not self._known(msg.colony).isolated and _is_itself(msg.forward):
            raise Refused(f"colony {msg.colony} is on the host's network: the port is its own")
        self._refuse_held(msg.forward, "")
        return await self._open(msg.colony, msg.forward, "asked")

    @on(RemoveForward)
    async def remove(self, msg: RemoveForward) -> Standing:
        self._known(msg.colony)
        for each in self._of(msg.colony):
            if (each.host_port, each.forward.protocol) == (msg.host_port, msg.protocol):
                await self._close([each])
                return each
        there = (
            ", ".join(f"{each.host_port}/{each.forward.protocol}" for each in self._of(msg.colony))
            or "none"
        )
        raise Refused(
            f"colony {msg.colony} has no forward at port {msg.host_port}/{msg.protocol} of the "
            f"host; it has {there}"
        )

    @on(GetForwards)
    def forwards(self, _msg: GetForwards) -> tuple[Standing, ...]:
        return tuple(self.standing)

    @on(Focus)
    async def focus(self, msg: Focus) -> FocusChanged:
        if msg.colony and not self._known(msg.colony).isolated:
            raise Refused(f"colony {msg.colony} is on the host's network: its ports are plain ones")
        await self._close([each for each in self.standing if each.origin == "focus"])
        self.focused = msg.colony
        if msg.colony:
            return await self._focus_on(msg.colony)
        return self._tell_focus((), ())

    @on(GetFocus)
    def get_focus(self, _msg: GetFocus) -> str:
        return self.focused

    @on(Down)
    async def gone(self, msg: Down) -> None:
        """A colony has ended: its forwards go. Unless its actor lives again."""
        for colony, owner in tuple(self.owners.items()):
            if owner.ref == msg.ref and not msg.ref.alive:
                del self.owners[colony]
                await self._close(self._of(colony))
                if colony == self.focused:
                    self.focused = ""
                    self._tell_focus((), ())

    # -- done ----------------------------------------------------------------------------------

    async def _focus_on(self, colony: str) -> FocusChanged:
        had, missed = [], []
        for port in self.owners[colony].plain:
            wanted = Forward(port, port)
            mine = [each for each in self._of(colony) if overlap(_as_held(each), wanted)]
            if not mine:
                try:
                    self._refuse_held(wanted, "")
                    await self._open(colony, wanted, "focus")
                except Refused as refused:
                    missed.append(str(refused))
                    continue
            elif mine[0].forward.port != port:
                missed.append(f"port {port} of the host leads to port {mine[0].forward.port}")
                continue
            had.append(port)
        return self._tell_focus(tuple(had), tuple(missed))

    def _tell_focus(self, ports: tuple[int, ...], missed: tuple[str, ...]) -> FocusChanged:
        now = self.ctx.now
        changed = FocusChanged(at=now, colony=self.focused, ports=ports, missed=missed)
        self.ctx.system.publish(changed)
        return changed

    async def _open(self, colony: str, forward: Forward, origin: str) -> Standing:
        given_way = [
            each
            for each in self.standing
            if each.origin == "focus" and overlap(_as_held(each), forward)
        ]
        await self._close(given_way)
        sockets = await _listen(forward)
        port = int(sockets[0].getsockname()[1])
        standing = Standing(
            colony, forward, port, tuple(str(sock.getsockname()[0]) for sock in sockets), origin
        )
        self.standing[standing] = self.ctx.run(
            self._serve, standing, sockets, name=f"{colony} {forward}"
        )
        self.ctx.system.publish(
            ForwardOpened(
                at=self.ctx.now,
                colony=colony,
                forward=str(forward),
                host_port=port,
                addresses=standing.addresses,
            )
        )
        return standing

    async def _serve(self, standing: Standing, sockets: list[socket.socket]) -> None:
        colony = standing.colony if self.owners[standing.colony].isolated else None
        port = standing.forward.port
        if standing.forward.protocol == "tcp":
            await splice.serve(sockets, lambda: self.places.connect(colony, port))
            return
        async with anyio.create_task_group() as tasks:
            for sock in sockets:
                tasks.start_soon(splice.relay, sock, lambda: self.places.connect_udp(colony, port))

    async def _close(self, which: Iterable[Standing]) -> None:
        """Returns once the ports are free."""
        for each in tuple(which):
            task = self.standing.pop(each, None)
            if task is None:
                continue
            task.cancel()
            await task.done
            self.ctx.system.publish(
                ForwardClosed(
                    at=self.ctx.now,
                    colony=each.colony,
                    forward=str(each.forward),
                    host_port=each.host_port,
                )
            )

    # -- known ---------------------------------------------------------------------------------

    def _of(self, colony: str) -> list[Standing]:
        return [each for each in self.standing if each.colony == colony]

    def _known(self, colony: str) -> _Owner:
        if colony not in self.owners:
            there = ", ".join(sorted(self.owners)) or "none"
            raise Refused(f"no colony {colony!r} runs in this instance; there are: {there}")
        return self.owners[colony]

    def _refuse_held(self, forward: Forward, by_other_than: str) -> None:
        for each in self.standing:
            if each.colony == by_other_than or each.origin == "focus":
                continue
            if overlap(_as_held(each), forward):
                raise Refused(
                    f"port {forward.host_port} of the host is colony {each.colony}'s "
                    f"({each.forward}); choose another, or auto:{forward.port}"
                )


def _is_itself(forward: Forward) -> bool:
    """Whether it leads from localhost to the same port, which on the host's network is no way."""
    return not forward.address and forward.host_port == forward.port


def _as_held(standing: Standing) -> Forward:
    return msgspec.structs.replace(standing.forward, host_port=standing.host_port)


async def _listen(forward: Forward) -> list[socket.socket]:
    """Sockets at all addresses of a forward, on one port. Raises `Refused` in words."""
    for _ in range(0 if forward.host_port else AUTOMATIC):
        with contextlib.suppress(Refused):  # somebody has that port at another address
            return await _listen_once(forward)
    return await _listen_once(forward)


async def _listen_once(forward: Forward) -> list[socket.socket]:
    made: list[socket.socket] = []
    port = forward.host_port
    try:
        for address in forward.addresses:
            try:
                made.append(_bound(str(address), port, forward.protocol))
            except OSError as error:
                if made and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    continue  # no IPv6 on this machine
                raise
            port = port or int(made[0].getsockname()[1])
    except OSError as error:
        for sock in made:
            let_go(sock)
        raise Refused(await _why(forward, port, error)) from None
    return made


def _bound(address: str, port: int, protocol: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        if protocol == "tcp":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        if protocol == "tcp":
            sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


async def _why(forward: Forward, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        holder = None
        if forward.protocol == "tcp":
            holder = await anyio.to_thread.run_sync(holder_of, port)
        who = f"taken by {holder}" if holder else "taken"
        return f"port {port} of the host is {who}; choose another, or auto:{forward.port}"
    if error.errno == errno.EACCES:
        return (
            f"port {port} of the host is for root (below 1024); choose one from 1024 on, "
            f"or run Colony as root"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{forward.address or 'localhost'} is no address of this host, for {forward}"
    return f"port {port} of the host cannot be had: {os.strerror(error.errno or 0)}"


# -- one colony's ----------------------------------------------------------------------------------


class ClaimAgain(Cast["ColonyPorts"], frozen=True):
    """`ports` has begun a new life and knows of nobody."""


class ColonyPorts(Actor):
    """Sees to it that a colony's forwards stand for as long as it lives.

    forwards, plain, isolated
        As for `Claim`.
    """

    def __init__(
        self,
        colony: str,
        forwards: tuple[Forward, ...] = (),
        plain: tuple[int, ...] = (),
        isolated: bool = True,
    ) -> None:
        self.colony = colony
        self.forwards = forwards
        self.plain = plain
        self.isolated = isolated

    async def start(self) -> Ignore | None:
        follow(self.ctx, self.ctx.system.named(PORTS, HostPorts).path, ClaimAgain())
        await self._claim()
        return None

    @on(ClaimAgain)
    async def _again(self, _msg: ClaimAgain) -> None:
        with suppress(ActorDown):  # dead again: its next life will be told of, too
            await self._claim()

    async def _claim(self) -> None:
        me = self.ctx.ref
        claim = Claim(me, self.colony, self.forwards, self.plain, self.isolated)
        await self.ctx.system.named(PORTS, HostPorts).call(claim)


def follow(ctx: Context[Any], path: str, message: Cast[Any]) -> None:
    """Tells an actor `message`, as long as it lives, whenever the actor at `path` has begun a new
    life."""

    def note(event: Event) -> None:
        if isinstance(event, events.Started) and event.actor == path:
            ctx.ref.tell(message)

    async def until_the_end(leave: Callable[[], None]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            leave()

    leave = ctx.system.events.listen(note, events.Started)
    ctx.run(until_the_end, leave, name=f"follow {path}")
