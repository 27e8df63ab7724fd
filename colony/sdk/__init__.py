"""What a program holds of Colony: the same objects, whoever runs it.

face        `Colony` and `Service`, made of the API's routes
remote      `connect`, and what it gives; `wire` asks over the socket
local       asks an instance of this process: what `colony.open` gives is made of it
flow        logs and events as async iterators
errors      one class for each thing that a program may want to do
values      an event, an answer over HTTP
"""

from colony.sdk.errors import (
    ColonyError,
    ColonyFailed,
    CommandFailed,
    Conflict,
    Failed,
    InstanceLost,
    NotFound,
    Refused,
    ServiceFailed,
    TimedOut,
)
from colony.sdk.face import Colony, Http, Service
from colony.sdk.flow import Flow
from colony.sdk.remote import Connection, RemoteColony, RemoteService, connect
from colony.sdk.values import Event, Response

__all__ = [
    "Colony",
    "ColonyError",
    "ColonyFailed",
    "CommandFailed",
    "Conflict",
    "Connection",
    "Event",
    "Failed",
    "Flow",
    "Http",
    "InstanceLost",
    "NotFound",
    "Refused",
    "RemoteColony",
    "RemoteService",
    "Response",
    "Service",
    "ServiceFailed",
    "TimedOut",
    "connect",
]
