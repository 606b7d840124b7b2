"""What the page at `/` asks the daemon for, as data: a part of the control API, on TCP.

The endpoints of `PAGE` are served below `/ui/v1/` where the control API has `/control/v1/`, with
the same types. Each needs a right of its caller. The page's own origin may call them and no other.
"""

from typing import Any

import msgspec

from mlxd import control_api
from mlxd.control_api import Endpoint

PREFIX = "/ui/v1"
_CONTROL_PREFIX = "/control/v1"


class PageToken(msgspec.Struct, kw_only=True):
    """A key with all rights, which ends with the daemon: `mlxctl open` gives it to the page."""

    token: str


class LogTail(msgspec.Struct, kw_only=True):
    """The last lines of the daemon's log `file`; there are none if it logs elsewhere."""

    file: str
    lines: list[str]


class CallerRights(msgspec.Struct, kw_only=True):
    """Who a request comes from, and what they may do: rights of `mlxctl key`."""

    name: str
    rights: list[str]


OPEN_PAGE = Endpoint("POST", "/control/v1/page_token", None, PageToken)
READ_LOG = Endpoint("GET", "/control/v1/log", None, LogTail)
SHOW_CALLER = Endpoint("GET", "/ui/v1/caller", None, CallerRights)

PAGE: tuple[Endpoint[Any], ...] = (
    control_api.STATUS,
    control_api.ACTIVITY,
    control_api.LIST_MODELS,
    control_api.SHOW_MODEL,
    control_api.LIST_PULLS,
    control_api.LOAD,
    control_api.UNLOAD,
    control_api.USE,
    control_api.PULL,
    control_api.CANCEL_PULL,
    READ_LOG,
)


def path_on_tcp(endpoint: Endpoint[Any]) -> str:
    """Return the path at which the page finds an endpoint of PAGE."""
    return PREFIX + endpoint.path.removeprefix(_CONTROL_PREFIX)
