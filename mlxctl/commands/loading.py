"""`mlxctl use`, `load`, `unload` and `ps`: the models in memory."""

import re
import textwrap

import click
import msgspec

from mlxctl import terminal
from mlxctl.arguments import model_argument, optional_model_argument
from mlxctl.client import connect
from mlxctl.terminal import ProgressLine, json_option, print_result, remark
from mlxd import control_api
from mlxd.control_api import ModelStatus, Progress, ReplyT, StreamEndpoint
from mlxd.units import SECONDS_PATTERN, size

_HEADER = ("MODEL", "STATE", "MEMORY", "LIMIT", "REQUESTS", "TOKENS/S", "UNTIL", "PID")
_NOTE_WIDTH = 76


@click.command()
@model_argument
@click.option(
    "--wait", is_flag=True, help="Also wait until the previous default has finished its requests."
)
@json_option("Print one JSON object at the end.")
def use(model: str, *, wait: bool, as_json: bool) -> None:
    """Load MODEL and make it the default model, now and after restarts.

    No request fails: the previous default answers requests until MODEL is loaded, and finishes
    those that it has accepted. If both do not fit in memory, requests wait for MODEL.
    """
    request = control_api.UseRequest(model=model, wait=wait, stream=True)
    reply = _follow(control_api.USE, request)
    print_result(reply, f"{reply.model} is now the default model", as_json=as_json)
    if reply.overridden_by:
        remark(f"{reply.overridden_by} overrides it at the next start")


def _time(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Return what the daemon understands; a callback of click."""
    if value is not None and not re.fullmatch(rf"[+-]?({SECONDS_PATTERN})", value.strip()):
        raise click.BadParameter(
            f'{value!r} is neither a number of seconds nor a duration such as "30m" or "1h30m".'
        )
    return value


@click.command()
@optional_model_argument
@click.option(
    "--keep-alive",
    metavar="TIME",
    callback=_time,
    help='Unload it after this long without requests, such as "30m"; "-1": never. Default: the '
    "configured time.",
)
@json_option("Print one JSON object at the end.")
def load(model: str | None, keep_alive: str | None, *, as_json: bool) -> None:
    """Load MODEL, or the default model, into memory.

    This also retries a model that has crashed too often and is no longer loaded for requests.

    \b
    Examples:
      mlxctl load llama-3.2-1b --keep-alive 2h
    """
    request = control_api.LoadRequest(model=model, keep_alive=keep_alive, stream=True)
    reply = _follow(control_api.LOAD, request)
    memory = size(reply.memory_bytes or 0)
    print_result(reply, f"{_name(reply)} is loaded ({memory}, {_until(reply)})", as_json=as_json)


@click.command()
@optional_model_argument
@click.option("--all", "everything", is_flag=True, help="Unload all models.")
@json_option("Print one JSON object at the end.")
def unload(model: str | None, *, everything: bool, as_json: bool) -> None:
    """Unload MODEL from memory after its running requests finish."""
    if (model is None) is not everything:
        raise click.UsageError("Pass either MODEL or --all.")
    reply = _follow(control_api.UNLOAD, control_api.UnloadRequest(model=model, stream=True))
    text = "no model was loaded" if model is None else f"{model} was not loaded"
    if reply.models:
        text = "\n".join(f"{name} is unloaded" for name in reply.models)
    print_result(reply, text, as_json=as_json)


@click.command()
@json_option("Print one JSON list.")
def ps(*, as_json: bool) -> None:
    """List the models in memory, those that requests wait for, and those that failed.

    LIMIT is the model's share of models.memory_limit. Below a model it says what its caches take.
    """
    models = present(connect().call(control_api.STATUS).models)
    print_result(models, models_table(models), as_json=as_json)


def present(models: list[ModelStatus]) -> list[ModelStatus]:
    """Return the models to list: not those that are unloaded, unless requests wait for them."""
    return [model for model in models if model.state != "unloaded" or model.queued]


def models_table(models: list[ModelStatus]) -> str:
    """Return the table of models in memory."""
    if not models:
        return "no model in memory"
    return terminal.table([_HEADER, *map(_row, models)], [_note(model) for model in models])


def _note(model: ModelStatus) -> str | None:
    """Return why a model failed, or what is special about it, in lines that fit a terminal."""
    if model.cause:
        return model.cause
    caches = {"running sequences": model.cache_bytes, "prompt cache": model.prompt_cache_bytes}
    parts = [f"{name} {size(taken)}" for name, taken in caches.items() if taken]
    if model.queued:
        parts.append(f"{model.queued} queued")
    if model.batched is False:
        parts.append("one request at a time")
    if model.kv_bits:
        parts.append(f"{model.kv_bits}-bit cache")
    lines = textwrap.wrap(", ".join(parts), _NOTE_WIDTH)
    return "\n  ".join(lines) or None


def _row(model: ModelStatus) -> tuple[str, ...]:
    state = "waiting" if model.state == "unloaded" else model.state
    if model.load_progress is not None:
        state = f"{state} {model.load_progress:.0%}"
    return (
        _name(model),
        state,
        size(model.memory_bytes) if model.memory_bytes is not None else "-",
        size(model.memory_limit_bytes) if model.memory_limit_bytes is not None else "-",
        str(model.requests),
        f"{model.tokens_per_second:.0f}" if model.tokens_per_second is not None else "-",
        _until(model) if model.state == "ready" else "-",
        str(model.pid or "-"),
    )


def _name(model: ModelStatus) -> str:
    return f"{model.id} with adapter {model.adapter}" if model.adapter else model.id


def _until(model: ModelStatus) -> str:
    if model.expires_in_s is not None:
        return f"for {terminal.duration(model.expires_in_s)}"
    if model.pinned:
        return "pinned"
    return "in use" if model.requests else "forever"


def _follow(endpoint: StreamEndpoint[ReplyT, Progress], request: msgspec.Struct) -> ReplyT:
    """Send `request`, show the progress, and return the reply."""
    line = ProgressLine()

    def show(progress: Progress) -> None:
        words = [progress.status, progress.model]
        if progress.status == "draining":
            words = [f"waiting for {progress.requests} requests of", progress.model]
        if progress.fraction is not None:
            words.append(f"{progress.fraction:.0%}")
        line.show(" ".join(words))

    with line.during_background_work("the daemon continues; see: mlxctl ps"):
        return connect().follow(endpoint, request, show)
