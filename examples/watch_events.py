"""Watches a running instance: a line for each event, and a service's last words when it fails.

    python examples/watch_events.py                         # everything that happens to services
    python examples/watch_events.py my-app                  # to those of one colony
    python examples/watch_events.py my-app service.ready    # until that has happened

Ends with 0 when what it waited for has happened or the instance ends in good order, with 4 when
there is no instance or it dies.
"""

from __future__ import annotations

import sys

import anyio

import colony

SHOWN = (
    "service.started",
    "service.ready",
    "service.exited",
    "service.stopped",
    "supervisor.restarting",
    "supervisor.limit_reached",
    "gap",
)

DETAILS = ("pid", "status", "delay")
"""What is shown of an event beside its type, where it has it."""


def line(event: colony.Event) -> str:
    """An event in a line."""
    if event.ts is None:
        return f"… {event.data['lost']} events were missed"
    what = event.service or event.data.get("child", "")
    details = (f"{name}={event.data[name]}" for name in DETAILS if name in event.data)
    return " ".join([f"{event.ts:%H:%M:%S}", event.colony or "-", what, event.type, *details])


async def last_words(instance: colony.Connection, event: colony.Event) -> None:
    """What a service wrote before it ended badly."""
    if event.type != "service.exited" or event.data.get("orderly") or event.colony is None:
        return
    try:
        c = await instance.colony(event.colony)
        async for wrote in c.logs(event.service or "", tail=3):
            print(f"         | {wrote.text}", flush=True)
    except colony.NotFound:
        return  # it is gone by now


async def watch(only: str | None, until: str | None) -> None:
    """Prints events until one of type `until` has come, or the instance has ended."""
    async with colony.connect() as instance, instance.events(*SHOWN) as events:
        print("watching", flush=True)
        async for event in events:
            if only in (None, event.colony) or event.type == "gap":
                print(line(event), flush=True)
                await last_words(instance, event)
                if event.type == until:
                    return


def main() -> int:
    only, until = [*sys.argv[1:3], None, None][:2]
    try:
        anyio.run(watch, only, until)
    except colony.InstanceLost as lost:
        print(lost, file=sys.stderr)
        return 4
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
