from __future__ import annotations

import os
import socket
import threading

import anyio
import pytest

from netns import linux
from netns.errors import NetnsError, ThreadClosed
from netns.thread import NetworkThread, Place
from tests.netns.support import PATIENCE, listen, open_descriptors
from tests.ports import free_port

pytestmark = pytest.mark.real_time


def stands_at() -> str:
    return os.readlink(linux.NET_NAMESPACE)


def new_namespace(thread: NetworkThread) -> Place:
    try:
        linux.unshare(linux.CLONE_NEWNET, "test")
        return Place(os.open(linux.NET_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC))
    finally:
        thread.go_home(mounts=False)


async def test_a_job_runs_on_the_thread_and_gives_its_result_or_error() -> None:
    async with NetworkThread() as thread:
        ident = await thread.run(threading.get_ident)
        assert ident != threading.get_ident()
        assert await thread.run(threading.get_ident) == ident
        with pytest.raises(ZeroDivisionError):
            await thread.run(divmod, 1, 0)
        assert repr(thread) == "<NetworkThread open 0 waiting>"


async def test_between_jobs_the_thread_is_at_home() -> None:
    home = os.readlink("/proc/self/ns/net")
    async with NetworkThread() as thread:
        place = await thread.run(new_namespace, thread)

        def visit() -> str:
            with thread.inside(place):
                return stands_at()

        def stumble() -> None:
            with thread.inside(place):
                raise LookupError

        assert await thread.run(stands_at) == home
        assert await thread.run(visit) != home
        assert await thread.run(stands_at) == home
        with pytest.raises(LookupError):
            await thread.run(stumble)
        assert await thread.run(stands_at) == home
        with pytest.raises(OSError, match="entering the network namespace: Bad file descriptor"):
            await thread.run(lambda: thread.inside(Place(99999)).__enter__())
        assert await thread.run(stands_at) == home
        os.close(place.net)


async def test_a_place_whose_descriptor_has_become_another_namespaces_is_not_entered() -> None:
    home = os.readlink("/proc/self/ns/net")
    async with NetworkThread() as thread:
        first, second = [await thread.run(new_namespace, thread) for _ in range(2)]
        known = Place(first.net, inode=os.fstat(first.net).st_ino)

        def visit() -> str:
            with thread.inside(known):
                return stands_at()

        assert await thread.run(visit) == f"net:[{known.inode}]"
        os.dup2(second.net, first.net)  # closed, and its number given to another
        with pytest.raises(OSError, match="the network namespace has gone meanwhile"):
            await thread.run(visit)
        os.close(first.net)
        with pytest.raises(OSError, match="the network namespace has gone meanwhile"):
            await thread.run(visit)
        assert await thread.run(stands_at) == home
        os.close(second.net)


async def test_only_a_job_may_enter_a_namespace() -> None:
    async with NetworkThread() as thread:
        with pytest.raises(NetnsError, match="only a job on the network thread"):
            thread.inside(Place(0)).__enter__()


async def test_a_thread_that_is_not_running_says_so() -> None:
    thread = NetworkThread()
    with pytest.raises(ThreadClosed, match="the network thread is not running"):
        await thread.run(stands_at)
    await thread.close()
    await thread.start()
    with pytest.raises(NetnsError, match="runs already"):
        await thread.start()
    await thread.close()
    await thread.close()
    with pytest.raises(ThreadClosed):
        await thread.run(stands_at)
    await thread.start()
    await thread.close()


async def test_close_lets_the_jobs_before_it_end() -> None:
    begun, go, undone = threading.Event(), threading.Event(), list[str]()

    def slow() -> str:
        begun.set()
        go.wait(PATIENCE)
        with thread.inside(place):
            return stands_at()

    thread = NetworkThread()
    await thread.start()
    place = await thread.run(new_namespace, thread)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: thread.run(slow, undo=undone.append))
        await anyio.to_thread.run_sync(begun.wait, PATIENCE)
        tasks.start_soon(thread.close)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ThreadClosed):
            await thread.run(stands_at)
        go.set()
    assert undone == []
    assert repr(thread) == "<NetworkThread closed 0 waiting>"
    os.close(place.net)


async def test_close_lets_a_cancelled_job_be_undone() -> None:
    begun, go, undone = threading.Event(), threading.Event(), list[str]()

    def slow() -> str:
        begun.set()
        go.wait(PATIENCE)
        return "made"

    thread = NetworkThread()
    await thread.start()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: thread.run(slow, undo=undone.append))
        await anyio.to_thread.run_sync(begun.wait, PATIENCE)
        tasks.cancel_scope.cancel()
        go.set()
        await thread.close()
    assert undone == ["made"]


async def test_start_and_close_leave_no_descriptor_and_no_thread() -> None:
    async with NetworkThread():
        pass  # what the event loop opens lazily is open now
    before, threads = open_descriptors(), set(threading.enumerate())
    async with NetworkThread() as thread:
        await thread.run(stands_at)
    assert open_descriptors() <= before
    assert set(threading.enumerate()) <= threads  # idle ones of the event loop's may have gone


async def test_a_cancelled_job_that_has_begun_is_undone_before_run_returns() -> None:
    begun, go, undone = threading.Event(), threading.Event(), list[str]()

    def slow() -> str:
        begun.set()
        go.wait(PATIENCE)
        return "made"

    async with NetworkThread() as thread, anyio.create_task_group() as tasks:

        async def caller() -> None:
            try:
                await thread.run(slow, undo=undone.append)
            finally:
                assert undone == ["made"]

        tasks.start_soon(caller)
        await anyio.to_thread.run_sync(begun.wait, PATIENCE)
        tasks.cancel_scope.cancel()
        go.set()
    assert undone == ["made"]


async def test_a_cancelled_job_that_has_not_begun_never_begins() -> None:
    go, begun, done = threading.Event(), threading.Event(), list[str]()

    def block() -> None:
        begun.set()
        go.wait(PATIENCE)

    async with NetworkThread() as thread, anyio.create_task_group() as tasks:
        tasks.start_soon(thread.run, block)
        await anyio.to_thread.run_sync(begun.wait, PATIENCE)
        with anyio.CancelScope() as scope:
            scope.cancel()
            await thread.run(done.append, "never")
        assert scope.cancelled_caught
        go.set()
        await thread.run(stands_at)
    assert done == []


async def test_a_socket_belongs_to_the_namespace_it_was_made_in() -> None:
    async with NetworkThread() as thread:
        place = await thread.run(new_namespace, thread)
        # Nothing is up in there, not even loopback.
        with await thread.socket(place) as inside, pytest.raises(OSError, match="unreachable"):
            inside.connect(("127.0.0.1", 1))
        os.close(place.net)


async def test_nothing_listens_is_said_with_port_and_addresses() -> None:
    async with NetworkThread() as thread:
        here = Place(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC))
        port = free_port()  # nobody else's when we no longer listen
        with socket.socket() as server:
            listen(server, "127.0.0.1", port)
            with await thread.connect(here, port) as connected:
                assert connected.getpeername() == ("127.0.0.1", port)
        with pytest.raises(ConnectionRefusedError) as caught:
            await thread.connect(here, port)
        assert caught.value.strerror == (
            f"nothing listens on port {port} inside (tried 127.0.0.1, ::1)"
        )
        os.close(here.net)
