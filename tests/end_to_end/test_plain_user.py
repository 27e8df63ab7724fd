"""A plain user without any right to namespaces: the host's network, and everything else as ever."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.colonies import (
    EMBEDDED,
    Colony,
    Run,
    Shop,
    answers,
    host,
    page,
)
from tests.end_to_end.test_sudden_death import free_port

UID = 54321

as_a_user = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="becomes a plain user by setpriv, as root",
)


@pytest.fixture
def users() -> Iterator[Shop]:
    """A shop in a folder of a plain user's own: pytest's are below one that only root may enter."""
    with tempfile.TemporaryDirectory(prefix="colony-user-") as name:
        os.chown(name, UID, UID)
        shop = Shop(Path(name))
        yield shop
        shop.close()


def run_as_a_user(shop: Shop, *colonies: Colony, options: tuple[str, ...] = ()) -> Run:
    """`colony run` by somebody with no rights but to read: the interpreter may be root's own."""
    right = "-all,+dac_read_search"
    prefix = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    prefix += [f"--inh-caps={right}", f"--ambient-caps={right}"]
    return shop.run(*colonies, prefix=prefix, options=options, env={"HOME": str(shop.folder)})


@as_a_user
@pytest.mark.parametrize("door", [pytest.param((), id="caddy"), pytest.param(EMBEDDED, id="emb")])
def test_a_plain_user_gets_the_hosts_network(users: Shop, door: tuple[str, ...]) -> None:
    port = free_port()
    colony = users.colony({"web": page("hello", port)})
    run = run_as_a_user(users, colony, options=door)
    run.ready()
    assert run.http_port >= 8080
    assert answers(run.http_port, host(colony, port), "hello").pid == run.service_pid()
    assert os.stat(f"/proc/{run.service_pid()}").st_uid == UID
    (note,) = run.err.all()
    assert note.startswith("note: no network namespaces here, so services share the host's ports")
    assert f"user {UID} lacks CAP_SYS_ADMIN and CAP_NET_ADMIN here" in note
    assert run.stop() == 130
    assert users.leftovers() == []


@as_a_user
def test_a_namespace_by_name_is_refused(users: Shop) -> None:
    colony = users.colony({"web": page("hello", free_port())})
    run = run_as_a_user(users, colony, options=("--network", "namespace", *EMBEDDED))
    assert run.wait() == 8
    (error,) = run.err.all()
    assert error.startswith("error: --network namespace: user ")


@as_a_user
def test_a_plain_user_is_cleaned_up_after(users: Shop) -> None:
    """After `kill -9`, by the same user's next run."""
    port = free_port()
    colony = users.colony({"web": page("hello", port)})
    first = run_as_a_user(users, colony, options=EMBEDDED)
    first.ready()
    users.note_instances()
    first.send(9)
    first.wait()
    second = run_as_a_user(users, colony, options=EMBEDDED)
    second.ready()
    answers(second.http_port, host(colony, port), "hello")
