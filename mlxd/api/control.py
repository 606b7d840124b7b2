"""The control API's types, shared with mlxctl: `/control/v1/…`, on the Unix socket only.

    GET  /control/v1/status   → Status
    GET  /control/v1/models   → ModelList
    POST /control/v1/use      UseRequest → UseReply

This module is imported by mlxctl: it stays free of everything but msgspec.
"""

import msgspec


class ModelStatus(msgspec.Struct, kw_only=True):
    """One model that is, or was lately, in memory, with or without an adapter.

    `cause` says why its state is `failed`.
    """

    id: str
    adapter: str | None = None
    state: str
    pid: int | None = None
    memory_bytes: int | None = None
    requests: int = 0
    cause: str | None = None


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
    models: list[ModelStatus] = []


class CatalogModel(msgspec.Struct, kw_only=True):
    """One model on disk; `quantization` is like "4-bit", None for unquantised weights."""

    id: str
    path: str
    size_bytes: int
    architecture: str
    quantization: str | None = None
    context_length: int | None = None
    state: str = "unloaded"
    default: bool = False


class ModelList(msgspec.Struct, kw_only=True):
    """Every model that can be asked for."""

    models: list[CatalogModel]


class UseRequest(msgspec.Struct, kw_only=True):
    """Make `model` the default and start loading it."""

    model: str


class UseReply(msgspec.Struct, kw_only=True):
    """The id of the default model now, its state, and what will win over it at the next start."""

    model: str
    state: str
    overridden_by: str | None = None
