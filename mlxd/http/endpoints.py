"""The endpoints that do not generate: health, models, the description."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlxd import __version__
from mlxd.api.reply import Health, ModelCard, ModelList
from mlxd.errors import MlxdError
from mlxd.http.dependencies import Dependencies
from mlxd.http.error_replies import error_response


class Endpoints:
    """One method an endpoint, each given the request and giving the response."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._dependencies = dependencies

    async def health(self, _request: Request) -> Response:
        """GET /health: 503 when the daemon is stopping, or an engine does not answer."""
        try:
            await self._dependencies.pool.healthy()
        except MlxdError as error:
            return error_response(error, status=503)
        return json_response(Health("ok", __version__))

    async def models(self, _request: Request) -> Response:
        """GET /v1/models."""
        entries = self._dependencies.catalog.entries()
        return json_response(ModelList([ModelCard(e.id, e.created) for e in entries]))

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{id}, where the id may hold slashes."""
        entry = self._dependencies.catalog.resolve(request.path_params["id"])
        return json_response(ModelCard(entry.id, entry.created))

    async def openapi(self, _request: Request) -> Response:
        """GET /openapi.json."""
        # Not for daemons that nobody asks: it takes milliseconds to import and make.
        from mlxd.http.openapi import document

        return Response(msgspec.json.encode(document()), media_type="application/json")


def json_response(reply: msgspec.Struct) -> Response:
    """Give `reply` as JSON."""
    return Response(msgspec.json.encode(reply), media_type="application/json")
