"""The whole configuration as one typed, frozen tree: defaults, load, check, explain, render."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: frozen, and strict about its keys."""


class ByteSize(int):
    """A number of bytes, written like "32MB" (decimal) or "1GiB" in TOML."""


class Duration(float):
    """A time in seconds, written like "30s", "5m" or "1h" in TOML; negative is for ever."""


class Server(Section, frozen=True):
    """Listeners, who may talk to them, and how much is accepted."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080
    socket: str = ""
    allowed_hosts: list[str] = []
    api_key: str = ""
    max_body: ByteSize = ByteSize(32_000_000)
    max_queue: Annotated[int, Meta(ge=1)] = 512
    drain_timeout: Duration = Duration(30)


class Models(Section, frozen=True):
    """Which models exist and how long one stays in memory."""

    default: str = ""
    keep_alive: Duration = Duration(300)
    dirs: list[str] = []
    aliases: dict[str, str] = {}


class Generation(Section, frozen=True):
    """What a request means that leaves a field out."""

    max_tokens: Annotated[int, Meta(ge=1)] = 512
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Meta(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Meta(ge=0)] = 0
    min_p: Annotated[float, Meta(ge=0, le=1)] = 0.0


class Engine(Section, frozen=True):
    """How an engine runs a model."""

    decode_concurrency: Annotated[int, Meta(ge=1)] = 32
    prompt_concurrency: Annotated[int, Meta(ge=1)] = 8
    prefill_step_size: Annotated[int, Meta(ge=1)] = 2048
    prompt_cache: ByteSize = ByteSize(2_000_000_000)
    trust_remote_code: bool = False


class Log(Section, frozen=True):
    """What the daemon writes about itself."""

    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    format: Literal["text", "json"] = "text"
    max_size: ByteSize = ByteSize(10_000_000)
    keep: Annotated[int, Meta(ge=1)] = 5


class Config(Section, frozen=True):
    """The root of the tree."""

    server: Server = Server()
    models: Models = Models()
    generation: Generation = Generation()
    engine: Engine = Engine()
    log: Log = Log()
