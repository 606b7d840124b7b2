"""The control API's endpoints, which only the Unix socket has."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlxd.api import control
from mlxd.api.decode import decode
from mlxd.http.body import read_json
from mlxd.http.context import Control
from mlxd.http.endpoints import json_response


class ControlEndpoints:
    """One method an endpoint, each given the request and giving the response."""

    def __init__(self, control: Control) -> None:
        self._control = control

    def routes(self) -> list[Route]:
        """Give the routes of `/control/v1/`."""
        return [
            Route("/control/v1/status", self.status),
            Route("/control/v1/models", self.models),
            Route("/control/v1/use", self.use, methods=["POST"]),
        ]

    async def status(self, _request: Request) -> Response:
        """GET /control/v1/status."""
        return json_response(await self._control.status.read())

    async def models(self, _request: Request) -> Response:
        """GET /control/v1/models."""
        return json_response(self._control.catalog.models())

    async def use(self, request: Request) -> Response:
        """POST /control/v1/use."""
        body = decode(await read_json(request.scope, request.receive), control.UseRequest)
        return json_response(await self._control.memory.use(body.model))
