"""The whole configuration as one typed, frozen tree: every key, its default and what it does.

The string in the `Annotated` type of a key is its description.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field
from msgspec.structs import replace

from mlxd import paths
from mlxd.config.values import (
    FILE,
    FOLDERS,
    ORIGINS,
    SECRET,
    TABLE,
    ByteSize,
    Duration,
    duration,
    optional,
    size,
)

_NonEmpty = Annotated[str, Meta(min_length=1)]
_CacheBits = Literal[0, 4, 8]
_CacheGroupSize = Literal[32, 64, 128]
_Tokens = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Temperature = Annotated[float, Meta(ge=0, le=2)]
_TopP = Annotated[float, Meta(gt=0, le=1)]
_Share = Annotated[float, Meta(ge=0, le=1)]
_LIMIT = optional(Annotated[int, Meta(ge=1, le=10**9)], "an integer from 1 to 1000000000")
_PLACES = optional(Annotated[int, Meta(ge=0, le=10**9)], "an integer from 0 to 1000000000")
_Factor = Annotated[float, Meta(ge=0, le=100)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every section: frozen, and strict about its keys."""


class ServerConfig(Section, frozen=True):
    """Where the daemon listens, who may connect, and how much it accepts."""

    host: Annotated[
        _NonEmpty,
        "Address to listen on (localhost: 127.0.0.1 and ::1). Beyond this machine, set api_key.",
    ] = "localhost"
    port: Annotated[int, Meta(ge=0, le=65535), "TCP port. 0: any free port."] = 8080
    ollama: Annotated[bool, "Listen on Ollama's port 11434 too, for programs made for Ollama."] = (
        False
    )
    socket: Annotated[str, FILE, "Path of the Unix socket. Empty: the default path."] = ""
    allowed_hosts: Annotated[
        list[_NonEmpty], "Host names that clients may use for this server besides localhost."
    ] = []
    allowed_origins: Annotated[
        list[str], ORIGINS, "Web pages, by origin, that may use this server besides its own."
    ] = []
    api_key: Annotated[
        str, SECRET, "Key that TCP clients must send as a bearer token. Empty: none."
    ] = ""
    tls_cert: Annotated[
        str, FILE, "Certificate for HTTPS on TCP, in PEM; read again when it changes. Empty: HTTP."
    ] = ""
    tls_key: Annotated[str, FILE, "Its private key, in PEM without a password."] = ""
    unstable_system_lines: Annotated[
        list[_NonEmpty],
        "Beginnings of lines to leave out of system prompts of /v1/messages, as they vary.",
    ] = field(default_factory=lambda: ["x-anthropic-billing-header:"])
    max_body: Annotated[ByteSize, "Maximum size of a request body."] = 32_000_000
    max_queue: Annotated[
        int,
        Meta(ge=1, le=100_000),
        "Maximum number of requests accepted at a time; each choice of `n` counts.",
    ] = 512
    max_queue_size: Annotated[
        ByteSize, "Maximum size of the bodies of these requests together."
    ] = 256_000_000
    max_connections: Annotated[
        int, Meta(ge=16, le=100_000), "Maximum number of TCP connections at a time."
    ] = 1024
    head_timeout: Annotated[
        Duration, "How long a client may take to send the head of a request."
    ] = 30.0
    body_timeout: Annotated[
        Duration, "How long a client may take to send each 64 KiB of a body."
    ] = 30.0
    read_timeout: Annotated[
        Duration, "How long a client may read nothing of a reply that waits for it."
    ] = 60.0
    drain_timeout: Annotated[
        Duration, "How long running requests may continue when the daemon stops."
    ] = 30.0
    idle_exit: Annotated[
        float | None,
        duration(optional=True),
        "Exit after this long without requests (socket-activated daemons only). Empty: never.",
    ] = None


class LimitsConfig(Section, frozen=True):
    """How much clients may ask for, together and with each key. Empty: as much as they like."""

    running: Annotated[
        int | None, _LIMIT, "Requests that may run at a time; others wait for their turn."
    ] = None
    queued: Annotated[
        int | None, _PLACES, "Requests that may wait where `running` is set; others are refused."
    ] = None
    requests_per_minute: Annotated[int | None, _LIMIT, "Requests in a minute."] = None
    tokens_per_minute: Annotated[
        int | None, _LIMIT, "Tokens of prompts and answers in a minute."
    ] = None
    key_running: Annotated[int | None, _LIMIT, "The same as `running`, for each key."] = None
    key_queued: Annotated[int | None, _PLACES, "The same as `queued`, for each key."] = None
    key_requests_per_minute: Annotated[
        int | None, _LIMIT, "The same as `requests_per_minute`, for each key."
    ] = None
    key_tokens_per_minute: Annotated[
        int | None, _LIMIT, "The same as `tokens_per_minute`, for each key."
    ] = None


