"""Every route of the API, as one table. The server, the OpenAPI document, the clients and the
documentation are made of it; each `name` is a method of `operations.Operations`, or of
`streams.STREAMS` where the answer is a stream.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec

from colony.api import network_types as n
from colony.api import terminal_types as tt
from colony.api import types as t

Method = Literal["GET", "POST", "DELETE"]


class Route(msgspec.Struct, frozen=True):
    """One operation.

    name
        Its `operationId`.
    summary
        One line for the documentation.
    returns
        The answer's type; the type of one item where it is a stream.
    query, body
        The types of what comes with it.
    status
        Of success; `also` are others with the same type.
    stream
        "sse", "ndjson" or "text" where the answer goes on; "either" if the query decides.
    media
        The answer's type, where it is a text and not JSON.
    public
        Whether no token is needed over TCP: for what says nothing about the instance.
    errors
        Codes of `problems.KINDS` beside those that every route can give.
    """

    name: str
    method: Method
    path: str
    summary: str
    returns: Any
    query: type = t.NoQuery
    body: Any = None
    status: int = 200
    also: tuple[int, ...] = ()
    stream: Literal["", "sse", "ndjson", "text", "either"] = ""
    media: str = "application/json"
    public: bool = False
    errors: tuple[str, ...] = ()

    @property
    def parameters(self) -> tuple[str, ...]:
        """The names in the path's braces."""
        return tuple(re.findall(r"\{(\w+)\}", self.path))


_COLONY: Final = "/api/colonies/{colony}"
_SERVICE: Final = "/api/colonies/{colony}/services/{service}"
_TERMINALS: Final = "/api/colonies/{colony}/terminals"

