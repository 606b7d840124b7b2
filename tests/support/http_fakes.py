"""A scripted catalog, pool and control for tests of the HTTP side."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mlxd import control_api, page_api
from mlxd.config import (
    CurrentConfig,
    GenerationConfig,
    LimitsConfig,
    ModelSettings,
    ResponsesConfig,
    ServerConfig,
)
from mlxd.control.background import BackgroundTask
from mlxd.errors import InvalidRequest, MlxdError, ModelNotFound
from mlxd.generate_request import GenerateRequest
from mlxd.http.caller_limits import Limiter
from mlxd.http.callers import Callers
from mlxd.http.generate import Dependencies
from mlxd.http.intake import Intake
from mlxd.hub import reference
from mlxd.keys import KeyRing
from mlxd.messages import ChoiceEvent, Delta, Finished, Started, Usage
from mlxd.metrics.metrics import Metrics
from mlxd.metrics.request_meter import RequestMeter
from mlxd.models.catalog import Adapter, CatalogEntry
from mlxd.models.selection import Selection
from mlxd.stored_responses import ResponseStore

STARTED: list[ChoiceEvent] = [(0, Started(1, 5, 0))]
FINISHED: list[ChoiceEvent] = [(0, Finished(1, "stop", Usage(5, 0, 2)))]


def text(*pieces: str) -> list[ChoiceEvent]:
    return [(0, Delta(1, piece)) for piece in pieces]


HELLO: list[list[ChoiceEvent]] = [STARTED, text("Hel"), text("lo"), FINISHED]

Step = list[ChoiceEvent] | asyncio.Event | Exception


class FakeMeter(RequestMeter):
    """Counts tokens, and knows how long everything takes."""

    queue = 0.001
    prefill = 0.25
    decode = 0.5


class ScriptedRequest:
    """Yields lists of events, waits for asyncio events and raises exceptions, as scripted."""

    def __init__(self, script: Sequence[Step], meter: RequestMeter) -> None:
        self.progress = "queued 3"
        self.meter = meter
        self.closed = asyncio.Event()
        self._script = script

    async def __aiter__(self) -> AsyncIterator[list[ChoiceEvent]]:
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, asyncio.Event):
                await step.wait()
            else:
                self.meter.note(step)
                yield step

    async def aclose(self) -> None:
        self.closed.set()


@dataclass
class FakePool:
    script: Sequence[Step] = field(default_factory=lambda: HELLO)
    refusal: MlxdError | None = None
    illness: MlxdError | None = None
    entries: list[CatalogEntry] = field(default_factory=list)
    requests: list[GenerateRequest] = field(default_factory=list)
    kept: list[float | None] = field(default_factory=list)  # for how many seconds
    accepted: list[ScriptedRequest] = field(default_factory=list)
    submitted: asyncio.Event = field(default_factory=asyncio.Event)
    metrics: Metrics = field(default_factory=Metrics)

    def submit(
        self,
        entry: CatalogEntry,
        requests: Sequence[GenerateRequest],
        *,
        stream: bool,
        keep_alive: float | None = None,
        arrived: float | None = None,
    ) -> ScriptedRequest:
        if self.refusal is not None:
            raise self.refusal
        self.entries.append(entry)
        self.requests += requests
        self.kept.append(keep_alive)
        self.accepted.append(
            ScriptedRequest(self.script, FakeMeter(self.metrics, entry.id, arrived))
        )
        self.submitted.set()
        return self.accepted[-1]

    async def healthy(self) -> None:
        if self.illness is not None:
            raise self.illness


class FakeCatalog:
    unread: tuple[str, ...] = ()

    async def refresh(self, name: str | None = None) -> None:
        pass

    def entries(self) -> list[CatalogEntry]:
        return [_entry("tiny"), _entry("owner/name")]

    def resolve(self, name: str | None) -> CatalogEntry:
        if name in (None, "default_model"):
            return _entry("tiny")
        if name in ("tiny", "owner/name"):
            return _entry(name)
        raise ModelNotFound(f"no model {name!r}; near ones: tiny", param="model")

    def adapter(self, name: str) -> Adapter:
        if name == "pirate":
            return Adapter(name, Path("/adapters/pirate"))
        raise InvalidRequest(f"no adapter {name!r}; there is pirate", param="adapters")


class FakeSettings(msgspec.Struct):
    server: ServerConfig
    model: ModelSettings
    responses: ResponsesConfig = ResponsesConfig()

    def for_model(self, model_id: str) -> ModelSettings:
        return self.model


class FakeControl:
    """All subjects of the control API in one."""

    def __init__(self, metrics: Metrics) -> None:
        self.activity = metrics.activity
        self.status = self.catalog = self.loading = self.log = self
        self.aliases, self.pulls = FakeAliases(), FakePulls()
        self.prompt_cache = FakePromptCache()
        self.removed: list[tuple[str, bool]] = []
        self.progress = control_api.Progress(status="loading", model="tiny", fraction=0.0)
        self.failure: MlxdError | None = None
        self.loaded = asyncio.Event()
        self.loaded.set()
        self.names: list[str] = []  # of models

    async def refresh(self, name: str | None = None) -> None:
        pass

    async def reload(self) -> control_api.ReloadReply:
        return control_api.ReloadReply(taken=["models.keep_alive"], restart=[])

    async def read(self) -> control_api.Status:
        return control_api.Status(
            running=True,
            socket="/s",
            config="/c",
            settings="/t",
            models_dir="/m",
            adapters_dir="/a",
            log="/l",
            default_model=self.names[0] if self.names else None,
            models=[control_api.ModelStatus(id=name, state="ready") for name in self.names],
        )

    def open_page(self) -> page_api.PageToken:
        return page_api.PageToken(token="a-token")

    def tail(self) -> page_api.LogTail:
        return page_api.LogTail(file="/l", lines=["one", "two"])

    def models(self) -> control_api.ModelListing:
        return control_api.ModelListing(
            models=[
                control_api.CatalogModel(id=name, path="/m", size_bytes=1, architecture="llama")
                for name in self.names
            ]
        )

    async def show(self, model: str) -> control_api.ModelDetails:
        return control_api.ModelDetails(
            id=model, path="/m", origin="models directory", size_bytes=1, created=2
        )

    async def remove(self, model: str, *, dry_run: bool) -> control_api.Removal:
        self.removed.append((model, dry_run))
        return control_api.Removal(id=model, path="/m", size_bytes=1)

    def use(self, name: str, *, wait: bool) -> BackgroundTask[control_api.UseReply]:
        async def load() -> control_api.UseReply:
            await self.loaded.wait()
            if self.failure is not None:
                raise self.failure
            return control_api.UseReply(model=FakeCatalog().resolve(name).id, state="ready")

        return BackgroundTask(load(), lambda: self.progress, set())


class FakePulls:
    def repo(self, name: str) -> str:
        return reference.parse(name).repo

    def list(self) -> control_api.PullList:
        return control_api.PullList(pulls=[])


class FakePromptCache:
    def __init__(self) -> None:
        self.cleared: list[str | None] = []

    async def show(self) -> control_api.PromptCacheListing:
        return control_api.PromptCacheListing(
            folder="/c/prompts", limit_bytes=10, size_bytes=0, models=[]
        )

    async def clear(self, model: str | None = None) -> control_api.PromptCacheRemoval:
        self.cleared.append(model)
        return control_api.PromptCacheRemoval(files=2, size_bytes=7)


class FakeAliases:
    def __init__(self) -> None:
        self.names = {"small": "tiny"}

    def list(self) -> control_api.AliasList:
        return control_api.AliasList(
            aliases=[
                control_api.Alias(name=name, model=model) for name, model in self.names.items()
            ]
        )

    def set(self, name: str, model: str) -> control_api.Alias:
        self.names[name] = model
        return control_api.Alias(name=name, model=model)

    def remove(self, name: str) -> control_api.AliasRemoval:
        del self.names[name]
        return control_api.AliasRemoval(name=name)


USUAL = ModelSettings(generation=GenerationConfig(max_tokens=77))


def make_dependencies(
    pool: FakePool,
    model: ModelSettings = USUAL,
    *,
    responses: Path | None = None,
    ring: KeyRing | None = None,
    limiter: Limiter | None = None,
    **server: object,
) -> Dependencies:
    """Return what endpoints need, around `pool`; `server` are keys of the section [server].

    Responses are stored in the folder `responses`, if there is one.
    """
    settings, catalog = FakeSettings(msgspec.convert(server, ServerConfig), model), FakeCatalog()
    settings.responses = ResponsesConfig(store=responses is not None)
    key = settings.server.api_key
    store = ResponseStore(responses or Path("/none"), key=key, max_bytes=10**6, max_age=60.0)
    selection = Selection(catalog, settings)
    callers = Callers(key, ring)
    limiter = limiter or Limiter(LimitsConfig())
    intake = Intake(settings.server.max_queue, settings.server.max_queue_size)
    return Dependencies(
        config=CurrentConfig(settings),
        catalog=catalog,
        selection=selection,
        pool=pool,
        control=FakeControl(pool.metrics),
        responses=store,
        callers=callers,
        limiter=limiter,
        intake=intake,
        metrics=pool.metrics,
    )


def _entry(name: str) -> CatalogEntry:
    return CatalogEntry(
        id=name,
        path=Path("/models") / name,
        created=1_700_000_000,
        size_bytes=1,
        architecture="llama",
        quantization=None,
        context_length=None,
    )
