"""`colony run` where an instance runs already: its colonies join that, and their lines come here.

    main thread      waits for lines of the colonies, for signals, and for the worker's news
    worker threads   add the colonies, and stop them: each a request or two

first SIGINT or SIGTERM    stops the colonies that were added here, and only those; so does SIGHUP
second                     kills what is left of them
SIGKILL, or our own fault  the instance stops them (`api.bonds`)
a colony gives up          its failing service's last lines, exit status 1
a service ends it          that service's exit code (`exit_colony`)
the instance is stopped    one line, exit status 0: so is a colony that somebody else stops
the instance dies          one line, exit status 4: so if it is stopped by a signal and asked

Nothing here imports an event loop: to join takes a few milliseconds. On a terminal a table of the
services stands below the lines (`colony.lanes`).
"""

from __future__ import annotations

import functools
import os
import selectors
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

from colony.aside import Seat, Waiting, until_settled
from colony.client import (
    Client,
    ClientError,
    Gone,
    Paused,
    Problem,
    Stream,
    Unreachable,
    path_of,
)
from colony.config import Config
from colony.escapes import plain
from colony.exits import BY_CODE, Exit
from colony.lanes import Lane, Table, providing, same_terminal, wanted
from colony.signals import ending

ECHO: Final = 0.3
"""Seconds within which a second signal is taken for an echo of the first."""

SHOWN_LINES: Final = 10

LIVING: Final = ("starting", "running", "stopping")
LOOK_AGAIN: Final = 0.05
"""Seconds between two looks at a colony whose lines have ended and that has not, yet."""

TICK: Final = 1.0
"""Seconds after which the table is drawn anew, as its times go on."""

STIRRED: Final = 0.1
STEP: Final = 0.3
"""Seconds at least between two questions for what the table shows."""


