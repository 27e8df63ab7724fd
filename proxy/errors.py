"""What can go wrong at the front door, each in one line for the person who reads it."""

from __future__ import annotations

from typing import Final

_PORTS_SHOWN: Final = 5


class ProxyError(Exception):
    """The parent of every error that this package raises on purpose."""


class BinaryNotFound(ProxyError):
    """A program that was to be started is not on this machine.

    Attributes: `binary` (what was looked for), `hint` (how to get it, or what serves instead).
    """

    def __init__(self, binary: str, hint: str) -> None:
        super().__init__(f"{binary!r} was not found on PATH: {hint}")
        self.binary = binary
        self.hint = hint


class StartFailed(ProxyError):
    """A program ended, or did not answer, before it was ready.

    Attributes: `status` (its exit status, negative for a signal, None if it was still alive),
    `tail` (the last of what it wrote).
    """

    def __init__(self, what: str, *, status: int | None, tail: str) -> None:
        self.what = what
        self.status = status
        self.tail = tail
        ending = "did not become ready" if status is None else f"ended with {describe(status)}"
        super().__init__(f"{what} {ending}{_last_line(tail)}")


class ProcessDied(ProxyError):
    """A program that had been ready ended by itself. Attributes as of `StartFailed`."""

    def __init__(self, what: str, *, status: int, tail: str) -> None:
        super().__init__(f"{what} ended with {describe(status)}{_last_line(tail)}")
        self.what = what
        self.status = status
        self.tail = tail


class PortsTaken(ProxyError):
    """None of the ports that were tried could be had. Attribute: `tried`, port → reason."""

    def __init__(self, what: str, tried: dict[int, str]) -> None:
        shown = [f"{port} ({reason})" for port, reason in tried.items()]
        if len(shown) > _PORTS_SHOWN:
            shown[_PORTS_SHOWN:] = [f"and {len(shown) - _PORTS_SHOWN} more"]
        super().__init__(
            f"no port for {what}: tried {', '.join(shown)}; free one of them or name another"
        )
        self.tried = tried


class CaddyError(ProxyError):
    """Caddy's admin API refused a request.

    Attributes: `status` (its HTTP status), `detail` (Caddy's own words).
    """

    def __init__(self, method: str, path: str, status: int, detail: str) -> None:
        super().__init__(f"Caddy refused {method} {path} with {status}: {detail}")
        self.status = status
        self.detail = detail


class CaddyUnreachable(ProxyError):
    """Nothing answers at Caddy's admin address."""

    def __init__(self, address: str, cause: Exception) -> None:
        super().__init__(
            f"Caddy's admin API at {address} does not answer ({cause}): is that Caddy running?"
        )
        self.address = address


class AlreadyServed(ProxyError):
    """Another living Colony already keeps its routes in that Caddy."""


def describe(status: int) -> str:
    """An exit status in words: `exit code 1`, `signal 9`."""
    return f"signal {-status}" if status < 0 else f"exit code {status}"


def _last_line(tail: str) -> str:
    lines = tail.strip().splitlines()
    return f": {lines[-1]}" if lines else ""
