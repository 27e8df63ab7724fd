"""Services: processes that are started, watched, restarted and stopped, and never orphaned.

Three actors share the work of a colony's services, and each is asked for something else:

    board/<colony>     what is known of every service, over all its lives      (`Board`)
    control/<colony>   what an operator may do: stop, start, signal …          (`Control`)
    …/services/<name>  one life of one service: one operating system process   (`PortActor`)

For everybody outside this package the first two are enough:

    board = system.named(board_name("my-app"), Board)
    await board.call(GetServices())                      # tuple[ServiceStatus, ...]
    await board.call(GetService("web"))                  # ServiceStatus
    await board.call(WaitUntil("web", "ready"))          # ServiceStatus, once it is so
    await board.call(GetUsage())                         # dict[str, Usage]: CPU and memory

    control = system.named(control_name("my-app"), Control)
    await control.call(StopService("web"))               # stays down until it is started
    await control.call(StartService("web"))              # also a service that has ended or failed
    await control.call(RestartService("web"))            # not counted as a restart
    await control.call(SignalService("web", signal.SIGHUP))
    await control.call(WriteStdin("web", b"r\\n"))        # how many bytes it took

All of them raise `UnknownService` for a name that the colony does not have, and the commands raise
`NotPossible`, in words, when the service is in no state for it. `ActorDown` means that the colony
is not there any more. What services write is asked of `colony.logs.Logs`, and
everything that happens is an event on the system's stream (`colony.events`).
"""

from colony.services.board import (
    Board,
    GetService,
    GetServices,
    GetUsage,
    SetServices,
    UnknownService,
    WaitUntil,
    board_name,
)
from colony.services.control import (
    Control,
    DropService,
    NotPossible,
    PutService,
    RestartService,
    SignalService,
    StartService,
    StopService,
    WriteStdin,
    control_name,
)
from colony.services.status import ServiceStatus, State
from colony.services.usage import Usage

__all__ = [
    "Board",
    "Control",
    "DropService",
    "GetService",
    "GetServices",
    "GetUsage",
    "NotPossible",
    "PutService",
    "RestartService",
    "ServiceStatus",
    "SetServices",
    "SignalService",
    "StartService",
    "State",
    "StopService",
    "UnknownService",
    "Usage",
    "WaitUntil",
    "WriteStdin",
    "board_name",
    "control_name",
]
