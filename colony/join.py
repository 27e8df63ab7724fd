"""`colony run` where an instance runs already: its colonies join that, and their lines come here.

    main thread      waits for lines of the colonies, for signals, and for the worker's news
    worker threads   add the colonies, and stop them: each a request or two

first SIGINT or SIGTERM    stops the colonies that were added here, and only those; so does SIGHUP
second                     kills what is left of them
a colony gives up          its failing service's last lines, exit status 1
the instance dies          one line, exit status 4

Nothing here imports an event loop: to join takes a few milliseconds.
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
from typing import Any, Final

from colony.client import Client, ClientError, Gone, Problem, Stream, Unreachable, path_of
from colony.config import Config
from colony.exits import BY_CODE, Exit
from colony.signals import ending

ECHO: Final = 0.3
"""Seconds within which a second signal is taken for an echo of the first."""

SHOWN_LINES: Final = 10


class Join:
    """One `colony run` that has joined, to its exit status."""

    def __init__(
        self, client: Client, configs: list[Config], *, colour: bool, leave: bool = False
    ) -> None:
        self.client = client
        self.configs = configs
        self.colour = colour
        self.leave = leave
        """Whether what is started here runs on when we end."""
        self.streams: dict[str, Stream] = {}
        self.added: list[str] = []
        """Colonies that were started here, and so are stopped here."""
        self.signal: int | None = None
        self.signalled_at = 0.0
        self.status = Exit.OK
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
        finally:
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
        several = len(self.configs) > 1
        for config in self.configs:
            query = {"colony": config.name, "colour": self.colour, "several": several}
            self.streams[config.name] = self.client.stream("/api/console", query)
        self._in_a_worker(self._add_all)
        with selectors.DefaultSelector() as selector:
            selector.register(self.bell, selectors.EVENT_READ)
            for name, stream in self.streams.items():
                selector.register(stream, selectors.EVENT_READ, name)
            while self.streams:
                for key, _ in selector.select():
                    if key.data is None:
                        self._rung()
                    elif key.data in self.streams and not self._pump(key.data):
                        selector.unregister(key.fileobj)
                        self._ended(key.data)

    # -- lines ---------------------------------------------------------------------------------

    def _pump(self, name: str) -> bool:
        """Shows what has come of a colony's lines; False at their end."""
        piece = self.streams[name].take()
        if piece is None:
            return False
        _write(sys.stdout.buffer, piece)
        return True

    def _ended(self, name: str) -> None:
        """Says why a colony has ended, if nobody here has asked for it."""
        self.streams.pop(name).close()
        if self.signal is not None:
            return
        try:
            found = self.client.get(path_of("colonies", name))
        except Problem:
            self._say(f"· {name} was stopped")
            return
        if found["state"] == "stopped":
            self._say(f"· {name} was stopped")
            return
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
                self._warn(f"  {service} | {line['text']}")

    # -- in workers ----------------------------------------------------------------------------

    def _in_a_worker(self, job: Callable[[], None]) -> None:
        worker = threading.Thread(target=job, name="join", daemon=True)
        self.workers.append(worker)
        worker.start()

    def _tell(self, news: Callable[[], None]) -> None:
        """From a worker: has the main thread call `news`."""
        self.news.append(news)
        self.button.send(b"\0")

    def _add_all(self) -> None:
        environment = dict(os.environ)
        for config in self.configs:
            if self.signal is not None:
                return
            body = {"path": os.path.abspath(config.path), "env": environment}
            try:
                before = self._present(config.name)
                self.client.post("/api/colonies", body)
            except ClientError as error:
                self._tell(self._refused(error))
                return
            if before or self.leave:
                runs = "runs already; " if before else ""
                text = f"· {config.name} {runs}following it (Ctrl-C leaves it running)"
                self._tell(functools.partial(self._say, text))
            else:
                self.added.append(config.name)
        if self.signal is not None:
            self._stop_all()

    def _present(self, name: str) -> bool:
        try:
            found = self.client.get(path_of("colonies", name))
        except Problem:
            return False
        return found["state"] in ("starting", "running")

    def _refused(self, error: ClientError) -> Callable[[], None]:
        """What is done when a colony could not be added: say why, and stop those that were."""

        def news() -> None:
            if isinstance(error, Gone | Unreachable):
                raise error
            self._complain(str(error))
            if isinstance(error, Problem):
                self.status = BY_CODE.get(error.code, Exit.FAILED)
                if error.help:
                    self._warn(f"  = help: {error.help}")
            for name in tuple(self.streams):
                if name not in self.added:
                    self.streams.pop(name).close()
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
        for name in reversed(self.added):
            self._say(f"■ {name:<10} stopping (Ctrl-C again to kill)")
        for name in tuple(self.streams):
            if name not in self.added and not self.workers[0].is_alive():
                self.streams.pop(name).close()
        self._in_a_worker(self._stop_all)

    # -- words ---------------------------------------------------------------------------------

    def _say(self, text: str) -> None:
        _write(sys.stdout.buffer, text.encode() + b"\n")

    def _complain(self, text: str) -> None:
        self._warn(f"\x1b[31merror\x1b[0m: {text}" if self.colour else f"error: {text}")

    def _warn(self, text: str) -> None:
        _write(sys.stderr.buffer, text.encode() + b"\n")


def join(client: Client, configs: list[Config], *, colour: bool, leave: bool = False) -> int:
    """Adds these colonies to the instance and stays until they have ended; the exit status.

    With `leave` a signal ends only the following: the colonies run on.
    """
    return Join(client, configs, colour=colour, leave=leave)()


def _write(out: Any, data: bytes) -> None:
    """Writes; that nobody reads any more, or the terminal is gone, does not end a colony."""
    try:
        out.write(data)
        out.flush()
    except OSError:
        return


def _nothing(number: int, frame: object) -> None:
    """A handler that leaves it to the wake-up descriptor."""
