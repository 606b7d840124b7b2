"""Ollama's routes: its dialect, which models there are, and what changes them."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mlxd import control_api
from mlxd.api import ollama
from mlxd.api.decode import decode
from mlxd.api.dialect import Body
from mlxd.control.background import BackgroundTask
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.files import open_regular
from mlxd.http.callers import Caller
from mlxd.http.connection import Pace, decoded, json_response, read_json
from mlxd.http.generate import Dependencies, GenerateEndpoint
from mlxd.http.record import caller_of
from mlxd.models.catalog import CatalogEntry

_LOOK_SECONDS = 0.25
_MAX_TEMPLATE = 1_000_000
_LINES = "application/x-ndjson"
_PULL_WORDS = {"verifying": "verifying sha256 digest", "retrying": "retrying"}
"""What a pull that is not downloading does, in Ollama's words."""


class NamedModel(msgspec.Struct, frozen=True):
    """A body that names a model; `name` is the older field."""

    model: str = ""
    name: str = ""
    stream: bool | None = True

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if not self.wanted:
            raise InvalidRequest("`model`: missing", param="model")

    @property
    def wanted(self) -> str:
        """The name of the model."""
        return self.model or self.name


class Copy(msgspec.Struct, frozen=True):
    """The body of a request for another name of a model."""

    source: str
    destination: str


class ModelFacts(msgspec.Struct, frozen=True):
    """What kind of model one is."""

    family: str
    families: list[str]
    quantization_level: str
    parameter_size: str = ""
    format: str = "safetensors"
    parent_model: str = ""


class TaggedModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model; `size` is in bytes. Those in memory have the last three fields."""

    name: str
    model: str
    modified_at: str | UnsetType = UNSET
    size: int
    digest: str
    details: ModelFacts
    expires_at: str | UnsetType = UNSET
    size_vram: int | UnsetType = UNSET
    context_length: int | UnsetType | None = UNSET


class TaggedModels(msgspec.Struct, frozen=True):
    """Several models."""

    models: list[TaggedModel]


class ShownModel(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model."""

    license: str
    modelfile: str
    parameters: str
    template: str
    details: ModelFacts
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class VersionReply(msgspec.Struct, frozen=True):
    """The version of Ollama whose API this is: programs refuse old ones by it."""

    version: str = "0.13.0"


class PullLine(msgspec.Struct, frozen=True):
    """How far a download is; `total` and `completed` are in bytes."""

    status: str
    digest: str | UnsetType = UNSET
    total: int | UnsetType = UNSET
    completed: int | UnsetType = UNSET


def routes(dependencies: Dependencies, pace: Pace) -> list[Route]:
    """Return the routes below `/api/`."""
    endpoints = _Endpoints(dependencies)
    chat = _OllamaEndpoint(dependencies, ollama.decode_chat, pace)
    generate = _OllamaEndpoint(dependencies, ollama.decode_generate, pace)
    return [
        Route("/api/chat", chat, methods=["POST"]),
        Route("/api/generate", generate, methods=["POST"]),
        Route("/api/version", endpoints.version),
        Route("/api/tags", endpoints.tags),
        Route("/api/ps", endpoints.ps),
        Route("/api/show", endpoints.show, methods=["POST"]),
        Route("/api/pull", endpoints.pull, methods=["POST"]),
        Route("/api/copy", endpoints.copy, methods=["POST"]),
        Route("/api/delete", endpoints.delete, methods=["DELETE"]),
    ]


