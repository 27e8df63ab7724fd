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


def _run() -> None:
    import signal

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
