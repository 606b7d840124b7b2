"""The control API as data, shared with mlxctl: its endpoints and their types.

The endpoints are below `/control/v1/`, on the Unix socket only. Replies are JSON. A request that
sets `stream` gets server-sent events instead: `{"progress": …}` whenever something changes, and at
last `{"done": …}` with the reply, or `{"error": …}`.

Fields may be added, but not taken away: programs of other versions ignore those that they do not
know. This module and `activity` are imported by mlxctl: they stay free of everything but
msgspec.
"""

from typing import Generic, TypeVar

import msgspec

from mlxd.activity import Activity

ReplyT = TypeVar("ReplyT", bound=msgspec.Struct)
ProgressT = TypeVar("ProgressT", bound=msgspec.Struct)


class CrashReport(msgspec.Struct, kw_only=True):
    """One crash of an engine: `at` in Unix seconds, its cause, and the last lines it printed."""

    at: float
    cause: str
    output: list[str] = []


class ModelStatus(msgspec.Struct, kw_only=True):
    """One model that is or recently was in memory, with or without an adapter.

    `load_progress` is from 0 to 1. `expires_in_s` is None for a model that is in use or stays in
    memory. `cause` says why the state is `failed`; `crashes` counts recent crashes.

    `memory_bytes` is what its process takes, `memory_limit_bytes` what it may take; `cache_bytes`
    of it are the caches of running sequences, `prompt_cache_bytes` the prompt cache. `requests` is
    how many have not ended; `queued` of them wait for memory, for the load, or for their turn. A
    model that is not `batched` computes one sequence at a time. `kv_bits` is 0 if its caches are in
    full precision. `context_fits` is how many tokens of context a sequence alone may have, at most
    the model's.
    """

    id: str
    adapter: str | None = None
    state: str
    load_progress: float | None = None
    pid: int | None = None
    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    cache_bytes: int | None = None
    prompt_cache_bytes: int | None = None
    requests: int = 0
    queued: int = 0
    batched: bool | None = None
    kv_bits: int | None = None
    context_fits: int | None = None
    tokens_per_second: float | None = None
    expires_in_s: float | None = None
    pinned: bool = False
    cause: str | None = None
    crashes: int = 0
    last_crash: CrashReport | None = None


class Status(msgspec.Struct, kw_only=True):
    """What `mlxctl status --json` prints; paths are absolute, `url` is the API's base URL.

    A daemon that is `stopping` finishes its requests and accepts no new ones. `default_fault` says
    why there is no `default_model`. `silent_dirs` are folders of models that do not answer: what
    was last found there counts. `network` has the variables with which it reaches the model hub,
    without secrets.
    """

    running: bool
    stopping: bool = False
    pid: int | None = None
    version: str | None = None
    url: str | None = None
    socket: str
    config: str
    settings: str
    models_dir: str
    adapters_dir: str
    cache_dir: str = ""
    responses_dir: str = ""
    log: str
    network: dict[str, str] | None = None
    uptime_s: float | None = None
    default_model: str | None = None
    default_fault: str | None = None
    silent_dirs: list[str] = []
    memory_limit_bytes: int | None = None
    models: list[ModelStatus] = []


class ReloadReply(msgspec.Struct, kw_only=True):
    """The keys of the configuration that have changed: those `taken`, those for a `restart`."""

    taken: list[str]
    restart: list[str]


class CatalogModel(msgspec.Struct, kw_only=True):
    """One model on disk.

    `quantization` is for example "4-bit", "4/8-bit" if layers differ, or "mxfp4"; for weights that
    are not quantized it is their type, such as "bfloat16". `origin` is "models directory",
    "models.dirs" or "hub cache"; mlxd only reads the latter two.
    """

    id: str
    path: str
    origin: str = "models directory"
    size_bytes: int
    architecture: str
    quantization: str | None = None
    context_length: int | None = None
    state: str = "unloaded"
    default: bool = False


class BrokenModel(msgspec.Struct, kw_only=True):
    """An incomplete or invalid model folder, which is not served; `fault` says why."""

    id: str
    path: str
    origin: str
    size_bytes: int
    fault: str


class ModelListing(msgspec.Struct, kw_only=True):
    """All models on disk: those that can be served, and broken ones."""

    models: list[CatalogModel]
    broken: list[BrokenModel] = []


