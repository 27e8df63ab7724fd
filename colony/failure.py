"""Errors that nobody foresaw, in one line."""

from __future__ import annotations


def in_one_line(error: BaseException) -> str:
    """What went wrong inside Colony, and how to see more."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    text = " ".join(str(error).split())
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"error: {what} (this is a fault of Colony; run `colony --debug …` for the traceback)"