class _OllamaEndpoint(GenerateEndpoint):
    """A dialect's endpoint where a request without a prompt loads its model, or unloads it."""

    async def answer(self, body: Body, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if not (isinstance(body, ollama.OllamaFields) and body.unloads):
            await super().answer(body, scope, receive, send)
            return
        control = self.dependencies.control
        caller = caller_of(scope)
        if not caller.may_keep:
            caller.check("manage", "to unload a model")
        try:
            entry = await self.dependencies.selection.settled_model(body.model)
        except ModelNotFound as error:
            raise caller.not_found(error, body.model) from None
        caller.check_model(entry.id, body.model)
        await control.loading.release(entry.id)
        line = body.form(body.model or entry.id).line(done_reason="unload")
        await Response(line, media_type="application/json")(scope, receive, send)


class _Endpoints:
    """The endpoints that do not generate; each takes the request and returns the response."""

    def __init__(self, dependencies: Dependencies) -> None:
        self._catalog = dependencies.catalog
        self._control = dependencies.control

    async def version(self, _request: Request) -> Response:
        return json_response(VersionReply())

    async def tags(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        await self._catalog.refresh()
        models = [
            _tagged(entry, modified_at=_time(entry.created))
            for entry in self._catalog.entries()
            if caller.may_use(entry.id)
        ]
        return json_response(TaggedModels(models))

    async def ps(self, request: Request) -> Response:
        caller = caller_of(request.scope)
        await self._catalog.refresh()
        found = self._catalog.entries()
        entries = {entry.id: entry for entry in found if caller.may_use(entry.id)}
        models = [
            _resident(entries[status.id], status)
            for status in (await self._control.status.read()).models
            if status.memory_bytes and status.id in entries
        ]
        return json_response(TaggedModels(models))

    async def show(self, request: Request) -> Response:
        name = (await _body(request, NamedModel)).wanted
        await self._catalog.refresh(name)
        entry = caller_of(request.scope).resolve(self._catalog.resolve, name)
        shown = await self._control.catalog.show(entry.id)
        support = shown.template
        # Models whose template has no tools get instructions for them.
        capabilities = ["completion", "tools"]
        if support is not None and support.thinking:
            capabilities.append("thinking")
        reply = ShownModel(
            license=shown.license or "",
            modelfile=f"FROM {entry.path}\n",
            parameters="",
            template=_template(entry.path),
            details=_facts(entry, shown.parameters),
            model_info={
                "general.architecture": entry.architecture,
                "general.parameter_count": shown.parameters,
                f"{entry.architecture}.context_length": entry.context_length,
            },
            capabilities=capabilities,
            modified_at=_time(entry.created),
        )
        return json_response(reply)

    async def pull(self, request: Request) -> Response:
        body = await _body(request, NamedModel)
        repo = self._control.pulls.repo(body.wanted)
        caller_of(request.scope).check_model(repo, repo)
        task = self._control.pulls.pull(body.wanted)
        if body.stream is False:
            await task.result()
            return json_response(PullLine("success"))
        return StreamingResponse(_progress(task, body.wanted), media_type=_LINES)

    async def copy(self, request: Request) -> Response:
        body = await _body(request, Copy)
        await self._catalog.refresh(body.source)
        caller = caller_of(request.scope)
        caller.resolve(self._catalog.resolve, body.source)
        self._check_alias(caller, body.destination)
        self._control.aliases.set(body.destination, body.source)
        return Response()

    async def delete(self, request: Request) -> Response:
        name, caller = (await _body(request, NamedModel)).wanted, caller_of(request.scope)
        if self._check_alias(caller, name):
            self._control.aliases.remove(name)
            return Response()
        await self._catalog.refresh(name)
        entry = caller.resolve(self._catalog.resolve, name)
        await self._control.loading.unload(entry.id).result()
        await self._control.catalog.remove(entry.id, dry_run=False)
        return Response()

    def _check_alias(self, caller: Caller, name: str) -> bool:
        """Return whether there is an alias `name`.

        Raises ModelForbidden if the caller may not use its model.
        """
        aliases = {alias.name: alias.model for alias in self._control.aliases.list().aliases}
        if name in aliases:
            caller.check_model(aliases[name], name)
        return name in aliases


async def _body(request: Request, kind: type[Any]) -> Any:
    return await decoded(
        partial(decode, body_type=kind), await read_json(request.scope, request.receive)
    )


async def _progress(task: BackgroundTask[control_api.PullReply], name: str) -> AsyncIterator[bytes]:
    """Yield the progress of a download whenever it changes, and at last that it is done."""
    shown: PullLine | None = None
    while not await task.wait(_LOOK_SECONDS if shown else 0):
        line = _pull_line(task.progress(), name)
        if line != shown:
            shown = line
            yield msgspec.json.encode(line) + b"\n"
    await task.result()
    yield msgspec.json.encode(PullLine("success")) + b"\n"


def _pull_line(progress: msgspec.Struct, name: str) -> PullLine:
    if not isinstance(progress, control_api.PullStatus) or not progress.bytes_total:
        return PullLine("pulling manifest")
    if progress.state != "downloading":
        return PullLine(_PULL_WORDS.get(progress.state, "pulling manifest"))
    digest = _digest(f"{name}@{progress.revision}")
    return PullLine(f"pulling {name}", digest, progress.bytes_total, progress.bytes_done)


def _tagged(entry: CatalogEntry, **fields: Any) -> TaggedModel:
    fields.setdefault("size", entry.size_bytes)
    digest = _digest(f"{entry.id}@{entry.created}").removeprefix("sha256:")
    return TaggedModel(
        name=entry.id, model=entry.id, digest=digest, details=_facts(entry), **fields
    )


def _resident(entry: CatalogEntry, status: control_api.ModelStatus) -> TaggedModel:
    # A model that stays in memory has a time far away, as in Ollama.
    seconds = 100 * 365 * 86400.0 if status.expires_in_s is None else status.expires_in_s
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    return _tagged(
        entry,
        size=status.memory_bytes,
        size_vram=status.memory_bytes,
        expires_at=expires.isoformat(),
        context_length=status.context_fits or entry.context_length,
    )


def _facts(entry: CatalogEntry, parameters: int | None = None) -> ModelFacts:
    family = entry.architecture
    size = "" if parameters is None else _in_short(parameters)
    return ModelFacts(family, [family], entry.quantization or "", size)


def _in_short(parameters: int) -> str:
    for unit, name in ((1e9, "B"), (1e6, "M")):
        if parameters >= unit:
            return f"{parameters / unit:.1f}{name}"
    return str(parameters)


def _template(folder: Path) -> str:
    try:
        with open_regular(folder / "chat_template.jinja") as stream:
            return stream.read(_MAX_TEMPLATE).decode()
    except (OSError, UnicodeDecodeError):
        return ""


def _digest(name: str) -> str:
    return "sha256:" + hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
