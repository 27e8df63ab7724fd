"""nftables in this process, through libnftables.

Law: rules go in as data (JSON), never as text of the `nft` language, so that no name can become
syntax; one `Nft` belongs to the network namespace that its maker stood in, for the library opens
its netlink socket when the context is made.

The library comes with the package `nftables`. Where it is missing `available()` is False, and a
namespace is made without its redirect.
"""

from __future__ import annotations

import ctypes
import functools
import json
from typing import Any, Final

from netns.errors import PacketFilterError
from netns.ruleset import Command

LIBRARY: Final = "libnftables.so.1"
MISSING: Final = (
    f"{LIBRARY} is not on this machine, so there are no packet rules; "
    "install the package that holds it (nftables)"
)

_OUTPUT_JSON: Final = 1 << 4


@functools.cache
def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    library.nft_ctx_new.argtypes = (ctypes.c_uint32,)
    library.nft_ctx_new.restype = pointer
    library.nft_ctx_free.argtypes = (pointer,)
    library.nft_ctx_free.restype = None
    library.nft_ctx_buffer_output.argtypes = (pointer,)
    library.nft_ctx_buffer_error.argtypes = (pointer,)
    library.nft_ctx_output_set_flags.argtypes = (pointer, ctypes.c_uint)
    library.nft_ctx_output_set_flags.restype = None
    library.nft_run_cmd_from_buffer.argtypes = (pointer, text)
    library.nft_ctx_get_output_buffer.argtypes = (pointer,)
    library.nft_ctx_get_output_buffer.restype = text
    library.nft_ctx_get_error_buffer.argtypes = (pointer,)
    library.nft_ctx_get_error_buffer.restype = text
    return library


def available() -> bool:
    """Whether the library is on this machine."""
    return _library() is not None


class Nft:
    """A connection to the packet filter of the network namespace that the caller stands in.

    Raises `PacketFilterError` when the library is missing. Not safe for two threads at once.
    """

    __slots__ = ("_context", "_library")

    def __init__(self) -> None:
        self._context: int | None = None
        library = _library()
        if library is None:
            raise PacketFilterError(MISSING)
        self._library = library
        self._context = library.nft_ctx_new(0)
        if not self._context:
            raise PacketFilterError("the packet filter's library has no memory for a context")
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_output_set_flags(self._context, _OUTPUT_JSON)

    def __repr__(self) -> str:
        return f"<Nft {'open' if self._context else 'closed'}>"

    def __enter__(self) -> Nft:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, commands: list[Command], doing: str) -> list[dict[str, Any]]:
        """Applies `commands` as one transaction (all or none) and returns what they list.

        doing
            What the commands are for, in words; begins the text of a `PacketFilterError`.
        """
        if self._context is None:
            raise PacketFilterError(f"{doing}: this connection to the packet filter is closed")
        text = json.dumps({"nftables": commands}).encode()
        failed = self._library.nft_run_cmd_from_buffer(self._context, text)
        output = self._library.nft_ctx_get_output_buffer(self._context)
        error = self._library.nft_ctx_get_error_buffer(self._context)
        if failed:
            raise PacketFilterError(f"{doing}: {_first_line(error)}")
        return json.loads(output)["nftables"] if output.strip() else []

    def close(self) -> None:
        """Closes the connection; closing twice is no error."""
        context, self._context = self._context, None
        if context is not None:
            self._library.nft_ctx_free(context)

    def tables(self) -> list[tuple[str, str]]:
        """(family, name) of every table in this namespace."""
        listed = self.run([{"list": {"tables": None}}], "listing the packet filter's tables")
        return [
            (entry["table"]["family"], entry["table"]["name"])
            for entry in listed
            if "table" in entry
        ]


def _first_line(error: bytes) -> str:
    # "internal:0:0-0: Error: Could not process rule: No such file or directory"
    line = error.decode(errors="replace").strip().partition("\n")[0]
    return line.partition("Error: ")[2] or line or "the packet filter gave no reason"
