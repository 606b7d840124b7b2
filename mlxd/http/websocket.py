"""WebSockets, as the daemon uses uvicorn's; imported with the first connection that wants one."""

import logging
from typing import Any

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import Request

_log = logging.getLogger(__name__)
_log.setLevel(logging.WARNING)  # the access log has the rest


class WebSocketProtocol(WSProtocol):
    """One connection. Its scope has a method too, so that the middleware can treat it like HTTP."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _log

    def handle_connect(self, event: Request) -> None:
        """Begin to serve the connection."""
        super().handle_connect(event)
        self.scope["method"] = "GET"  # type: ignore[typeddict-unknown-key]