class TemplateSupport(msgspec.Struct, kw_only=True):
    """What a model's chat template supports."""

    tools: bool
    thinking: bool


class ModelDetails(msgspec.Struct, kw_only=True):
    """What `mlxctl show --json` prints.

    A broken model has a `fault`, and only the facts that every folder has. `memory_bytes` estimates
    the memory for a conversation of `cached_tokens` tokens; `cache_bytes` of it are the
    conversation's, and each more token takes `token_bytes`. `context_fits` is how many tokens of
    context, at most the model's, fit in memory beside the weights: as measured, or for a model that
    is not in memory, estimated as if it were alone there. `batched` and `kv_bits` are as in
    `ModelStatus`. `template` is None for a model without a chat template. `sampling` is what
    requests get that do not say how to sample, `own_sampling` what the model asks for.
    """

    id: str
    path: str
    origin: str
    size_bytes: int
    created: int
    aliases: list[str] = []
    fault: str | None = None
    state: str = "unloaded"
    default: bool = False
    architecture: str | None = None
    parameters: int | None = None
    quantization: str | None = None
    context_length: int | None = None
    memory_bytes: int | None = None
    cache_bytes: int | None = None
    cached_tokens: int | None = None
    token_bytes: int | None = None
    context_fits: int | None = None
    batched: bool | None = None
    kv_bits: int | None = None
    template: TemplateSupport | None = None
    license: str | None = None
    adapters: list[str] = []
    sampling: dict[str, float] = {}
    own_sampling: dict[str, float] = {}


class Removal(msgspec.Struct, kw_only=True):
    """A model that was removed, or would be; if it is a `link`, the files it leads to stay.

    `default` tells whether it was the configured default; `aliases` are its aliases.
    """

    id: str
    path: str
    size_bytes: int
    link: bool = False
    default: bool = False
    aliases: list[str] = []


class Alias(msgspec.Struct, kw_only=True):
    """Another name for a model; `exists` tells whether that model exists."""

    name: str
    model: str
    exists: bool = True


class AliasList(msgspec.Struct, kw_only=True):
    """All aliases, sorted by name."""

    aliases: list[Alias]


class AliasRemoval(msgspec.Struct, kw_only=True):
    """A removed alias; `now` is what config.toml or the environment still define it as."""

    name: str
    now: str | None = None


class Progress(msgspec.Struct, kw_only=True):
    """How far a task is: `status` is waiting, loading, draining or ready, `fraction` up to 1."""

    status: str
    model: str
    fraction: float | None = None
    requests: int | None = None


class LoadRequest(msgspec.Struct, kw_only=True):
    """Load `model`, or the default model; `keep_alive` is as in a chat request."""

    model: str | None = None
    keep_alive: float | str | None = None
    stream: bool = False


class UnloadRequest(msgspec.Struct, kw_only=True):
    """Unload `model`, or every model, once its requests have ended."""

    model: str | None = None
    stream: bool = False


class UnloadReply(msgspec.Struct, kw_only=True):
    """The ids of the models that were unloaded."""

    models: list[str]


class UseRequest(msgspec.Struct, kw_only=True):
    """Make `model` the default once it is loaded; `wait` also for the old default's requests."""

    model: str
    wait: bool = False
    stream: bool = False


class UseReply(msgspec.Struct, kw_only=True):
    """The new default model, its state, and what overrides it at the next start."""

    model: str
    state: str
    overridden_by: str | None = None


class PullRequest(msgspec.Struct, kw_only=True):
    """Download `model` (`OWNER/NAME` or `OWNER/NAME@REVISION`), or watch its running download."""

    model: str
    stream: bool = False


class PullStatus(msgspec.Struct, kw_only=True):
    """One unfinished download.

    `state` is queued, asking, downloading, verifying, checking, retrying or failed; `cause`
    explains the last two, and queued if another daemon downloads the model. `bytes_total` is None
    until the hub has answered.
    """

    model: str
    revision: str
    state: str
    bytes_done: int = 0
    bytes_total: int | None = None
    bytes_per_second: float | None = None
    file: str | None = None
    cause: str | None = None


class PullList(msgspec.Struct, kw_only=True):
    """The downloads that are running, waiting or have failed."""

    pulls: list[PullStatus]