class Join:
    """One `colony run` that has joined, to its exit status."""

    def __init__(
        self,
        client: Client,
        configs: list[Config],
        *,
        colour: bool,
        leave: bool = False,
        keep: bool = False,
        attach: bool = False,
        debug: bool = False,
    ) -> None:
        self.client = client
        self.keep = keep
        self.attach = attach
        self.debug = debug
        self.seat: Seat | None = None
        """While somebody sits in the terminal: what is to be shown waits."""
        self.waiting = Waiting()
        self.configs = configs
        self.colour = colour
        self.leave = leave
        """Whether what is started here runs on when we end."""
        self.streams: dict[str, Stream] = {}
        self.added: list[str] = []
        """Colonies that were started here, and so are stopped here."""
        self.adding = True
        """Whether colonies are still being added."""
        self.signal: int | None = None
        self.signalled_at = 0.0
        self.status: int = Exit.OK
        self.ending: set[str] = set()
        """Colonies whose lines have ended, while it is found out why."""
        self.lanes = Lanes(client, [config.name for config in configs], self._tell)
        self.table = Table(self.lanes.now, colour=colour) if wanted() else None
        self.shared = self.table is not None and same_terminal(sys.stdout, sys.stderr)
        self.news: list[Callable[[], None]] = []
        """What worker threads want the main thread to do."""
        self.workers: list[threading.Thread] = []
        self.bell, self.button = socket.socketpair()

    def __call__(self) -> int:
        """Runs to the end."""
        for end in (self.bell, self.button):
            end.setblocking(False)
        previous = signal.set_wakeup_fd(self.button.fileno(), warn_on_full_buffer=False)
        for number in ending():
            signal.signal(number, _nothing)
        try:
            self._run()
        except (Gone, Unreachable):
            self._complain(
                f"the instance at {self.client.address} has gone, and its colonies with it"
            )
            self.status = Exit.UNREACHABLE
        except Paused as error:
            self._complain(str(error))
            self.status = Exit.UNREACHABLE
        finally:
            self._leave_seat()
            self._end_table()
            signal.set_wakeup_fd(previous)
            for stream in self.streams.values():
                stream.close()
        for worker in self.workers:
            worker.join()
        self.bell.close()
        self.button.close()
        if self.status == Exit.UNREACHABLE or self.signal is None:
            return self.status
        return 128 + self.signal

    def _run(self) -> None:
        for config in self.configs:
            self.streams[config.name] = self._lines_of(config.name)
        self._in_a_worker(self._add_all)
        if self.table is not None:
            threading.Thread(target=self.lanes.follow, name="lanes", daemon=True).start()
        while self.streams or self.ending:
            self._turn()

    def _lines_of(self, name: str) -> Stream:
        several = len(self.configs) > 1
        query = {"colony": name, "colour": self.colour, "several": several}
        if self.debug:  # not else: an older instance that runs does not know them
            query["debug"] = True
            # Those of the instance once, whatever the number of colonies.
            query["instance"] = name == self.configs[0].name
        return self.client.stream("/api/console", query)

    def _turn(self) -> None:
        """Waits for something, and sees to all that has come."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.bell, selectors.EVENT_READ)
            for name, stream in self.streams.items():
                selector.register(stream, selectors.EVENT_READ, name)
            for key, _ in selector.select(None if self.table is None else TICK):
                if key.data is None:
                    self._rung()
                elif key.data in self.streams and not self._pump(key.data):
                    self._ended(key.data)
        self._show(b"")

    # -- lines ---------------------------------------------------------------------------------

    def _pump(self, name: str) -> bool:
        """Shows what has come of a colony's lines; False at their end."""
        piece = self.streams[name].take()
        if piece is None:
            return False
        self._show(piece)
        return True

    def _show(self, data: bytes) -> None:
        """Writes whole lines, and the table below them."""
        if self.seat is not None:
            self.waiting.add(sys.stdout.buffer, data)
            return
        if self.table is not None:
            self.lanes.stir()
            data = self.table.around(data)
        if data:
            _write(sys.stdout.buffer, data)

    # -- aside ---------------------------------------------------------------------------------

    def _sit(self) -> None:
        """In a thread: once the services are ready, somebody sits in the terminal."""
        name = self.configs[0].name
        with suppress(ClientError):
            until_settled(self.client, name)
            self._tell(functools.partial(self._sit_down, name))

    def _sit_down(self, name: str) -> None:
        if self.signal is not None or self.client.address.path is None:
            return
        if self.table is not None:
            _write(sys.stdout.buffer, self.table.hide())
        self.seat = seat = Seat(self.client.address.path, name)

        def until_left() -> None:
            seat.wait()
            self._tell(self._get_up)

        self._in_a_worker(until_left)

    def _get_up(self) -> None:
        """It is left: what has waited is shown."""
        self.seat = None
        for out, data in self.waiting.take():
            self._show(data) if out is sys.stdout.buffer else _write(out, data)

    def _leave_seat(self) -> None:
        if self.seat is not None:
            self.seat.end()
            self.seat.wait()
            self._get_up()

    def _end_table(self) -> None:
        self.lanes.end()
        if self.table is not None:
            _write(sys.stdout.buffer, self.table.end())

    def _ended(self, name: str) -> None:
        """A colony's lines have ended in good order: finds out why, if nobody here wanted it."""
        self.streams.pop(name).close()
        if self.signal is None:
            self.ending.add(name)
            self._in_a_worker(functools.partial(self._find_out, name))

    def _find_out(self, name: str) -> None:
        """In a worker: waits for the end of the colony, or of the instance, whichever it was."""
        found: dict[str, Any] | None = None
        stream: Stream | None = None
        try:
            for look in range(int(ECHO / LOOK_AGAIN) + 1):
                time.sleep(LOOK_AGAIN if look else 0.0)
                found = self.client.get(path_of("colonies", name))
                if found["state"] not in LIVING:
                    break
            else:  # it lives, and so does the instance: whoever sent its lines does not
                stream = self._lines_of(name)
        except Problem:
            found = {"state": "stopped", "exit_code": None}
        except ClientError:
            found = None  # in good order, or the lines would have broken off
        self._tell(functools.partial(self._found_out, name, found, stream))

    def _found_out(
        self, name: str, found: dict[str, Any] | None, stream: Stream | None = None
    ) -> None:
        self.ending.discard(name)
        if stream is not None:
            self.streams[name] = stream
        elif found is None:
            self._say(f"· {name} was stopped, with the instance")
        elif found["exit_code"] is not None:
            self._say(f"· {name} {found['reason']}")
            self.status = self.status or found["exit_code"]
        elif found["state"] == "stopped":
            self._say(f"· {name} was stopped")
        else:
            self.status = Exit.FAILED
            culprit = found["culprit"]
            verb = "gave up" if culprit else "has ended"
            self._complain(f"colony {name} {verb}: {found['reason']}")
            if culprit:
                self._last_lines(name, culprit)

    def _last_lines(self, name: str, service: str) -> None:
        query = {"service": service, "tail": SHOWN_LINES}
        lines = self.client.get(path_of("colonies", name, "logs"), query)["lines"]
        if lines:
            self._warn(f"  the last lines of {service}:")
            for line in lines:
                self._warn(f"  {service} | {plain(line['text'])}")

    # -- in workers ----------------------------------------------------------------------------

    def _in_a_worker(self, job: Callable[[], None]) -> None:
        worker = threading.Thread(target=job, name="join", daemon=True)
        self.workers.append(worker)
        worker.start()

    def _tell(self, news: Callable[[], None]) -> None:
        """From a worker: has the main thread call `news`."""
        self.news.append(news)
        with suppress(OSError):  # full: it is rung already; closed: nobody listens any more
            self.button.send(b"\0")

    def _add_all(self) -> None:
        try:
            self._add_each()
        finally:
            self._tell(self._all_added)

    def _all_added(self) -> None:
        """No more are added. What a signal that came meanwhile could not end is ended now."""
        self.adding = False
        if self.signal is not None:
            self._leave_others()
            self._in_a_worker(self._stop_all)

    def _leave_others(self) -> None:
        """Of what was not added here only the lines end."""
        for name in tuple(self.streams):
            if name not in self.added:
                self.streams.pop(name).close()

    def _add_each(self) -> None:
        environment = dict(os.environ)
        for config in self.configs:
            if self.signal is not None:
                return
            path = os.path.abspath(config.path)
            body = {"path": path, "env": environment, "keep": self.keep}
            if not self.leave:
                body["bound"] = True  # so that it ends with us even if we are killed
            try:
                before = self._present(config.name)
                self.client.post("/api/colonies", body)
            except ClientError as error:
                self._tell(self._refused(error))
                return
            if before or self.leave:
                runs = "runs already" if before else "has been started"
                text = f"· {config.name} {runs}; following it (Ctrl-C leaves it running)"
                self._tell(functools.partial(self._say, text))
            else:
                self.added.append(config.name)
        if self.attach and self.signal is None:
            # By a thread that nobody waits for: a service may never get ready.
            threading.Thread(target=self._sit, name="sit", daemon=True).start()

    def _present(self, name: str) -> bool:
        try:
            found = self.client.get(path_of("colonies", name))
        except Problem:
            return False
        return found["state"] in ("starting", "running")

    def _refused(self, error: ClientError) -> Callable[[], None]:
        """What is done when a colony could not be added: say why, and stop those that were."""

        def news() -> None:
            if isinstance(error, Gone | Unreachable | Paused):
                raise error
            self._complain(str(error))
            if isinstance(error, Problem):
                self.status = BY_CODE.get(error.code, Exit.FAILED)
                for line in error.data.get("last_lines", ()):
                    self._warn(f"  | {line}")
                if error.help:
                    self._warn(f"  = help: {error.help}")
            self._leave_others()
            self._in_a_worker(self._stop_all)

        return news

    def _stop_all(self, kill: bool = False) -> None:
        for name in reversed(self.added):
            try:
                self.client.delete(path_of("colonies", name), {"kill": kill})
            except Problem:
                continue  # it has ended by itself
            except ClientError as error:
                self._tell(self._refused(error))
                return

    # -- signals -------------------------------------------------------------------------------

    def _rung(self) -> None:
        """A signal has come, or a worker's news."""
        for number in self.bell.recv(256):
            if number:
                self._signalled(number)
        while self.news:
            self.news.pop(0)()

    def _signalled(self, number: int) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self.signalled_at = number, now
            self._stop()
        elif now - self.signalled_at >= ECHO:
            self._say("■ colony     killing what is left")
            self._in_a_worker(lambda: self._stop_all(kill=True))

    def _stop(self) -> None:
        """Stops what was added here; of what ran before only the lines end."""
        if self.seat is not None:
            self.seat.end()
        for name in reversed(self.added):
            self._say(f"■ {name:<10} stopping (Ctrl-C again to kill)")
        if not self.adding:
            self._leave_others()
        self._in_a_worker(self._stop_all)

    # -- words ---------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        self._show(text.encode() + b"\n")

    def _complain(self, text: str) -> None:
        self._warn(f"\x1b[31merror\x1b[0m: {text}" if self.colour else f"error: {text}")

    def _warn(self, text: str) -> None:
        line = text.encode() + b"\n"
        if self.shared:
            self._show(line)
        elif self.seat is not None:
            self.waiting.add(sys.stderr.buffer, line)
        else:
            _write(sys.stderr.buffer, line)