class ModelsConfig(Section, frozen=True):
    """Which models there are, and how long they stay in memory."""

    default: Annotated[
        str, "Default model. If empty and only one model is installed, that one is used."
    ] = ""
    keep_alive: Annotated[
        float, duration(forever=True), 'How long an unused model stays in memory. "-1": forever.'
    ] = 300.0
    memory_limit: Annotated[
        int,
        size(minimum=0, automatic=True),
        "Memory for all models together. Empty: chosen from the machine's memory.",
    ] = 0
    max_loaded: Annotated[int, Meta(ge=1, le=1000), "Maximum number of models in memory."] = 3
    pinned: Annotated[
        list[_NonEmpty], "Models that are never unloaded automatically once they are in memory."
    ] = []
    dirs: Annotated[
        list[str], FOLDERS, "Additional folders with models. mlxd only reads them."
    ] = []
    aliases: Annotated[dict[_NonEmpty, _NonEmpty], "Other names for models, as alias = ID."] = {}


class HubConfig(Section, frozen=True):
    """How downloads reach the model hub; what is empty here is as in the daemon's environment."""

    endpoint: Annotated[str, "Address of the model hub. Empty: HF_ENDPOINT, or Hugging Face."] = ""
    token: Annotated[
        str, SECRET, "Token for private and gated models. Empty: HF_TOKEN, or `hf auth login`."
    ] = ""
    proxy: Annotated[
        str, SECRET, "Proxy, such as http://proxy:3128. Empty: HTTPS_PROXY or the system's."
    ] = ""
    no_proxy: Annotated[str, "Hosts without a proxy, separated by commas. Empty: NO_PROXY."] = ""
    ca_file: Annotated[
        str, FILE, "File with the certificates to trust. Empty: SSL_CERT_FILE or the usual ones."
    ] = ""
    connections: Annotated[
        int, Meta(ge=1, le=64), "Maximum number of connections of a download at a time."
    ] = 8

    def variables(self) -> dict[str, str]:
        """Return the environment variables that say the same, without those that are empty."""
        said = {
            "HF_ENDPOINT": self.endpoint,
            "HF_TOKEN": self.token,
            "HTTP_PROXY": self.proxy,
            "HTTPS_PROXY": self.proxy,
            "NO_PROXY": self.no_proxy,
            "SSL_CERT_FILE": self.ca_file,
        }
        return {name: value for name, value in said.items() if value}


class GenerationConfig(Section, frozen=True):
    """Defaults for what a request leaves out."""

    max_tokens: Annotated[
        _Tokens, "Maximum number of tokens in an answer. 0: up to the end of the context."
    ] = 0
    temperature: Annotated[
        float | None,
        optional(_Temperature, "a number from 0 to 2"),
        "Randomness. 0: always the most likely token. Empty: the model's own, or 0.",
    ] = None
    top_p: Annotated[
        float | None,
        optional(_TopP, "a number above 0 and up to 1"),
        "Sample from the likeliest tokens up to this total. Empty: the model's own, or 1.",
    ] = None
    top_k: Annotated[
        int | None,
        optional(_Tokens, "an integer from 0 to 2147483647"),
        "Sample from so many of the likeliest tokens. 0: all. Empty: the model's own, or 0.",
    ] = None
    min_p: Annotated[
        float | None,
        optional(_Share, "a number from 0 to 1"),
        "Drop tokens less likely than this share of the likeliest. Empty: the model's own, or 0.",
    ] = None
    repetition_penalty: Annotated[
        float | None,
        optional(_Factor, "a number from 0 to 100"),
        "Divides the logits of past tokens. 0 or 1: off. Empty: the model's own, or off.",
    ] = None
    repetition_context_size: Annotated[
        int | None,
        optional(_Tokens, "an integer from 0 to 2147483647"),
        "How many tokens it considers. 0: all. Empty: all if the penalty is the model's, else 20.",
    ] = None


class EngineConfig(Section, frozen=True):
    """How an engine runs a model."""

    decode_concurrency: Annotated[
        int, Meta(ge=1, le=1024), "Maximum number of sequences decoded together."
    ] = 32
    prompt_concurrency: Annotated[
        int, Meta(ge=1, le=1024), "Maximum number of prompts processed together."
    ] = 8
    prefill_step_size: Annotated[
        int, Meta(ge=1, le=1_000_000), "Maximum number of prompt tokens that one step processes."
    ] = 2048
    prompt_cache: Annotated[
        int, size(minimum=0), "Memory for the prompt cache of each model. 0: none."
    ] = 2_000_000_000
    prompt_cache_disk: Annotated[
        int,
        size(minimum=0),
        "Disk space for the prompt caches of all models together. 0: none.",
    ] = 10_000_000_000
    prompt_cache_keep_free: Annotated[
        int,
        size(minimum=0),
        "How much of the disk prompt caches leave free, or a twentieth if that is less.",
    ] = 10_000_000_000
    kv_bits: Annotated[_CacheBits, "Bits of each value in key-value caches. 0: full precision."] = 0
    kv_group_size: Annotated[
        _CacheGroupSize, "How many values of a quantized cache share a scale, at most."
    ] = 64
    quantized_kv_start: Annotated[
        _Tokens, "Fewest tokens of a prompt whose cache is quantized."
    ] = 0
    wired: Annotated[bool, "Keep the weights from being swapped out (macOS only)."] = True
    hang_timeout: Annotated[
        Duration, "End an engine that has work but is silent for this long. 0: never."
    ] = 30.0
    max_crashes: Annotated[
        int,
        Meta(ge=0, le=1000),
        "Give up on a model after this many crashes in five minutes. 0: never.",
    ] = 3
    spare: Annotated[bool, "Keep an engine without a model ready, to load the next one faster."] = (
        False
    )
    sandbox: Annotated[
        bool, "Keep engines from the network, and from writing files other than their caches."
    ] = True
    trust_remote_code: Annotated[bool, "Run Python code that comes with a model."] = False


