"""What heads that came a moment ago said, so that the next one like it is not parsed again.

Law: a head is known by its very bytes. A request's means the same only from the same client's
address and by the same table of routes, which whoever looks it up compares. Only heads that leave
nothing open are kept: requests without a body, answers that are no interim ones and owe their
length to themselves alone.
"""

from __future__ import annotations

from typing import Final

import msgspec

from proxy.http1 import RequestHead, ResponseHead
from proxy.routes import Route, RouteTable

KEPT: Final = 256
"""Heads of each kind; one more, and all of that kind are forgotten."""

LONGEST: Final = 4096
"""Bytes of a head that is kept."""


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a request without a body came to: from whom, by which table, where to, in what words."""

    head: RequestHead
    client: bytes
    table: RouteTable
    route: Route
    sent: bytes


class Known:
    """What the heads of the last moments said, by their bytes; they hold cookies and the like, so
    whoever has one calls `forget` every second or so.

    At most `KEPT` of each kind, and none longer than `LONGEST` bytes.
    """

    __slots__ = ("answers", "requests")

    def __init__(self) -> None:
        self.requests: dict[bytes, Asked] = {}
        self.answers: dict[bytes, ResponseHead] = {}

    def __repr__(self) -> str:
        return f"<Known {len(self.requests)} requests, {len(self.answers)} answers>"

    def forget(self) -> None:
        self.requests.clear()
        self.answers.clear()

    def keep_request(self, asked: Asked) -> None:
        """Keeps it if its head was sent on as it came, apart from the fields added."""
        raw = asked.head.raw
        if len(raw) == asked.head.end <= LONGEST and not asked.head.body:
            if len(self.requests) >= KEPT:
                self.requests.clear()
            self.requests[raw] = asked

    def keep_answer(self, data: bytes, head: ResponseHead, method: bytes) -> None:
        """Keeps what the head of a last answer said, unless that was owed to the method."""
        if head.end <= LONGEST and head.status >= 200 and method != b"HEAD":
            if len(self.answers) >= KEPT:
                self.answers.clear()
            self.answers[data[: head.end]] = head
