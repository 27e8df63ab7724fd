"""The machine that services really run on: processes of this host, in their colony's namespace.

    thread, logs = NetworkThread(), Logs()
    site = await LinuxMachine(thread, logs).site(plan, system)
    process = await site.spawn(lambda: None)

A process is started with its channels, marked as its service's in its environment, and found by
that mark for as long as anything of it lives, whoever its parent is by then.
"""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

import anyio
import anyio.to_thread

from actors import ActorDown, System, backend
from colony.config.interpolation import arguments, resolved
from colony.environment import read_env_files
from colony.logs import Logs
from colony.patterns import compiled
from colony.services.channels import Channels, LineWatch
from colony.services.ending import (
    NOBODY,
    Moment,
    Registrar,
    ask_to_end,
    left_alone,
    lingering,
)
from colony.services.holder import (
    SERVICE_VARIABLE,
    Holder,
    Search,
    family_of,
    strays_of,
    unmarked_in,
)
from colony.services.notify import NotifySocket
from colony.services.plan import DETACH, HEALTH_INTERVAL, Probe, ServicePlan
from colony.services.probes import Prober, expected, pauses
from colony.terminals.pty import closed, opened
from colony.terminals.service import (
    ServiceTerminal,
    ServiceTerminals,
    TerminalOf,
    terminals_of_services,
)
from netns import Namespace, NetworkThread, Process, spawn, sweep
from netns.actors import GetNamespace, NamespaceOwner, namespace_name
from netns.errors import SpawnError
from netns.names import COLONY_VARIABLE
from proxy.actors import DOOR, DoorOwner, Settled

FIRST_LOOK: Final = 0.005
SLOWEST_LOOK: Final = 0.25
LOOK_FACTOR: Final = 1.5
"""Seconds between two looks for what has not ended yet: short at first, then longer."""

DRAIN: Final = 0.5
LONGEST_DRAIN: Final = 10.0
"""Seconds that are waited for the end of a dead process's pipes when there is nothing to read, for
somebody else may hold them open; and at most, while there is."""

ROUTED: Final = 2.0
"""Seconds that a service which listens waits at most for its route at the front door."""

REMEMBERED: Final = 1000
"""Services of which is remembered how long they took to be ready."""

HASTE: Final = 0.005
"""Seconds for which, at most, all that a restart need not wait for is put off."""

SHARED: Final = 0.0005
"""Seconds that it takes to come back to us only if somebody else had our processor meanwhile."""

FREED: Final = 0.005
"""Seconds for which a port that its service has just left is taken for free without a look, as it
is for longer than that while the next life comes to listen. Whoever has come first nevertheless is
found when that fails."""

ON_PORT: Final = ("tcp", "http")
"""The probes that are answered by whoever listens on a port."""

DYING: Final = 3.0
"""Seconds that a listener may be nobody's until it is somebody's whom we may not look at."""


class LinuxMachine:
    """Makes sites on this host.

    thread
        The network thread, from which processes are started.
    logs
        Who reads their output.
    """

    def __init__(self, thread: NetworkThread, logs: Logs) -> None:
        self.thread = thread
        self.logs = logs
        self.registrar = Registrar()
        self.took: dict[tuple[str, str], float] = {}
        """Seconds that each service is expected to take until it is ready, by the last times."""
        self.freed: dict[tuple[str, int], float] = {}
        """When the listener on each colony's port was seen to be gone, and nothing of it left."""

    def __repr__(self) -> str:
        return f"<LinuxMachine on {self.thread!r}>"

    async def site(self, plan: ServicePlan, system: System) -> LinuxSite:
        """A site, in the colony's namespace if it has one."""
        place: Namespace | None = None
        if plan.isolated:
            owner = system.named(namespace_name(plan.colony), NamespaceOwner)
            place = await owner.call(GetNamespace())
        return LinuxSite(plan, system, self, place)


