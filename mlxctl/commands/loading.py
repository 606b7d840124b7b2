"""`mlxctl use`, `load`, `unload` and `ps`: the models in memory."""

import contextlib
from collections.abc import Callable, Iterator

import click

from mlxctl import terminal
from mlxctl.arguments import model_name, unicode_text
from mlxctl.client import connect
from mlxctl.shell_completion import model_names
from mlxctl.terminal import ProgressLine, json_option, print_json
from mlxd import control_api
from mlxd.control_api import ModelStatus, Progress
from mlxd.units import size


@click.command()
@click.argument("model", callback=model_name, shell_complete=model_names)
@click.option("--wait", is_flag=True, help="Wait also for what the old default still answers.")
@json_option("Print one JSON object at the end.")
def use(model: str, *, wait: bool, as_json: bool) -> None:
    """Make MODEL the default, now and after a restart, once it is in memory.

    No request fails because of it: the old default answers until the new one is there, and then
    finishes what it has. Where both do not fit in memory, requests wait for the change.
    """
    client = connect()
    with _shown() as show:
        request = control_api.UseRequest(model=model, wait=wait, stream=True)
        reply = client.follow(control_api.USE, request, show)
    if as_json:
        print_json(reply)
        return
    click.echo(f"{reply.model} is the default model now")
    if reply.overridden_by:
        click.echo(f"mlxctl: {reply.overridden_by} will win over it at the next start", err=True)


@click.command()
@click.argument("model", required=False, callback=unicode_text, shell_complete=model_names)
@click.option(
    "--keep-alive",
    callback=unicode_text,
    metavar="TIME",
    help="How long it stays unused: 30m, say, or -1 for ever; without, as is configured.",
)
@json_option("Print one JSON object at the end.")
def load(model: str | None, keep_alive: str | None, *, as_json: bool) -> None:
    """Bring MODEL, or the default model, into memory.

    A model that has failed too often is tried again.

    \b
    Examples:
      mlxctl load llama-3.2-1b --keep-alive 2h
    """
    client = connect()
    with _shown() as show:
        request = control_api.LoadRequest(model=model, keep_alive=keep_alive, stream=True)
        reply = client.follow(control_api.LOAD, request, show)
    if as_json:
        print_json(reply)
        return
    memory = size(reply.memory_bytes or 0)
    click.echo(f"{_name(reply)} is in memory ({memory}, {_until(reply)})")


@click.command()
@click.argument("model", required=False, callback=unicode_text, shell_complete=model_names)
@click.option("--all", "everything", is_flag=True, help="Take all models out of memory.")
@json_option("Print one JSON object at the end.")
def unload(model: str | None, *, everything: bool, as_json: bool) -> None:
    """Take MODEL out of memory, once its requests have ended."""
    if (model is None) is not everything:
        raise click.UsageError("name a model, or say --all.", click.get_current_context())
    client = connect()
    with _shown() as show:
        request = control_api.UnloadRequest(model=model, stream=True)
        reply = client.follow(control_api.UNLOAD, request, show)
    if as_json:
        print_json(reply)
    elif reply.models:
        click.echo("\n".join(f"{name} is no longer in memory" for name in reply.models))
    else:
        click.echo("no model was in memory" if model is None else f"{model} was not in memory")


@click.command()
@json_option("Print one JSON list.")
def ps(*, as_json: bool) -> None:
    """Show the models in memory, and those that failed."""
    models = [
        model for model in connect().call(control_api.STATUS).models if model.state != "unloaded"
    ]
    if as_json:
        print_json(models)
    elif models:
        click.echo(models_table(models))
    else:
        click.echo("no model in memory")


def models_table(models: list[ModelStatus]) -> str:
    """Give the table of models in memory."""
    header = ("MODEL", "STATE", "MEMORY", "REQUESTS", "TOKENS/S", "UNTIL", "PID")
    rows = terminal.table([header, *map(_row, models)]).splitlines()
    lines = rows[:1]
    for row, model in zip(rows[1:], models, strict=True):
        lines.append(row)
        if model.cause:
            lines.append(f"  {model.cause}")
    return "\n".join(lines)


def _row(model: ModelStatus) -> tuple[str, ...]:
    state = model.state
    if model.load_progress is not None:
        state = f"{state} {model.load_progress:.0%}"
    return (
        _name(model),
        state,
        size(model.memory_bytes) if model.memory_bytes is not None else "-",
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
    return "in use" if model.requests else "for ever"


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[Progress], None]]:
    """Give what shows a Progress; say after Ctrl-C that the daemon goes on."""
    line = ProgressLine()

    def show(progress: Progress) -> None:
        words = [progress.status, progress.model]
        if progress.status == "draining":
            words = [f"waiting for {progress.requests} requests of", progress.model]
        if progress.fraction is not None:
            words.append(f"{progress.fraction:.0%}")
        line.show(" ".join(words))

    try:
        yield show
    except KeyboardInterrupt:
        line.erase()
        click.echo("mlxctl: the daemon goes on with it; see: mlxctl ps", err=True)
        raise click.Abort from None
    finally:
        line.erase()