class Lanes:
    """What the table shows of the instance's colonies: asked for in a thread, when something has
    stirred."""

    def __init__(
        self, client: Client, names: list[str], tell: Callable[[Callable[[], None]], None]
    ) -> None:
        self.client = client
        self.names = names
        self._tell = tell
        self._services: list[dict[str, Any]] = []
        self._steps: list[tuple[str, dict[str, Any]]] = []
        self._stirred = threading.Event()
        self._over = False

    def __repr__(self) -> str:
        return f"<Lanes of {', '.join(self.names)}>"

    def stir(self) -> None:
        """Something may have changed."""
        self._stirred.set()

    def end(self) -> None:
        """No more questions."""
        self._over = True
        self._stirred.set()

    def follow(self) -> None:
        """Asks until the end, or until the instance has gone, which others notice. Blocks."""
        while not self._over:
            self._stirred.clear()
            try:
                colonies = self.client.get("/api/colonies")
            except ClientError:
                return
            mine = [each for each in colonies if each["name"] in self.names]
            services = [service for colony in mine for service in colony["services"]]
            steps = [(colony["name"], colony["step"]) for colony in mine if colony["step"]]
            if (services, steps) != (self._services, self._steps):
                self._services, self._steps = services, steps
                self._tell(_wake)
            time.sleep(STIRRED)
            # How far a step has come stirs nothing.
            self._stirred.wait(STEP if steps else None)

    def now(self) -> list[Lane]:
        """The lanes, their times as of now."""
        several, now = len(self.names) > 1, datetime.now(UTC)

        def passed(since: str | None) -> float | None:
            return (now - datetime.fromisoformat(since)).total_seconds() if since else None

        steps = [
            providing(name, each["name"], each["detail"], each["percent"], passed(each["since"]))
            for name, each in self._steps
        ]
        services = [
            Lane(
                f"{each['colony']}/{each['name']}" if several else each["name"],
                each["state"],
                each["port"],
                each["url"],
                each["restarts"],
                passed(each["since"]),
                each["detail"] or "",
            )
            for each in self._services
        ]
        return [*steps, *services]


def join(
    client: Client,
    configs: list[Config],
    *,
    colour: bool,
    leave: bool = False,
    keep: bool = False,
    attach: bool = False,
    debug: bool = False,
) -> int:
    """Adds these colonies to the instance and stays until they have ended; the exit status.

    With `leave` a signal ends only the following: the colonies run on. With `keep` what was
    provided for one stays when it cannot be started. With `attach` we sit in the first one's
    terminal once its services are ready (`colony.aside`). With `debug` faults of Colony's own in
    one come with their tracebacks.
    """
    one = Join(client, configs, colour=colour, leave=leave, keep=keep, attach=attach, debug=debug)
    return one()


def _write(out: Any, data: bytes) -> None:
    """Writes; that nobody reads any more, or the terminal is gone, does not end a colony."""
    try:
        out.write(data)
        out.flush()
    except OSError:
        return


def _wake() -> None:
    """News that is none but that there is some: the table is drawn after each."""


def _nothing(number: int, frame: object) -> None:
    """A handler that leaves it to the wake-up descriptor."""
