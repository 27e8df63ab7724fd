"""The signals that end what runs in the foreground or the background."""

from __future__ import annotations

import signal


def ending() -> tuple[signal.Signals, ...]:
    """SIGINT, SIGTERM, and SIGHUP, which a terminal sends that is closed; under `nohup` that is
    ignored, and stays so."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return (signal.SIGINT, signal.SIGTERM)
    return (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
