"""Who may ask: decisions on what a request shows of itself. Pure.

    way in        who is let in
    unix socket   the user that the instance runs as, and root (the kernel says who: SO_PEERCRED),
                  but nobody in a colony whose [network.policy] does not say `api = true`
    TCP           whoever has the token, always; and then only

    header        over TCP                          why
    Host          one of our names, else 421        a page whose name was rebound to 127.0.0.1 shows
                                                    itself by nothing but this
    Origin        absent, or one of our own, else   a page of somebody else's must not ask, with or
    Sec-Fetch-…   403                               without a token
    Content-Type  JSON for a body, else 415         a form can send all but that without being asked
    Authorization the token, else 401, also for a   a missing Origin proves nothing
                  WebSocket without any Origin
    Sec-WebSocket-Protocol                          a page cannot send an Authorization with a
                  the token, for a WebSocket        WebSocket, and an address with it is kept
                  without an Authorization          in histories and logs

Over the unix socket no page can ask, so that Host and Origin say nothing there.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

import msgspec

from colony.api.problems import ApiError, listed

BODY_MAX: Final = 1024 * 1024
"""Bytes of a request's body."""
LINE_MAX: Final = 8190
"""Bytes of a request line or header field."""
HEADER_TIMEOUT: Final = 15.0
"""Seconds in which a request's head must arrive, and a connection may be idle."""
BODY_TIMEOUT: Final = 15.0
"""Seconds in which a request's body must arrive."""
WRITE_TIMEOUT: Final = 30.0
"""Seconds after which a reader that takes nothing is let go."""
PROTOCOL: Final = "colony"
TOKEN_PROTOCOL: Final = "colony.token."
"""The WebSocket's subprotocol, and the one beside it that carries the token behind it."""
TOKEN_LEAST: Final = 32
"""Characters of a token at least."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "[::1]")
_SAME_SITE: Final = frozenset({"same-origin", "none"})


class Door(msgspec.Struct, frozen=True):
    """A TCP address that the API listens on.

    hosts
        The names, without port, that a Host header may have.
    token
        What a caller has to know.
    """

    port: int
    token: str
    hosts: tuple[str, ...] = _LOOPBACK

    def __repr__(self) -> str:
        return f"<Door on port {self.port} for {', '.join(self.hosts)}>"


def door(host: str, port: int, token: str) -> Door:
    """The rules for an address to listen on. Raises `ValueError` for a token that is too short."""
    if len(token) < TOKEN_LEAST:
        raise ValueError(f"the token has {len(token)} characters; it needs {TOKEN_LEAST}")
    name = f"[{host}]" if ":" in host else host.lower()
    anywhere = host in ("0.0.0.0", "::", "")
    return Door(port, token, _LOOPBACK if anywhere or name in _LOOPBACK else (*_LOOPBACK, name))


def check_place(peer: int | None, own: int, colony: str | None, *, allowed: bool) -> None:
    """Lets in over the unix socket who is in our own network: a socket in the file system is seen
    from inside a colony, too. Raises `ApiError` (403).

    peer, own
        The inodes of the caller's and our own network namespace. None for a caller that may not
        be looked at, and so is no colony's.
    colony, allowed
        Whose namespace it is, None for no colony's, and whether its policy lets it in.
    """
    if peer is None or peer == own or (colony is not None and allowed):
        return
    if colony is None:
        words, help = "the caller is in another network namespace than this instance", ""
    else:
        words = f"what runs in colony {colony} may not use this instance's API"
        help = f"if it shall: api = true in [network.policy] of {colony}"
    raise ApiError("forbidden", words, help=help)


def check_peer(uid: int | None, own: int) -> None:
    """Lets in over the unix socket: ourselves and root. Raises `ApiError` (403)."""
    if uid not in (own, 0):
        whose = "nobody knows who" if uid is None else f"user {uid}"
        raise ApiError(
            "forbidden",
            f"this instance belongs to user {own}, and you are {whose}",
            help="start an instance of your own: colony run",
        )


def check_tcp(headers: Mapping[str, str], door: Door, *, public: bool = False) -> None:
    """Lets in over TCP; `public` without a token. Raises `ApiError`: 421, 403 or 401, in this
    order."""
    _check_host(headers.get("Host", ""), door)
    _check_origin(headers, door)
    if not public:
        _check_token(headers.get("Authorization") or _of_websocket(headers), door)


def check_content(method: str, content_type: str, has_body: bool) -> None:
    """A body is JSON, and says so. Raises `ApiError` (415)."""
    if method == "POST" and has_body and content_type != "application/json":
        raise ApiError(
            "unsupported_media_type",
            f"a body has to be JSON, got: {content_type or 'no Content-Type'}",
            help='send "Content-Type: application/json"',
        )


def _check_host(host: str, door: Door) -> None:
    name, port = _split(host)
    if name not in door.hosts or port not in (None, door.port):
        raise ApiError(
            "misdirected",
            f"this is not {host or 'a request without a Host'}",
            help=f"ask {listed(door.hosts)} at port {door.port}",
        )


def _check_origin(headers: Mapping[str, str], door: Door) -> None:
    origin = headers.get("Origin")
    site = headers.get("Sec-Fetch-Site")
    if origin is not None:
        scheme, _, rest = origin.partition("://")
        name, port = _split(rest)
        # A browser leaves 80 out of an http origin.
        if scheme != "http" or name not in door.hosts or (port or 80) != door.port:
            raise ApiError("forbidden", f"a page of {origin} may not ask this")
    if site is not None and site not in _SAME_SITE:
        raise ApiError("forbidden", f"a page of another site may not ask this ({site})")


def _of_websocket(headers: Mapping[str, str]) -> str:
    """The Authorization that a WebSocket's subprotocols stand for; "" for none. Only beside one
    that can be chosen, or the server's library would write down which there were."""
    offered = [each.strip() for each in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if headers.get("Upgrade", "").lower() == "websocket" and PROTOCOL in offered:
        for each in offered:
            if each.startswith(TOKEN_PROTOCOL):
                return f"Bearer {each.removeprefix(TOKEN_PROTOCOL)}"
    return ""


def _check_token(authorization: str, door: Door) -> None:
    scheme, _, given = authorization.partition(" ")
    # Compared as bytes: compare_digest takes no text beyond ASCII, and a header may have it.
    equal = hmac.compare_digest(given.strip().encode(), door.token.encode())
    if scheme.lower() != "bearer" or not equal:
        raise ApiError(
            "unauthorized",
            "over TCP a token is needed" if not authorization else "this is not the token",
            help='send "Authorization: Bearer TOKEN"; `colony daemon token` shows it',
        )


def _split(host: str) -> tuple[str, int | None]:
    """A Host's name in lower case, and its port; -1 for one that is no port."""
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host.lower(), None
    return name.lower(), int(port) if port.isascii() and port.isdigit() and len(port) < 6 else -1
