"""The actor kernel: Erlang/OTP's processes and supervisors on asyncio and trio.

    class Add(Cast["Counter"], frozen=True):
        n: int

    class Get(Call["Counter", int], frozen=True):
        pass

    class Counter(Actor):
        def __init__(self, start: int = 0) -> None:
            self.n = start

        @on(Add)
        def add(self, msg: Add) -> None:
            self.n += msg.n

        @on(Get)
        def get(self, msg: Get) -> int:
            return self.n

    async with System() as system:
        top = await system.start(Supervisor.spec([Counter.spec(3)]))
        [child] = await top.call(WhichChildren())
        child.ref.tell(Add(4))
        assert await child.ref.call(Get()) == 7

Knows nothing of Linux, HTTP or colonies. By default a supervisor does what Erlang's does, event by
event; rules are cited by their number (R67) in `docs/otp.md`.
"""

from actors.actor import Actor
from actors.cell import IGNORE, Ignore, OwnedTask
from actors.context import Context
from actors.control import Mailbox, Overflow, Statistics
from actors.errors import (
    ActorDown,
    ActorError,
    CallTimeout,
    Deadlock,
    InvalidSpec,
    MailboxFull,
    NameTaken,
    NoReply,
    Refused,
    StartFailed,
    Unhandled,
)
from actors.events import CrashReport, Event, EventStream, Subscription
from actors.groups import Groups
from actors.messages import Call, Cast, Reply, on
from actors.partition import PartitionSupervisor, Router
from actors.reasons import (
    Abnormal,
    Crashed,
    FailedToStart,
    Killed,
    NoProc,
    Normal,
    Reason,
    Shutdown,
    StartTimeout,
    Stop,
)
from actors.ref import Ref
from actors.registry import Entry, KeyTaken, Registered, Registry, Unregistered
from actors.request import Answers, Request, Requests, call_all, requests
from actors.restarts import Backoff, RestartLimit
from actors.spec import BRUTAL_KILL, INFINITY, ChildSpec, Restart, ShutdownTime
from actors.state_machine import IllegalEvent, StateMachine, enters, when
from actors.supervision import AutoShutdown, Flags, Status, Strategy
from actors.supervisor import (
    Changes,
    ChildInfo,
    ChildRefused,
    ConfigRefused,
    CountChildren,
    Counts,
    DeleteChild,
    DynamicSupervisor,
    GetChildSpec,
    Reconfigure,
    RestartChild,
    StartChild,
    Supervisor,
    TerminateChild,
    WhichChildren,
)
from actors.system import System
from actors.tasks import (
    Outcome,
    Task,
    TaskEnded,
    TaskFailed,
    TaskSupervisor,
    start_task,
    stop_task,
    stream,
)
from actors.timers import Timer
from actors.watching import Down, Exit, Monitor

__all__ = [
    "BRUTAL_KILL",
    "IGNORE",
    "INFINITY",
    "Abnormal",
    "Actor",
    "ActorDown",
    "ActorError",
    "Answers",
    "AutoShutdown",
    "Backoff",
    "Call",
    "CallTimeout",
    "Cast",
    "Changes",
    "ChildInfo",
    "ChildRefused",
    "ChildSpec",
    "ConfigRefused",
    "Context",
    "CountChildren",
    "Counts",
    "CrashReport",
    "Crashed",
    "Deadlock",
    "DeleteChild",
    "Down",
    "DynamicSupervisor",
    "Entry",
    "Event",
    "EventStream",
    "Exit",
    "FailedToStart",
    "Flags",
    "GetChildSpec",
    "Groups",
    "Ignore",
    "IllegalEvent",
    "InvalidSpec",
    "KeyTaken",
    "Killed",
    "Mailbox",
    "MailboxFull",
    "Monitor",
    "NameTaken",
    "NoProc",
    "NoReply",
    "Normal",
    "Outcome",
    "Overflow",
    "OwnedTask",
    "PartitionSupervisor",
    "Reason",
    "Reconfigure",
    "Ref",
    "Refused",
    "Registered",
    "Registry",
    "Reply",
    "Request",
    "Requests",
    "Restart",
    "RestartChild",
    "RestartLimit",
    "Router",
    "Shutdown",
    "ShutdownTime",
    "StartChild",
    "StartFailed",
    "StartTimeout",
    "StateMachine",
    "Statistics",
    "Status",
    "Stop",
    "Strategy",
    "Subscription",
    "Supervisor",
    "System",
    "Task",
    "TaskEnded",
    "TaskFailed",
    "TaskSupervisor",
    "TerminateChild",
    "Timer",
    "Unhandled",
    "Unregistered",
    "WhichChildren",
    "call_all",
    "enters",
    "on",
    "requests",
    "start_task",
    "stop_task",
    "stream",
    "when",
]