class ResponsesConfig(Section, frozen=True):
    """The responses that `/v1/responses` keeps on disk, so that conversations can go on."""

    store: Annotated[bool, "Keep responses, unless a request says `store: false`."] = True
    max_bytes: Annotated[ByteSize, "Disk space for all of them; the oldest go first."] = (
        1_000_000_000
    )
    max_age: Annotated[Duration, "How long each is kept."] = 30 * 24 * 3600.0


class LogConfig(Section, frozen=True):
    """The daemon's log."""

    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"], "Minimum severity."
    ] = "info"
    format: Annotated[
        Literal["text", "json"], "Lines for people (text), or one JSON object per line (json)."
    ] = "text"
    max_size: Annotated[ByteSize, "Size at which a log file is rotated."] = 10_000_000
    keep: Annotated[int, Meta(ge=1, le=1000), "How many rotated log files to keep."] = 5


class ModelSettings(Section, frozen=True):
    """Settings for one model; `generation` is [generation] with the keys that differ for it."""

    keep_alive: Annotated[
        float | None,
        duration(forever=True, optional=True),
        "How long it stays in memory when unused. Empty: as in [models].",
    ] = None
    adapter: Annotated[
        str, "Adapter to apply to it, or the full path of its folder. Empty: none."
    ] = ""
    draft_model: Annotated[
        str, "Smaller model with the same tokens, for speculative decoding. Empty: none."
    ] = ""
    num_draft_tokens: Annotated[
        int,
        Meta(ge=0, le=64),
        "How many tokens the draft model proposes at a time. 0: do not use it.",
    ] = 3
    chat_template: Annotated[str, "Text of a Jinja template. Empty: the model's own."] = ""
    chat_template_args: Annotated[
        dict[str, Any], TABLE, "Arguments for the chat template, by name."
    ] = {}
    use_default_chat_template: Annotated[
        bool, "Use a generic chat template if the model has none."
    ] = False
    kv_bits: Annotated[
        _CacheBits | None,
        optional(_CacheBits, "one of 0, 4, 8"),
        "Bits of each value in its key-value caches. Empty: as in [engine].",
    ] = None
    kv_group_size: Annotated[
        _CacheGroupSize | None,
        optional(_CacheGroupSize, "one of 32, 64, 128"),
        "How many values share a scale, at most. Empty: as in [engine].",
    ] = None
    quantized_kv_start: Annotated[
        int | None,
        optional(_Tokens, "an integer from 0 to 2147483647"),
        "Fewest tokens of a prompt whose cache is quantized. Empty: as in [engine].",
    ] = None
    trust_remote_code: Annotated[
        bool, "Run Python code that comes with it, even if [engine] does not trust all models."
    ] = False
    generation: GenerationConfig = GenerationConfig()


class Config(Section, frozen=True):
    """The root of the tree."""

    server: ServerConfig = ServerConfig()
    limits: LimitsConfig = LimitsConfig()
    models: ModelsConfig = ModelsConfig()
    hub: HubConfig = HubConfig()
    generation: GenerationConfig = GenerationConfig()
    engine: EngineConfig = EngineConfig()
    responses: ResponsesConfig = ResponsesConfig()
    log: LogConfig = LogConfig()
    model: dict[str, ModelSettings] = {}
    other_models: ModelSettings | None = None

    def for_model(self, model_id: str) -> ModelSettings:
        """Return the settings for a model, which `[model."model_id"]` may change.

        `other_models`, which only flags set, has those of the models without such a table.
        """
        others = self.other_models or ModelSettings(generation=self.generation)
        return self.model.get(model_id, others)

    def trusts(self, model_id: str) -> bool:
        """Whether Python code that comes with that model may run."""
        return self.engine_for(model_id).trust_remote_code

    def engine_for(self, model_id: str) -> EngineConfig:
        """Return [engine] with what `[model."model_id"]` changes."""
        own = self.for_model(model_id)
        changes = {
            "trust_remote_code": own.trust_remote_code or None,
            "kv_bits": own.kv_bits,
            "kv_group_size": own.kv_group_size,
            "quantized_kv_start": own.quantized_kv_start,
        }
        return replace(self.engine, **{k: v for k, v in changes.items() if v is not None})

    def socket_file(self) -> Path:
        """Return the path of the Unix socket: `server.socket`, or the standard place."""
        return Path(self.server.socket) if self.server.socket else paths.socket_file()
