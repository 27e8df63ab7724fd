"""pyroute2's message classes, without the rest of pyroute2.

Importing any module of a package runs the package's `__init__`, and pyroute2's brings in all that
it has: a database, plan 9, WireGuard. That takes 70 ms and 18 MiB, of which the three classes that
we encode and decode with need 17 ms and 1 MiB; every `colony run` would pay it. So they are loaded
below a stand-in of the package, which goes again at once: whoever imports pyroute2 itself later
gets the real one.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager

_PACKAGE = "pyroute2"


@contextmanager
def _stand_in() -> Iterator[None]:
    """A package that finds its modules and runs nothing, unless the real one is there already."""
    spec = None if _PACKAGE in sys.modules else importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.submodule_search_locations is None:
        yield
        return
    package = types.ModuleType(_PACKAGE)
    package.__path__ = spec.submodule_search_locations
    package.__spec__ = spec
    sys.modules[_PACKAGE] = package
    try:
        yield
    finally:
        if sys.modules.get(_PACKAGE) is package:
            del sys.modules[_PACKAGE]


with _stand_in():
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

__all__ = ["ifaddrmsg", "ifinfmsg", "rtmsg"]
