"""The control API's types, shared with mlxctl: `/control/v1/…`, on the Unix socket only.

    GET    /control/v1/status          → Status
    GET    /control/v1/models          → ModelList
    GET    /control/v1/models/{id}     → ModelDetails
    DELETE /control/v1/models/{id}     → Removal; with ?dry_run=true what it would be
    GET    /control/v1/aliases         → AliasList
    POST   /control/v1/aliases         Alias → Alias
    DELETE /control/v1/aliases/{name}  → AliasRemoval
    POST   /control/v1/load            LoadRequest → ModelStatus
    POST   /control/v1/unload          UnloadRequest → UnloadReply
    POST   /control/v1/use             UseRequest → UseReply
    GET    /control/v1/pulls           → PullList
    POST   /control/v1/pull            PullRequest → PullReply, its progress PullStatus
    POST   /control/v1/pull/cancel     CancelPullRequest → CancelPullReply

Where a request says `stream`, its reply comes as server-sent events: `{"progress": …}` whenever
something changes, a Progress unless the list says otherwise, and at last `{"done": …}` with the
reply, or `{"error": …}`.

This module is imported by mlxctl: it stays free of everything but msgspec.
"""

import msgspec


class CrashReport(msgspec.Struct, kw_only=True):
    """One end of an engine that nobody wanted; `at` is unix time, `output` its last lines."""

    at: float
    cause: str
    output: list[str] = []


class ModelStatus(msgspec.Struct, kw_only=True):
    """One model that is, or was lately, in memory, with or without an adapter.

    `load_progress` is from 0 to 1, `expires_in_s` None where it stays or is in use. `cause` says
    why its state is `failed`; `crashes` counts those of the last minutes.
    """

    id: str
    adapter: str | None = None
    state: str
    load_progress: float | None = None
    pid: int | None = None
    memory_bytes: int | None = None
    requests: int = 0
    tokens_per_second: float | None = None
    expires_in_s: float | None = None
    pinned: bool = False
    cause: str | None = None
    crashes: int = 0
    last_crash: CrashReport | None = None


class Status(msgspec.Struct, kw_only=True):
    """What `mlxctl status --json` prints; paths are absolute, `url` is the API's base URL.

    A daemon that is `stopping` lets its requests finish, and accepts none. `default_fault` says why
    there is no `default_model`.
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
    log: str
    uptime_s: float | None = None
    default_model: str | None = None
    default_fault: str | None = None
    memory_limit_bytes: int | None = None
    models: list[ModelStatus] = []


class CatalogModel(msgspec.Struct, kw_only=True):
    """One model on disk.

    `quantization` is like "4-bit", "4/8-bit" where layers differ, or "mxfp4"; for weights that are
    not quantised their type, like "bfloat16". `origin` is "models directory", "models.dirs" or
    "hub cache"; mlxd only reads the latter two.
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
    """A folder that should be a model and is none; `fault` says why."""

    id: str
    path: str
    origin: str
    size_bytes: int
    fault: str


class ModelListing(msgspec.Struct, kw_only=True):
    """Every model that can be asked for, and what is broken."""

    models: list[CatalogModel]
    broken: list[BrokenModel] = []


class TemplateSupport(msgspec.Struct, kw_only=True):
    """What a model's chat template has a place for."""

    tools: bool
    thinking: bool


class ModelDetails(msgspec.Struct, kw_only=True):
    """What `mlxctl show --json` prints.

    Of a broken model, whose `fault` says why, only what every folder has is known. `memory_bytes`
    is about what it takes with a conversation of `cached_tokens` tokens, of which `cache_bytes` are
    the conversation's; `template` is None for a model that has none.
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
    template: TemplateSupport | None = None
    license: str | None = None
    adapters: list[str] = []


class Removal(msgspec.Struct, kw_only=True):
    """A model that was removed, or would be; a `link` leads to its files, which stay.

    `default` says that it was chosen as the default, `aliases` what else it was called.
    """

    id: str
    path: str
    size_bytes: int
    link: bool = False
    default: bool = False
    aliases: list[str] = []


class Alias(msgspec.Struct, kw_only=True):
    """Another name for a model; `exists` says whether there is a model that it stands for."""

    name: str
    model: str
    exists: bool = True


class AliasList(msgspec.Struct, kw_only=True):
    """All of them, by name."""

    aliases: list[Alias]


class AliasRemoval(msgspec.Struct, kw_only=True):
    """The alias that is gone; `now` is what config.toml or the environment make of its name."""

    name: str
    now: str | None = None


class Progress(msgspec.Struct, kw_only=True):
    """How far something is: `status` is waiting, loading, draining or ready, `fraction` up to 1."""

    status: str
    model: str
    fraction: float | None = None
    requests: int | None = None


class LoadRequest(msgspec.Struct, kw_only=True):
    """Bring `model`, or the default, into memory; `keep_alive` is as in a chat request."""

    model: str | None = None
    keep_alive: float | str | None = None
    stream: bool = False


class UnloadRequest(msgspec.Struct, kw_only=True):
    """Take `model`, or every model, out of memory once its requests have ended."""

    model: str | None = None
    stream: bool = False


class UnloadReply(msgspec.Struct, kw_only=True):
    """What was in memory and is no longer."""

    models: list[str]


class UseRequest(msgspec.Struct, kw_only=True):
    """Make `model` the default once it is in memory; `wait` for the old one's requests too."""

    model: str
    wait: bool = False
    stream: bool = False


class UseReply(msgspec.Struct, kw_only=True):
    """The id of the default model now, its state, and what will win over it at the next start."""

    model: str
    state: str
    overridden_by: str | None = None


class PullRequest(msgspec.Struct, kw_only=True):
    """Download `model`, which is `OWNER/NAME` or `OWNER/NAME@REVISION`, or join its download."""

    model: str
    stream: bool = False


class PullStatus(msgspec.Struct, kw_only=True):
    """One download that is not done.

    `state` is queued, asking, downloading, verifying, retrying or failed; `cause` says why it is
    one of the last two. `bytes_total` is None until the hub has answered.
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
    """The downloads that run, wait or have failed."""

    pulls: list[PullStatus]


class PullReply(msgspec.Struct, kw_only=True):
    """A model is in `path`; with `up_to_date` it was there, and is what the hub has."""

    model: str
    revision: str
    commit: str
    path: str
    size_bytes: int
    bytes_fetched: int
    up_to_date: bool


class CancelPullRequest(msgspec.Struct, kw_only=True):
    """End the download of `model` and remove what has come of it."""

    model: str


class CancelPullReply(msgspec.Struct, kw_only=True):
    """What was cancelled, and how much of it had come."""

    model: str
    bytes_removed: int
