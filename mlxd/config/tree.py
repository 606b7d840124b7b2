"""The whole configuration as one typed, frozen tree: every key, its default and what it does."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlxd import paths
from mlxd.config.values import ByteSize, Duration, File, FolderList, Json, Secret, Size, Time

_NonEmpty = Annotated[str, Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: frozen, and strict about its keys."""


class ServerConfig(Section, frozen=True):
    """Listeners, who may talk to them, and how much is accepted."""

    host: Annotated[
        str,
        Meta(
            min_length=1,
            description="The address to listen on; beyond this machine it needs an api_key.",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The TCP port; 0 takes a free one.")] = (
        8080
    )
    socket: Annotated[
        str, File(), Meta(description="The Unix socket; empty is the standard place.")
    ] = ""
    allowed_hosts: Annotated[
        list[_NonEmpty],
        Meta(description="Names beyond localhost under which clients may address the server."),
    ] = []
    api_key: Annotated[
        str, Secret(), Meta(description="What TCP clients send as bearer token; empty is none.")
    ] = ""
    max_body: Annotated[ByteSize, Meta(description="The largest request body accepted.")] = (
        32_000_000
    )
    max_queue: Annotated[
        int, Meta(ge=1, le=100_000, description="How many requests are accepted at a time.")
    ] = 512
    drain_timeout: Annotated[
        Duration, Meta(description="How long running requests may go on when the daemon stops.")
    ] = 30.0
    idle_exit: Annotated[
        float | None,
        Time(optional=True),
        Meta(
            description="How long an idle daemon stays that a connection will start again; empty "
            "is for ever."
        ),
    ] = None


class ModelsConfig(Section, frozen=True):
    """Which models exist and how long one stays in memory."""

    default: Annotated[
        str, Meta(description="The model of a request that names none; empty is the only one.")
    ] = ""
    keep_alive: Annotated[
        float,
        Time(forever=True),
        Meta(description='How long an unused model stays in memory; "-1" is for ever.'),
    ] = 300.0
    memory_limit: Annotated[
        int,
        Size(minimum=0, automatic=True),
        Meta(description="The memory of all models together; empty is what the machine can spare."),
    ] = 0
    max_loaded: Annotated[
        int, Meta(ge=1, le=1000, description="How many models may be in memory at a time.")
    ] = 3
    pinned: Annotated[
        list[_NonEmpty],
        Meta(description="Models that, once in memory, stay there and make room for no other."),
    ] = []
    dirs: Annotated[
        list[str],
        FolderList(),
        Meta(description="More folders of models, which are only read."),
    ] = []
    aliases: Annotated[
        dict[_NonEmpty, _NonEmpty],
        Meta(description="Other names for models: the alias, then the model's id."),
    ] = {}


class GenerationConfig(Section, frozen=True):
    """What a request means that leaves a field out."""

    max_tokens: Annotated[
        int, Meta(ge=1, le=2**31 - 1, description="How many tokens an answer may have.")
    ] = 512
    temperature: Annotated[
        float, Meta(ge=0, le=2, description="How freely tokens are drawn; 0 takes the likeliest.")
    ] = 0.0
    top_p: Annotated[
        float,
        Meta(gt=0, le=1, description="Draw from the likeliest tokens of this total probability."),
    ] = 1.0
    top_k: Annotated[
        int, Meta(ge=0, le=2**31 - 1, description="Draw from this many tokens; 0 is all.")
    ] = 0
    min_p: Annotated[
        float,
        Meta(ge=0, le=1, description="Drop tokens below this share of the likeliest one's."),
    ] = 0.0


class EngineConfig(Section, frozen=True):
    """How an engine runs a model."""

    decode_concurrency: Annotated[
        int, Meta(ge=1, le=1024, description="How many sequences are decoded together.")
    ] = 32
    prompt_concurrency: Annotated[
        int, Meta(ge=1, le=1024, description="How many prompts are processed together.")
    ] = 8
    prefill_step_size: Annotated[
        int, Meta(ge=1, le=1_000_000, description="How many prompt tokens one step processes.")
    ] = 2048
    prompt_cache: Annotated[
        int, Size(minimum=0), Meta(description="Memory for prompts seen before; 0 is none.")
    ] = 2_000_000_000
    hang_timeout: Annotated[
        Duration,
        Meta(
            description="How long a working engine may be silent before it is ended; 0 is for ever."
        ),
    ] = 30.0
    max_crashes: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="How often a model may crash in five minutes before it is given up; 0 is "
            "no limit.",
        ),
    ] = 3
    spare: Annotated[
        bool, Meta(description="Keep an engine without a model waiting, to load the next faster.")
    ] = False
    trust_remote_code: Annotated[
        bool, Meta(description="Run Python code that a model's folder brings along.")
    ] = False


class LogConfig(Section, frozen=True):
    """What the daemon writes about itself."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"],
        Meta(description="The least that is written."),
    ] = "info"
    format: Annotated[
        Literal["text", "json"], Meta(description="Lines for people, or one JSON object a line.")
    ] = "text"
    max_size: Annotated[
        ByteSize, Meta(description="The size at which a log file is put aside.")
    ] = 10_000_000
    keep: Annotated[
        int, Meta(ge=1, le=1000, description="How many log files that were put aside are kept.")
    ] = 5


class ModelSettings(Section, frozen=True):
    """What holds for one model; `generation` is [generation] with what is different for it."""

    keep_alive: Annotated[
        float | None,
        Time(forever=True, optional=True),
        Meta(description="How long it stays in memory unused; empty is as [models] says."),
    ] = None
    adapter: Annotated[
        str, Meta(description="The adapter that is applied to it; empty is none.")
    ] = ""
    draft_model: Annotated[
        str,
        Meta(description="A smaller model with the same tokens that guesses ahead; empty is none."),
    ] = ""
    num_draft_tokens: Annotated[
        int, Meta(ge=0, le=64, description="How many tokens a draft model guesses ahead; 0 is off.")
    ] = 3
    chat_template: Annotated[
        str, Meta(description="The text of a Jinja template; empty is the model's own.")
    ] = ""
    chat_template_args: Annotated[
        dict[str, Any], Json(), Meta(description="Arguments for the chat template, by name.")
    ] = {}
    generation: GenerationConfig = GenerationConfig()


class Config(Section, frozen=True):
    """The root of the tree."""

    server: ServerConfig = ServerConfig()
    models: ModelsConfig = ModelsConfig()
    generation: GenerationConfig = GenerationConfig()
    engine: EngineConfig = EngineConfig()
    log: LogConfig = LogConfig()
    model: dict[str, ModelSettings] = {}

    def for_model(self, model_id: str) -> ModelSettings:
        """Give what holds for a model, which `[model."model_id"]` may say."""
        return self.model.get(model_id) or ModelSettings(generation=self.generation)

    def socket_file(self) -> Path:
        """Give the Unix socket: `server.socket`, or the standard place."""
        return Path(self.server.socket) if self.server.socket else paths.socket_file()
