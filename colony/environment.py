"""The environment of a service: pure.

Three layers, the later over the earlier: the system's, the colony's, the service's own. Between
the first and the second stands what Colony itself tells each service, so that a file can still
say otherwise:

    PORT                 its port
    COLONY_NAME          its colony
    COLONY_SERVICE       itself
    COLONY_URL           its own URL
    COLONY_URL_<NAME>    the URL of each service of the colony, API_V2 for `api-v2`
    PYTHONUNBUFFERED     1: Python's output would otherwise arrive a buffer late, or never
    __VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS
                         Vite answers 403 to a host name that it does not know
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from colony.config import Config, Service

VITE_HOSTS: Final = ".colony.local"

PRIVATE: Final = ("COLONY_INSTANCE",)
"""Variables of our own process that a service must not inherit as they are."""


def service_environment(
    system: Mapping[str, str], config: Config, service: Service, urls: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of one service. `urls` holds those of the colony's services."""
    told = {
        "COLONY_NAME": config.name,
        "COLONY_SERVICE": service.name,
        "PYTHONUNBUFFERED": "1",
        "__VITE_ADDITIONAL_SERVER_ALLOWED_HOSTS": VITE_HOSTS,
    }
    if service.port is not None:
        told["PORT"] = str(service.port)
    if service.name in urls:
        told["COLONY_URL"] = urls[service.name]
    for name, url in urls.items():
        told[f"COLONY_URL_{variable_name(name)}"] = url
    inherited = {name: value for name, value in system.items() if name not in PRIVATE}
    return {**inherited, **told, **config.environment(service)}


def variable_name(service: str) -> str:
    """A service's name as a part of a variable's: `api-v2` → `API_V2`."""
    return service.upper().replace("-", "_")