class LinuxSite:
    """One life's process, what connects it with us, and what it has started."""

    def __init__(
        self,
        plan: ServicePlan,
        system: System,
        machine: LinuxMachine,
        place: Namespace | None,
    ) -> None:
        self.plan = plan
        self.system = system
        self.thread = thread = machine.thread
        self.logs = machine.logs
        self.registrar = machine.registrar
        self.took = machine.took
        self.freed = machine.freed
        self.listened = False
        self.settled = False
        self.parting = False
        self.began: Moment | None = None
        self.elders = NOBODY
        self.place = place
        self.search = Search(thread, place)
        self.strays = self.marked = strays_of(plan.instance, plan.colony, plan.service, place)
        self.unmarked = None if place is None else unmarked_in(place)
        self.env: dict[str, str] = {}
        self.prober = Prober(plan, thread, place, self.env)
        self.process: Process | None = None
        self.channels: Channels | None = None
        self.notify: NotifySocket | None = None
        self.alive_at = 0.0
        self.why_not = ""

    def __repr__(self) -> str:
        return f"<LinuxSite of {self.plan.colony}/{self.plan.service} {self.process or 'empty'}>"

    # -- from start to ready -------------------------------------------------------------------

    async def taken(self) -> Holder | None:
        """Who else has the port, once our own strays of an earlier life are killed.

        A process that is ending has no open file any more a moment before its sockets are closed:
        a listener that is nobody's is looked at again, some seconds at most.
        """
        port, until, pause = self.plan.port, self.system.now() + DYING, FIRST_LOOK
        if port is None or self._just_freed(port):
            return None
        while True:
            late = self.system.now() > until
            holder = await self.search.holder(port)
            if holder is None or late:
                return holder
            if self._is_ours(holder):
                await sweep.kill_all(self.strays)
            elif holder.pid:
                return holder
            await anyio.sleep(pause)
            pause = min(pause * LOOK_FACTOR, SLOWEST_LOOK)

    def _just_freed(self, port: int) -> bool:
        """Whether our own listener had it a moment ago; said once."""
        freed = self.freed.pop((self.plan.colony, port), -math.inf)
        return self.system.now() - freed < FREED

    def _is_ours(self, holder: Holder) -> bool:
        return (holder.colony, holder.service) == (self.plan.colony, self.plan.service)

    async def spawn(self, found: Callable[[], None]) -> Process:
        """Starts the process, with its environment, its channels and, if need be, its socket."""
        plan = self.plan
        self.alive_at = self.system.now()
        await self._prepare_environment()
        self.began = self.registrar.lately()
        channels = self.channels = await self._open_channels()
        theirs = channels.theirs
        try:
            self.process = await spawn(
                self.thread,
                arguments(plan.argv, self.env),
                namespace=self.place,
                instance=plan.instance,
                cwd=plan.cwd,
                env=self.env,
                stdin=theirs.get("stdin"),
                stdout=theirs.get("stdout"),
                stderr=theirs.get("stderr"),
                session=plan.pty,
                controlling_tty=channels.terminal,
            )
            if self.system.events.held:
                await self._give_way()
            self.system.events.release()  # earlier lives are over before this one's first line
            channels.attach(self.logs, plan.colony, plan.service, self._line_watch(found))
            channels.started()
        except BaseException:
            if self.process is not None:
                self.process.kill_and_reap()
            self.close()
            raise
        self.registrar.services.add(self.process)
        return self.process

    async def _give_way(self) -> None:
        """Lets a process that somebody waits for go on, if it shares a processor with us, for which
        we are held up by some milliseconds.

        We were woken in the midst of its exec, and mostly on its processor: there it would wait for
        all that we do next, while another has nothing to do. If it was given the processor for a
        while, we have it now at its expense, and mostly get another one by sleeping.
        """
        began = self.system.now()
        os.sched_yield()
        if self.system.now() - began > SHARED:
            await anyio.sleep(SHARED)

    async def _open_channels(self) -> Channels:
        shown = await self._shown()
        if not self.plan.pty:
            return Channels(pty=False, shown=shown)
        ends = await self.thread.on_host.run(opened, undo=closed)
        return Channels(pty=True, shown=shown, ends=ends)

    async def settle(self) -> None:
        """Finds out who is older than the process, once: with that its end is quicker."""
        if self.began is None or self.settled:
            return
        with suppress(OSError):  # no descriptor is left to look with
            self.elders = await self.registrar.elders(self.began)
        self.settled = True

    async def _prepare_environment(self) -> None:
        plan, env = self.plan, self.env
        env.update(plan.env)
        if plan.env_files:
            env |= await anyio.to_thread.run_sync(read_env_files, plan.env_files)
        # Whatever the file says, these two stay: it is by them that strays are found.
        env |= resolved(plan.env_over, env)
        env |= {COLONY_VARIABLE: plan.colony, SERVICE_VARIABLE: plan.service}
        if plan.notifies:
            self.notify = NotifySocket(plan.runtime)
            env["NOTIFY_SOCKET"] = self.notify.path
        if plan.health is not None and plan.health.kind == "notify":
            # Without it most programs do not think of saying that they live.
            env["WATCHDOG_USEC"] = str(int((plan.health.interval or HEALTH_INTERVAL) * 1e6))

    async def _shown(self) -> ServiceTerminal | None:
        """Where its terminal is shown, if it has one."""
        if not self.plan.pty:
            return None
        with suppress(LookupError):
            name = terminals_of_services(self.plan.colony)
            keeper = self.system.named(name, ServiceTerminals)
            return await keeper.call(TerminalOf(self.plan.service))
        return None

    def _line_watch(self, found: Callable[[], None]) -> Callable[[], LineWatch] | None:
        if self.plan.ready.kind != "log":
            return None
        soon = backend.current().call_soon_threadsafe

        def seen() -> None:
            with suppress(RuntimeError):  # the loop is gone
                soon(told)

        def told() -> None:
            self.logs.flush()
            found()

        pattern = compiled(self.plan.ready.pattern)
        return lambda: LineWatch(pattern, seen)

    async def until_ready(self, probe: Probe) -> None:
        """Asks, soon at first and then less often, until the answer is good."""
        began, took, key = self.system.now(), self.took, (self.plan.colony, self.plan.service)
        looks, pause = 0, 0.0
        for pause in pauses(probe, took.get(key, 0.0)):
            await anyio.sleep(pause)
            looks += 1
            self.why_not = await self.prober.attempt(probe)
            if not self.why_not:
                break
        self.logs.flush()  # what it said until then came before
        self.listened = probe.kind in ON_PORT and probe.port == self.plan.port
        if len(took) > REMEMBERED:
            took.clear()
        took[key] = expected(self.system.now() - began, looks, pause)

    def unready(self) -> str:
        """As the prober said it last."""
        return self.why_not

    async def told(self) -> Mapping[str, str]:
        """The next message on the service's own socket."""
        assert self.notify is not None
        told = await self.notify.receive()
        if "1" in (told.get("WATCHDOG"), told.get("READY")):
            self.alive_at = self.system.now()
        return told

    async def routed(self) -> None:
        """Waits for the front door, some seconds at most."""
        with suppress(ActorDown), anyio.move_on_after(ROUTED):
            await self.system.named(DOOR, DoorOwner).call(Settled())

    async def check(self, probe: Probe, interval: float) -> str:
        """Sleeps, then asks; or, for `notify`, looks how long nothing was heard."""
        await anyio.sleep(interval)
        if probe.kind != "notify":
            return await self.prober.attempt(probe)
        silent = self.system.now() - self.alive_at
        return f"no sign of life for {silent:.3g} s" if silent > interval else ""

    # -- the ends ------------------------------------------------------------------------------

    async def left_server(self, patience: float) -> Holder | None:
        """Looks for a listener of ours while anything is left that is ours, or may be."""
        port, began, pause = self.plan.port, self.system.now(), FIRST_LOOK
        if port is None:
            return None
        await self.settle()
        while True:
            holder = await self.search.holder(port)
            if holder is not None:
                return self._adopted(holder)
            waited = self.system.now() - began
            if waited > patience or not await self._may_listen_yet(waited):
                return None
            await anyio.sleep(pause)
            pause = min(pause * LOOK_FACTOR, SLOWEST_LOOK)

    async def _may_listen_yet(self, waited: float) -> bool:
        if await lingering(self.strays, self.elders):
            return True
        unmarked = self.unmarked
        return unmarked is not None and waited < DETACH and await lingering(unmarked, self.elders)

    def _adopted(self, holder: Holder) -> Holder | None:
        """The holder, if it is ours: by its mark; or, having none, by our port, which was free when
        we began, in our colony. All that it has started is then ours, too."""
        if self._is_ours(holder):
            return holder
        place, unmarked, pid = self.place, self.unmarked, holder.pid
        if place is None or unmarked is None or pid in {elder for elder, _ in self.elders}:
            return None
        if not unmarked(pid):
            return None
        with suppress(ProcessLookupError):
            marked, family = self.marked, family_of(pid, place)
            self.strays = lambda other: family(other) or marked(other)
            return holder
        return None

    async def successor(self, pid: int) -> Holder | None:
        """Waits for the end of a process that is no child of ours, and looks who listens then."""
        await ended(pid)
        assert self.plan.port is not None
        holder = await self.search.holder(self.plan.port)
        return None if holder is None else self._adopted(holder)

    def signal_server(self, pid: int, number: int) -> None:
        """Signals it by its number."""
        with suppress(ProcessLookupError):
            os.kill(pid, number)

    async def ask_to_end(self, pid: int) -> str:
        """Runs the command that ends the service, or sends everything of it the signal; that as
        well if the command fails: why it did, if the process still runs."""
        stop, process = self.plan.stop, self.process
        assert process is not None
        why = await self._command_to_end(pid) if stop.command else ""
        if stop.command and not why:
            return ""
        await self.settle()
        await ask_to_end(process, self.strays, stop.signal, self.elders)
        if self.plan.pty and stop.signal == signal.SIGTERM:
            # A shell at a terminal ignores SIGTERM; that its terminal is gone it understands.
            process.signal_group(signal.SIGHUP)
        return why

    async def _command_to_end(self, pid: int) -> str:
        try:
            why = await self.prober.run(
                self.plan.stop.command, {**self.env, "COLONY_PID": str(pid)}
            )
        except SpawnError as error:
            return str(error)
        ended = self.process is None or self.process.poll() is not None
        return "" if ended else why  # what asks a server to end may lose its answer

    async def strays_ended(self) -> None:
        """Looks until nobody is left: a shell that is told to end does so at once, and leaves its
        server no time."""
        pause = FIRST_LOOK
        while await lingering(self.strays, self.elders):
            await anyio.sleep(pause)
            pause = min(pause * LOOK_FACTOR, SLOWEST_LOOK)

    def over(self) -> bool:
        """As far as one look at those who came after the process tells: mostly it does.

        If it has not left much to read either, to read that, to close its channels and to let go of
        it, and to tell everybody of its end, are put off until the next life has begun: together
        they take half as long as all the rest of a restart.
        """
        if self.channels is None or self.process is None or not self._alone():
            return False
        if self.listened and self.plan.port is not None:
            if len(self.freed) > REMEMBERED:
                self.freed.clear()
            self.freed[self.plan.colony, self.plan.port] = self.system.now()
        if self.channels.put_off(self.logs):
            self.parting = True
            self.system.events.hold(self._part)
            self.system.timers.after(HASTE, self.system.events.release)
            return True
        self.channels.finish(self.logs)
        if self.channels.empty:
            self.process.kill_and_reap()
        return self.channels.empty

    def _part(self) -> None:
        """What was put off."""
        self.parting = False
        assert self.channels is not None
        assert self.process is not None
        self.channels.finish(self.logs)
        self.process.kill_and_reap()
        self.close()

    def _alone(self) -> bool:
        ended = self.process is not None and self.process.poll() is not None
        return ended and self.began is not None and self.registrar.glance(self.began)

    async def sweep(self) -> int:
        """Kills the strays; how many there were.

        Mostly there are none, and one look at those who came after it tells so. The sweep proper,
        which outruns whoever does nothing but fork, would put off each restart by milliseconds.
        """
        if self._alone():
            return 0
        await self.settle()
        everybody = await anyio.to_thread.run_sync(left_alone, self.strays, self.elders)
        if everybody is not None:
            self.registrar.note(everybody)
            return 0
        killed = await sweep.kill_all(self.strays)
        pid = None if self.process is None else self.process.pid
        return sum(each.pid != pid for each in killed)

    async def drained(self) -> None:
        """Waits for the readers, but not for ever; and not at all for what is put off, since that
        comes before anybody is told of the end."""
        channels = self.channels
        if channels is None or self.parting:
            return
        channels.finish(self.logs)
        until = self.system.now() + LONGEST_DRAIN
        while not channels.empty and self.system.now() < until:
            with anyio.move_on_after(DRAIN):
                await channels.drained()
            if not channels.unread(self.logs):
                return

    def write(self, data: bytes) -> int:
        """Writes what its input takes without waiting."""
        assert self.channels is not None
        return self.channels.write(data)

    def close(self) -> None:
        """Closes the channels and removes the socket."""
        if self.parting:
            return  # it is going to be done
        if self.process is not None:
            self.registrar.services.discard(self.process)
        if self.channels is not None:
            self.channels.close(self.logs)
        if self.notify is not None:
            self.notify.close()


async def ended(pid: int) -> None:
    """Waits until a process that is no child of ours has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        await anyio.wait_readable(pidfd)
    finally:
        os.close(pidfd)
