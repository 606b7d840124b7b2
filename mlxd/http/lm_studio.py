"""LM Studio's list of models, which programs made for it ask for what a model can do.

The format is LM Studio's: https://lmstudio.ai/docs/developer/rest
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlxd.control_api import ModelStatus
from mlxd.http.connection import json_response
from mlxd.http.generate import Dependencies
from mlxd.http.record import caller_of
from mlxd.models.catalog import CatalogEntry


class StudioModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model; context lengths are in tokens."""

    id: str
    object: Literal["model"] = "model"
    type: Literal["llm"] = "llm"
    publisher: str
    arch: str
    compatibility_type: Literal["mlx"] = "mlx"
    quantization: str
    state: Literal["loaded", "not-loaded"]
    max_context_length: int
    loaded_context_length: int | UnsetType = UNSET
    capabilities: tuple[str, ...] = ("tool_use",)


class StudioModels(msgspec.Struct, frozen=True):
    """Every model that a request can name."""

    data: list[StudioModel]
    object: Literal["list"] = "list"


def routes(dependencies: Dependencies) -> list[Route]:
    """Return the routes of the list, and of one model."""
    endpoints = _Endpoints(dependencies)
    return [
        Route("/api/v0/models", endpoints.models),
        Route("/api/v0/models/{id:path}", endpoints.model),  # an id may hold slashes
    ]


class _Endpoints:
    """Each takes the request and returns the response."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._catalog = dependencies.catalog
        self._status = dependencies.control.status

    async def models(self, request: Request) -> Response:
        resident, caller = await self._resident(), caller_of(request.scope)
        entries = [entry for entry in self._catalog.entries() if caller.may_use(entry.id)]
        return json_response(StudioModels([_describe(e, resident.get(e.id)) for e in entries]))

    async def model(self, request: Request) -> Response:
        entry = caller_of(request.scope).resolve(self._catalog.resolve, request.path_params["id"])
        resident = await self._resident()
        return json_response(_describe(entry, resident.get(entry.id)))

    async def _resident(self) -> dict[str, ModelStatus]:
        models = (await self._status.read()).models
        return {model.id: model for model in models if model.memory_bytes}


def _describe(entry: CatalogEntry, status: ModelStatus | None) -> StudioModel:
    publisher, _, _ = entry.id.rpartition("/")
    longest = entry.context_length or 0
    fits = (status.context_fits or longest) if status else UNSET
    return StudioModel(
        id=entry.id,
        publisher=publisher,
        arch=entry.architecture,
        quantization=entry.quantization or "",
        state="loaded" if status else "not-loaded",
        max_context_length=longest,
        loaded_context_length=fits,
    )
