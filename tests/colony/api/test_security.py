"""Who is let in, decided on headers alone."""

from __future__ import annotations

import pytest

from colony.api.problems import ApiError
from colony.api.security import Door, check_content, check_peer, check_tcp, door

TOKEN = "s" * 43
DOOR = door("127.0.0.1", 8000, TOKEN)
GOOD = {"Host": "localhost:8000", "Authorization": f"Bearer {TOKEN}"}


def status(headers: dict[str, str], rules: Door = DOOR) -> int:
    try:
        check_tcp(headers, rules)
    except ApiError as error:
        return error.problem.status
    return 200


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST:8000", "127.0.0.1:8000", "[::1]:8000", "localhost"]
)
def test_our_own_names_are_let_in(host: str) -> None:
    assert status(GOOD | {"Host": host}) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8000",
        "localhost:9000",
        "localhost.evil.example:8000",
        "127.0.0.1.nip.io:8000",
        "localhost:80a",
        "",
        "localhost:8000:8000",
        "[::2]:8000",
    ],
)
def test_a_name_that_is_not_ours_is_misdirected_whatever_the_token(host: str) -> None:
    assert status(GOOD | {"Host": host}) == 421


def test_a_request_without_a_host_is_misdirected() -> None:
    assert status({"Authorization": f"Bearer {TOKEN}"}) == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://localhost:8000",
        "http://localhost",
        "http://localhost:3000",
        "null",
        "http://my-app-3000.colony.localhost",
    ],
)
def test_a_page_of_another_origin_may_not_ask_even_with_the_token(origin: str) -> None:
    assert status(GOOD | {"Origin": origin}) == 403


def test_a_page_of_our_own_may() -> None:
    assert status(GOOD | {"Origin": "http://localhost:8000"}) == 200
    assert status(GOOD | {"Sec-Fetch-Site": "same-origin"}) == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "anything"])
def test_what_a_browser_says_is_of_another_site_may_not(site: str) -> None:
    assert status(GOOD | {"Sec-Fetch-Site": site}) == 403


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer tökén",
    ],
)
def test_without_the_token_nobody_gets_in(authorization: str) -> None:
    assert status(GOOD | {"Authorization": authorization}) == 401


def test_an_absent_origin_is_no_substitute_for_the_token() -> None:
    """As a WebSocket client that is no browser would come."""
    assert status({"Host": "localhost:8000", "Upgrade": "websocket"}) == 401


def test_a_token_has_to_be_long() -> None:
    with pytest.raises(ValueError, match="it needs 32"):
        door("127.0.0.1", 8000, "short")


def test_the_token_is_in_no_repr() -> None:
    assert TOKEN not in repr(DOOR)


def test_the_name_that_one_listens_at_is_ours_too() -> None:
    assert door("192.0.2.7", 8000, TOKEN).hosts[-1] == "192.0.2.7"
    assert door("0.0.0.0", 8000, TOKEN).hosts == ("localhost", "127.0.0.1", "[::1]")


@pytest.mark.parametrize("uid", [1000, 0])
def test_the_socket_is_for_its_owner_and_root(uid: int) -> None:
    check_peer(uid, 1000)


@pytest.mark.parametrize("uid", [1001, None, -1])
def test_and_for_nobody_else(uid: int | None) -> None:
    with pytest.raises(ApiError) as refused:
        check_peer(uid, 1000)
    assert refused.value.problem.status == 403


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_a_form_can_send_is_no_body(kind: str) -> None:
    with pytest.raises(ApiError) as refused:
        check_content("POST", kind, True)
    assert refused.value.problem.status == 415


def test_json_is_a_body_and_no_body_needs_no_type() -> None:
    check_content("POST", "application/json", True)
    check_content("POST", "", False)
    check_content("GET", "", False)
