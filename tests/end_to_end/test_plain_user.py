"""A plain user where user namespaces are forbidden: the host's network, and everything else as
ever. (Where they are allowed: `test_rootless`.)"""

from __future__ import annotations

import os

import pytest

from tests.end_to_end.colonies import EMBEDDED, Shop, answers, host, page
from tests.end_to_end.plain import UID, as_a_user, run_as_a_user
from tests.ports import free_port

FORBIDDEN = ("forbidden",)
WHY = "this machine allows no user namespaces (user.max_user_namespaces is 0)"


@as_a_user
@pytest.mark.parametrize("door", [pytest.param((), id="caddy"), pytest.param(EMBEDDED, id="emb")])
def test_a_plain_user_gets_the_hosts_network(users: Shop, door: tuple[str, ...]) -> None:
    port = free_port()
    colony = users.colony({"web": page("hello", port)})
    run = run_as_a_user(users, colony, options=door, how=FORBIDDEN)
    run.ready()
    assert run.http_port >= 8080
    assert answers(run.http_port, host(colony, port), "hello").pid == run.service_pid()
    assert os.stat(f"/proc/{run.service_pid()}").st_uid == UID
    (note,) = run.err.all()
    assert note.startswith("note: no network namespaces here, so services share the host's ports")
    assert f"user {UID} lacks CAP_SYS_ADMIN and CAP_NET_ADMIN here" in note
    assert f"without root: {WHY}; sudo sysctl user.max_user_namespaces=15000" in note
    assert run.stop() == 130
    assert users.leftovers() == []


@as_a_user
@pytest.mark.parametrize(
    ("wish", "how", "words"),
    [
        ("namespace", (), f"user {UID} lacks CAP_SYS_ADMIN and CAP_NET_ADMIN here"),
        ("namespace", FORBIDDEN, f"user {UID} lacks CAP_SYS_ADMIN and CAP_NET_ADMIN here"),
        ("rootless", FORBIDDEN, WHY),
    ],
)
def test_a_network_by_name_is_refused(
    users: Shop, wish: str, how: tuple[str, ...], words: str
) -> None:
    colony = users.colony({"web": page("hello", free_port())})
    run = run_as_a_user(users, colony, options=("--network", wish, *EMBEDDED), how=how)
    assert run.wait() == 8
    (error,) = run.err.all()
    assert error.startswith(f"error: --network {wish}: {words}")


@as_a_user
def test_a_plain_user_is_cleaned_up_after(users: Shop) -> None:
    """After `kill -9`, by the same user's next run."""
    port = free_port()
    colony = users.colony({"web": page("hello", port)})
    first = run_as_a_user(users, colony, options=EMBEDDED, how=FORBIDDEN)
    first.ready()
    users.note_instances()
    first.send(9)
    first.wait()
    second = run_as_a_user(users, colony, options=EMBEDDED, how=FORBIDDEN)
    second.ready()
    answers(second.http_port, host(colony, port), "hello")
