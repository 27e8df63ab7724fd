"""For a provisioning outside of any instance: nothing of its commands outlives it.

Whoever is killed takes nothing back, and its commands would go on: an `npm ci` that still writes
into a workspace which the next start takes away. So a guardian (`colony.guardian_program`) hangs on
a pipe whose other end only we have; when that closes without a good-bye, it ends whatever bears the
mark. An instance has a guardian of its own, and needs this not.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio

from colony import guardian_program

MARK: Final = "COLONY_INSTANCE"
"""The variable by which the guardian knows whose a process is."""


@asynccontextmanager
async def guarded() -> AsyncIterator[Mapping[str, str]]:
    """What the commands' environment must hold for the block, in which they are guarded."""
    mark = f"new-{secrets.token_hex(6)}"
    process = await anyio.open_process(
        [sys.executable, "-I", "-S", guardian_program.__file__, mark],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        yield {MARK: mark}
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(anyio.BrokenResourceError):  # somebody has killed it
                await process.stdin.send(b"bye\n")
            await process.stdin.aclose()
            await process.wait()
            await process.aclose()
