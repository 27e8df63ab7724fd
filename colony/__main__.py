"""`python -m colony`, and the console script `colony`."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line. An error of Colony's own is one line, or a traceback with --debug."""
    if sys.argv[1:] in (["version"], ["--version"]):
        # Answered before anything is imported: it is what scripts and prompts ask for.
        from colony.version import VERSION

        print(f"colony {VERSION}")
        return
    _run()


def _open_closed_streams() -> None:
    """Whoever started us may have closed a standard stream (`<&-`): the next thing that is opened,
    the connection to the instance, would have its number, and what is printed would go there."""
    import os

    for fd, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, fd) if null != fd else os.set_inheritable(fd, True)
        if null != fd:
            os.close(null)
        setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8", closefd=False))


def _run() -> None:
    import signal

    if None in (sys.stdin, sys.stdout, sys.stderr):
        _open_closed_streams()

    # Until a command listens for it, Ctrl-C just ends the process, which has made nothing yet:
    # Python's KeyboardInterrupt would show where among the imports it struck.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from colony.cli import colony

    debug = "--debug" in sys.argv[1:]
    try:
        colony(prog_name="colony")
    except Exception as error:
        if debug:
            raise
        from colony.failure import in_one_line

        print(in_one_line(error), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
