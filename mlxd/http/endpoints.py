"""The endpoints that do not generate, and what all endpoints use of the daemon."""

from dataclasses import dataclass

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from mlxd import __version__
from mlxd.api.reply import Health, ModelCard, ModelList
from mlxd.config import Config
from mlxd.control import Control
from mlxd.errors import MlxdError
from mlxd.http.error_replies import error_response
from mlxd.models.catalog import Catalog
from mlxd.models.selection import Selection
from mlxd.pool.pool import Pool


@dataclass(frozen=True)
class Dependencies:
    """The parts of the daemon that endpoints use."""

    config: Config
    catalog: Catalog
    selection: Selection
    pool: Pool
    control: Control


class Endpoints:
    """One method per endpoint, which takes the request and returns the response."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._catalog = dependencies.catalog
        self._pool = dependencies.pool

    async def health(self, _request: Request) -> Response:
        """GET /health: 503 if the daemon is stopping or an engine does not answer."""
        try:
            await self._pool.healthy()
        except MlxdError as error:
            return error_response(error, status=503)
        return json_response(Health("ok", __version__))

    async def models(self, _request: Request) -> Response:
        """GET /v1/models."""
        entries = self._catalog.entries()
        return json_response(ModelList([ModelCard(e.id, e.created) for e in entries]))

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{id}, where the id may hold slashes."""
        entry = self._catalog.resolve(request.path_params["id"])
        return json_response(ModelCard(entry.id, entry.created))

    async def openapi(self, _request: Request) -> Response:
        """GET /openapi.json."""
        from mlxd.http.openapi import document  # milliseconds and memory that few daemons need

        return json_response(document())


def json_response(reply: object) -> Response:
    """Return `reply` as JSON."""
    return Response(msgspec.json.encode(reply), media_type="application/json")
