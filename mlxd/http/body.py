"""The body of a request, which has to be JSON."""

from starlette.datastructures import Headers
from starlette.types import Receive, Scope

from mlxd.errors import UnsupportedMediaType
from mlxd.http.disconnect import read_body

_CURL = "application/x-www-form-urlencoded"
"""What `curl -d` says of every body."""


async def read_json(scope: Scope, receive: Receive) -> bytes:
    """Give the whole body of a request, if it is announced as JSON or not at all.

    Raises:
        UnsupportedMediaType: it is announced as something else.
        ClientGone: the client disconnected before its end.
    """
    content_type = Headers(scope=scope).get("content-type", "")
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in ("", "application/json", _CURL) and not kind.endswith("+json"):
        raise UnsupportedMediaType("the body has to be JSON: `Content-Type: application/json`")
    return await read_body(receive)