class PullReply(msgspec.Struct, kw_only=True):
    """A downloaded model in `path`; `up_to_date` if it was already there, as the hub has it."""

    model: str
    revision: str
    commit: str
    path: str
    size_bytes: int
    bytes_fetched: int
    up_to_date: bool


class CancelPullRequest(msgspec.Struct, kw_only=True):
    """Cancel the download of `model` and remove its partial files."""

    model: str


class CancelPullReply(msgspec.Struct, kw_only=True):
    """A cancelled download, and the size of the partial files that were removed."""

    model: str
    bytes_removed: int


class CachedPrompts(msgspec.Struct, kw_only=True):
    """What one model, run in one way, has in the prompt cache on disk.

    `fingerprint` stands for the model's files, the adapter's, and how they are run: after a change
    a model starts again under another one. `model` is None if it is unknown. `last_used` is in
    Unix seconds.
    """

    fingerprint: str
    model: str | None = None
    adapter: str | None = None
    files: int
    tokens: int
    size_bytes: int
    last_used: float


class PromptCacheListing(msgspec.Struct, kw_only=True):
    """The prompt cache on disk, the model last used first; a `limit_bytes` of 0 turns it off."""

    folder: str
    limit_bytes: int
    size_bytes: int
    models: list[CachedPrompts]


class PromptCacheRemoval(msgspec.Struct, kw_only=True):
    """What was removed from the prompt cache on disk."""

    files: int
    size_bytes: int


class Endpoint(msgspec.Struct, Generic[ReplyT], frozen=True):
    """One endpoint; the parameters in braces in its `path` may hold slashes.

    `request` is the type of the body, None for no body. `flags` are the query parameters, which are
    "true" or absent. `seconds` is how long the reply may take, None for the usual time.
    """

    method: str
    path: str
    request: type[msgspec.Struct] | None
    reply: type[ReplyT]
    flags: tuple[str, ...] = ()
    seconds: float | None = None


class StreamEndpoint(Endpoint[ReplyT], Generic[ReplyT, ProgressT], frozen=True, kw_only=True):
    """An endpoint whose requests have a field `stream`; `progress` is what such a stream shows."""

    progress: type[ProgressT]


RELOAD = Endpoint("POST", "/control/v1/reload", None, ReloadReply)
STATUS = Endpoint("GET", "/control/v1/status", None, Status)
ACTIVITY = Endpoint("GET", "/control/v1/activity", None, Activity, flags=("hour",))
LIST_MODELS = Endpoint("GET", "/control/v1/models", None, ModelListing)
SHOW_MODEL = Endpoint("GET", "/control/v1/models/{model}", None, ModelDetails)
REMOVE_MODEL = Endpoint(
    "DELETE", "/control/v1/models/{model}", None, Removal, flags=("dry_run",), seconds=120.0
)
LIST_ALIASES = Endpoint("GET", "/control/v1/aliases", None, AliasList)
SET_ALIAS = Endpoint("POST", "/control/v1/aliases", Alias, Alias)
REMOVE_ALIAS = Endpoint("DELETE", "/control/v1/aliases/{name}", None, AliasRemoval)
LOAD = StreamEndpoint("POST", "/control/v1/load", LoadRequest, ModelStatus, progress=Progress)
UNLOAD = StreamEndpoint("POST", "/control/v1/unload", UnloadRequest, UnloadReply, progress=Progress)
USE = StreamEndpoint("POST", "/control/v1/use", UseRequest, UseReply, progress=Progress)
LIST_PULLS = Endpoint("GET", "/control/v1/pulls", None, PullList)
PULL = StreamEndpoint("POST", "/control/v1/pull", PullRequest, PullReply, progress=PullStatus)
CANCEL_PULL = Endpoint("POST", "/control/v1/pull/cancel", CancelPullRequest, CancelPullReply)
SHOW_CACHE = Endpoint("GET", "/control/v1/cache", None, PromptCacheListing, seconds=30.0)
CLEAR_CACHE = Endpoint("DELETE", "/control/v1/cache", None, PromptCacheRemoval, seconds=120.0)
CLEAR_MODEL_CACHE = Endpoint(
    "DELETE", "/control/v1/cache/{model}", None, PromptCacheRemoval, seconds=120.0
)