ROUTES: Final[tuple[Route, ...]] = (
    Route("version", "GET", "/api/version", "Which Colony answers", t.Version),
    Route("health", "GET", "/api/health", "How the instance is", t.Health),
    Route("openapi", "GET", "/api/openapi.json", "The OpenAPI document", dict[str, Any]),
    Route(
        "docs",
        "GET",
        "/api/docs",
        "This documentation, for a browser",
        str,
        media="text/html",
        public=True,
    ),
    # -- colonies
    Route("list_colonies", "GET", "/api/colonies", "All colonies", tuple[t.Colony, ...]),
    Route(
        "create_colony",
        "POST",
        "/api/colonies",
        "Add a colony and start it; 200 if the very same runs already",
        t.Colony,
        body=t.CreateColony,
        status=201,
        also=(200,),
        errors=(
            "conflict",
            "invalid",
            "failed",
            "not_provided",
            "timeout",
            "not_found",
            "stopping",
        ),
    ),
    Route("get_colony", "GET", _COLONY, "One colony", t.Colony, errors=("not_found",)),
    Route(
        "delete_colony",
        "DELETE",
        _COLONY,
        "Stop a colony and forget it",
        t.Colony,
        query=t.StopQuery,
        errors=("not_found",),
    ),
    Route(
        "start_colony",
        "POST",
        f"{_COLONY}/start",
        "Start a colony that has ended again",
        t.Colony,
        errors=("not_found", "failed", "not_provided", "conflict", "stopping"),
    ),
    Route(
        "stop_colony",
        "POST",
        f"{_COLONY}/stop",
        "Stop a colony and keep what is known of it",
        t.Colony,
        query=t.StopQuery,
        errors=("not_found",),
    ),
    Route(
        "restart_colony",
        "POST",
        f"{_COLONY}/restart",
        "Stop a colony and start it again",
        t.Colony,
        errors=("not_found", "failed", "not_provided", "stopping"),
    ),
    Route(
        "apply_colony",
        "POST",
        f"{_COLONY}/apply",
        "Make a running colony what its file says now",
        t.Plan,
        body=t.ApplyColony,
        errors=("not_found", "invalid", "failed", "not_provided", "conflict"),
    ),
    Route(
        "get_config",
        "GET",
        f"{_COLONY}/config",
        "What the colony was started with, without its environment",
        dict[str, Any],
        errors=("not_found",),
    ),
    Route(
        "exec",
        "POST",
        f"{_COLONY}/exec",
        "Run a command inside the colony and wait for its end",
        t.Executed,
        body=t.Exec,
        errors=("not_found", "conflict", "failed"),
    ),
    Route(
        "forward",
        "POST",
        f"{_COLONY}/forward",
        "Open a port of the colony on the host's loopback, for as long as this request lasts",
        t.Forwarding,
        body=t.Forward,
        stream="ndjson",
        errors=("not_found", "conflict"),
    ),
    # -- services
    Route(
        "list_services",
        "GET",
        f"{_COLONY}/services",
        "The services of a colony",
        tuple[t.Service, ...],
        query=t.ServicesQuery,
        errors=("not_found",),
    ),
    Route("get_service", "GET", _SERVICE, "One service", t.Service, errors=("not_found",)),
    Route(
        "start_service",
        "POST",
        f"{_SERVICE}/start",
        "Start a service that was stopped",
        t.Service,
        errors=("not_found", "conflict", "failed"),
    ),
    Route(
        "stop_service",
        "POST",
        f"{_SERVICE}/stop",
        "Stop a service; it stays stopped",
        t.Service,
        errors=("not_found", "conflict"),
    ),
    Route(
        "restart_service",
        "POST",
        f"{_SERVICE}/restart",
        "Stop a service and start it again; not counted as a restart",
        t.Service,
        errors=("not_found", "conflict", "failed"),
    ),
    Route(
        "signal_service",
        "POST",
        f"{_SERVICE}/signal",
        "Send a signal to a service's process group",
        t.Service,
        body=t.Signal,
        errors=("not_found", "conflict", "invalid"),
    ),
    Route(
        "write_stdin",
        "POST",
        f"{_SERVICE}/stdin",
        "Write to a service's standard input",
        t.Service,
        body=t.Stdin,
        errors=("not_found", "conflict"),
    ),
    Route(
        "wait_service",
        "GET",
        f"{_SERVICE}/wait",
        "Wait until a service is ready, has ended, or has written a line",
        t.Waited,
        query=t.WaitQuery,
        errors=("not_found", "invalid"),
    ),
    Route(
        "http_service",
        "POST",
        f"{_SERVICE}/http",
        "Make a request to a service, inside its colony's network",
        t.HttpResponse,
        body=t.HttpRequest,
        errors=("not_found", "conflict", "failed"),
    ),
    # -- terminals; what is attached to is in `colony.api.terminals`
    Route(
        "list_terminals",
        "GET",
        _TERMINALS,
        "The terminals of a colony, those of its services included",
        tuple[tt.Terminal, ...],
        errors=("not_found", "conflict"),
    ),
    Route(
        "create_terminal",
        "POST",
        _TERMINALS,
        "Start a terminal session",
        tt.Terminal,
        body=tt.CreateTerminal,
        status=201,
        errors=("not_found", "conflict", "failed"),
    ),
    Route(
        "end_terminal",
        "DELETE",
        f"{_TERMINALS}/{{terminal}}",
        "Hang a terminal session up",
        tt.TerminalEnded,
        errors=("not_found", "conflict"),
    ),
    Route(
        "terminal_screen",
        "GET",
        f"{_TERMINALS}/{{terminal}}/screen",
        "What a terminal shows, as text",
        tt.TerminalScreen,
        errors=("not_found", "conflict", "failed"),
    ),
    Route(
        "type_terminal",
        "POST",
        f"{_TERMINALS}/{{terminal}}/input",
        "Type into a terminal",
        tt.Terminal,
        body=tt.TypeTerminal,
        errors=("not_found", "conflict"),
    ),
    # -- what there is to read
    Route(
        "logs",
        "GET",
        f"{_COLONY}/logs",
        "What the services wrote",
        t.LogPage,
        query=t.LogQuery,
        stream="either",
        errors=("not_found", "invalid"),
    ),
    Route(
        "events",
        "GET",
        "/api/events",
        "What happens, as server-sent events",
        t.EventInfo,
        query=t.EventQuery,
        stream="sse",
    ),
    Route(
        "console",
        "GET",
        "/api/console",
        "A colony's lines from now on, as `colony run` shows them",
        str,
        query=t.ConsoleQuery,
        stream="text",
    ),
    Route("tree", "GET", "/api/tree", "The supervision tree", t.Node),
    Route(
        "colony_tree",
        "GET",
        f"{_COLONY}/tree",
        "The supervision tree of one colony",
        t.Node,
        errors=("not_found",),
    ),
    Route("list_routes", "GET", "/api/routes", "The routes of the front door", tuple[t.Route, ...]),
    # -- the network
    Route(
        "network_ports",
        "GET",
        "/api/network/ports",
        "The host's ports that lead into colonies, and what listens in there",
        n.Ports,
    ),
    Route("network_rules", "GET", "/api/network/rules", "What may pass, and to where", n.Rules),
    Route(
        "network_names",
        "GET",
        "/api/network/names",
        "The name server, and the names by which colonies know each other",
        n.Names,
        errors=("failed",),
    ),
    Route("list_networks", "GET", "/api/networks", "All networks", tuple[n.NetworkGroup, ...]),
    Route(
        "create_network",
        "POST",
        "/api/networks",
        "Create a network with a subnet of its own",
        n.NamedNetwork,
        body=n.NewNetwork,
        status=201,
        errors=("conflict", "invalid", "failed"),
    ),
    Route(
        "remove_network",
        "DELETE",
        "/api/networks/{network}",
        "Remove a network that no colony uses",
        n.NamedNetwork,
        errors=("not_found", "conflict", "failed"),
    ),
    Route(
        "get_network",
        "GET",
        "/api/networks/{network}",
        "One network",
        n.NetworkGroup,
        errors=("not_found",),
    ),
    Route(
        "ping",
        "POST",
        "/api/network/ping",
        "Try to reach one colony from inside another",
        n.Pinged,
        body=n.Ping,
        errors=("not_found", "conflict"),
    ),
    Route(
        "focus",
        "POST",
        "/api/network/focus",
        "Give the plain localhost ports to one colony",
        n.Focused,
        body=n.FocusOn,
        errors=("not_found", "conflict", "failed"),
    ),
    Route(
        "add_forward",
        "POST",
        f"{_COLONY}/forwards",
        "Lead a port of the host into a colony while it runs",
        n.Forwarded,
        body=n.NewForward,
        errors=("not_found", "conflict", "invalid", "failed"),
    ),
    Route(
        "remove_forward",
        "DELETE",
        f"{_COLONY}/forwards/{{port}}",
        "Take a forward back",
        n.Forwarded,
        query=n.ForwardQuery,
        errors=("not_found", "conflict", "invalid", "failed"),
    ),
    Route(
        "stop_instance",
        "POST",
        "/api/stop",
        "End the instance, unless it has colonies",
        t.Stopping,
        query=t.InstanceStopQuery,
        status=202,
        errors=("conflict",),
    ),
)

BY_NAME: Final = {route.name: route for route in ROUTES}
