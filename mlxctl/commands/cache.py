"""`mlxctl cache`: the prompt cache on disk."""

import time

import click

from mlxctl import terminal
from mlxctl.arguments import optional_model_argument
from mlxctl.client import connect
from mlxctl.terminal import json_option, print_result, shown
from mlxd import control_api
from mlxd.control_api import CachedPrompts, PromptCacheListing
from mlxd.units import size

_HEADER = ("MODEL", "ADAPTER", "TOKENS", "SIZE", "USED", "FINGERPRINT")
_SHOWN_DIGITS = 8


@click.group(invoke_without_command=True)
@click.pass_context
def cache(ctx: click.Context) -> None:
    """Show or clear the prompt cache on disk. Without a command, show it.

    mlxd keeps what models have computed of earlier prompts, so that they need not read them again
    after they were unloaded. engine.prompt_cache_disk limits its size.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(show, as_json=False)


@cache.command()
@json_option()
def show(*, as_json: bool) -> None:
    """Show what each model has in the cache.

    A model has several fingerprints if its files, its adapter, settings of its cache or the version
    of mlx-lm have changed. What is no longer used is removed first.
    """
    found = connect().call(control_api.SHOW_CACHE)
    print_result(found, _text(found), as_json=as_json)


@cache.command()
@optional_model_argument
@json_option()
def clear(model: str | None, *, as_json: bool) -> None:
    """Remove what MODEL has in the cache, or what all models have.

    MODEL may also be the beginning of a fingerprint, as `mlxctl cache show` prints it. What a
    loaded model has in memory stays there.
    """
    client = connect()
    if model is None:
        removed = client.call(control_api.CLEAR_CACHE)
    else:
        removed = client.call(control_api.CLEAR_MODEL_CACHE, model=model)
    text = f"removed {size(removed.size_bytes)}" if removed.files else "nothing was cached"
    print_result(removed, text, as_json=as_json)


def _text(found: PromptCacheListing) -> str:
    limit = f"at most {size(found.limit_bytes)}" if found.limit_bytes else "turned off"
    total = f"{size(found.size_bytes)} ({limit}) in {shown(found.folder)}"
    if not found.models:
        return total
    return f"{terminal.table([_HEADER, *map(_row, found.models)])}\n\n{total}"


def _row(cached: CachedPrompts) -> tuple[str, ...]:
    age = max(0.0, time.time() - cached.last_used)
    return (
        cached.model or "unknown",
        cached.adapter or "-",
        str(cached.tokens),
        size(cached.size_bytes),
        f"{terminal.duration(age)} ago",
        cached.fingerprint[:_SHOWN_DIGITS],
    )
