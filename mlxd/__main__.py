"""The `mlxd` command: the daemon in the foreground, with the flags of `mlx_lm server`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from msgspec.structs import replace

from mlxd import (
    __version__,
    activation,
    config,
    daemon,
    lock,
    logs,
    model_flags,
    paths,
    run_record,
)
from mlxd.config import Config
from mlxd.errors import ConfigError, MlxdError

_Command = TypeVar("_Command", bound=Callable[..., Any])

EXIT_FAILED = 1
EXIT_CONFIG = 78  # EX_CONFIG of sysexits.h
_PER_MODEL = "model__"


def _flag(name: str, key: str, help_text: str, **options: Any) -> Callable[[_Command], _Command]:
    """Return an option that sets `key` of the configuration."""
    return click.option(name, key.replace(".", "__"), default=None, help=help_text, **options)


def _per_model(
    name: str, key: str, help_text: str, **options: Any
) -> Callable[[_Command], _Command]:
    """Return an option that sets `key` of the settings of models."""
    return click.option(name, f"{_PER_MODEL}{key}", default=None, help=help_text, **options)


def _lower(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    return value.lower() if value else value


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mlxd", message="%(prog)s %(version)s")
@_flag("--host", "server.host", "Address to listen on; server.api_key is required beyond loopback.")
@_flag("--port", "server.port", "TCP port; 0 is any free port.", type=int)
@_flag("--socket", "server.socket", "Path of the Unix socket.")
@_flag(
    "--allowed-origins",
    "server.allowed_origins",
    "Web pages that may use the API, by origin, separated by commas; * is every page.",
)
@_flag("--model", "models.default", "Default model: an ID, an alias, or the path of a folder.")
@_flag("--max-tokens", "generation.max_tokens", "Default max_tokens.", type=int)
@_flag("--temp", "generation.temperature", "Default temperature; 0 is greedy.", type=float)
@_flag("--top-p", "generation.top_p", "Default top_p.", type=float)
@_flag("--top-k", "generation.top_k", "Default top_k; 0 is off.", type=int)
@_flag("--min-p", "generation.min_p", "Default min_p; 0 is off.", type=float)
@_flag("--decode-concurrency", "engine.decode_concurrency", "Sequences decoded at once.", type=int)
@_flag("--prompt-concurrency", "engine.prompt_concurrency", "Prompts processed at once.", type=int)
@_flag("--prefill-step-size", "engine.prefill_step_size", "Prompt tokens per step.", type=int)
@_flag("--prompt-cache-bytes", "engine.prompt_cache", 'Memory for the prompt cache, such as "2GB".')
@_flag("--kv-bits", "engine.kv_bits", "Bits of cached keys and values: 4, 8; 0 is off.", type=int)
@_flag("--kv-group-size", "engine.kv_group_size", "Cached values that share a scale.", type=int)
@_flag(
    "--quantized-kv-start",
    "engine.quantized_kv_start",
    "Tokens of a sequence before its cache is quantized.",
    type=int,
)
@_per_model("--adapter-path", "adapter", "Folder with the default model's adapter.")
@_per_model("--draft-model", "draft_model", "The default model's draft model, or its folder.")
@_per_model("--num-draft-tokens", "num_draft_tokens", "Tokens to draft at a time.", type=int)
@_per_model("--chat-template", "chat_template", "Jinja text to use as the chat template.")
@_per_model("--chat-template-args", "chat_template_args", "Its arguments, as a JSON object.")
@_per_model(
    "--use-default-chat-template",
    "use_default_chat_template",
    "Use a generic chat template for models without one.",
    is_flag=True,
)
@click.option(
    "--prompt-cache-size",
    type=click.IntRange(min=0),
    help="0: no prompt cache. More have no effect: --prompt-cache-bytes limits it.",
)
@click.option("--pipeline", is_flag=True, help="No effect: a model runs on one machine.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that comes with a model.")
@_flag("--log-level", "log.level", "debug, info, warning, error or critical.", callback=_lower)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    help="Log to this file, rotated, instead of stderr.",
)
def main(
    log_file: Path | None,
    trust_remote_code: bool,
    pipeline: bool,
    prompt_cache_size: int | None,
    **values: Any,
) -> None:
    """The language-model daemon for MLX: an OpenAI-compatible API on TCP and on a Unix socket.

    Flags override the environment (MLXD_SERVER__PORT=8081), which overrides settings.toml and
    config.toml; `mlxctl config show` lists every key. On SIGTERM and SIGINT, mlxd finishes its
    running requests and exits; a second signal ends them.
    """
    given = {name: value for name, value in values.items() if value is not None}
    of_models = {
        name.removeprefix(_PER_MODEL): given.pop(name)
        for name in list(given)
        if name.startswith(_PER_MODEL)
    }
    flags = {name.replace("__", "."): value for name, value in given.items()}
    if prompt_cache_size == 0:
        flags["engine.prompt_cache"] = 0
    if trust_remote_code:
        flags["engine.trust_remote_code"] = True
    try:
        if pipeline and "MLX_RANK" in os.environ:
            raise ConfigError("--pipeline: mlxd does not run under mlx.launch; start it by itself")
        lock.hold(paths.lock_file())  # to the end of the process, for which others wait
        with run_record.recorded(paths.run_record_file()):
            settings = _with_model_folder(config.load(flags=flags))
            settings = model_flags.apply(settings, of_models)
            config.check(settings)
            logs.set_up(settings.log, log_file)
            daemon.run(settings, _default_set_by(flags))
    except ConfigError as error:
        activation.turn_away()
        # launchd restarts what fails, which does not help against an error in the configuration.
        _give_up(error, 0 if activation.under_launchd() else EXIT_CONFIG)
    except MlxdError as error:
        _give_up(error, EXIT_FAILED)


def _default_set_by(flags: dict[str, object]) -> str | None:
    """Return the flag or variable that overrides the default model of settings.toml, if any."""
    key = "models.default"
    if key in flags:
        return "--model"
    (source,) = (row.source for row in config.explain() if row.key == key)
    return source if source.startswith("MLXD_") else None


def _with_model_folder(settings: Config) -> Config:
    """Add a folder that is given as the default model to the catalog, under its own name."""
    folder = Path(os.path.expanduser(settings.models.default)).absolute()
    if not settings.models.default or not os.path.isfile(folder / "config.json"):
        return settings
    models = replace(
        settings.models, default=folder.name, dirs=[str(folder), *settings.models.dirs]
    )
    return replace(settings, models=models)


def _give_up(error: MlxdError, status: int) -> None:
    click.echo(f"mlxd: {error.message}", err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
