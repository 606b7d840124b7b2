"""`mlxctl bench`: how fast a model is on this machine, also beside another server."""

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from mlxctl.arguments import optional_model_argument
from mlxctl.client import Client, connect
from mlxctl.errors import CommandFailed
from mlxctl.terminal import json_option, print_json
from mlxd import control_api
from mlxd.control_api import ModelDetails, Status

if TYPE_CHECKING:
    from mlxctl.bench.address import ServerAddress

_KEY = "AGAINST_API_KEY"
_ENDINGS = (".png", ".svg")
_SHOWN_MODELS = 5


def _counts(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, ...]:
    """Take positive numbers, as 1,4,8; return each once, in ascending order."""
    parts = value.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"{value!r} is no list of positive numbers like 1,4,8.")
    return tuple(sorted(set(map(int, parts))))


def _url(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # the port
        whole = False
    if not whole:
        raise click.BadParameter(f"{value!r} is no URL like http://127.0.0.1:8000.")
    return value


def _picture(_ctx: click.Context, _param: click.Parameter, value: Path | None) -> Path | None:
    if value is None:
        return None
    if value.suffix.lower() not in _ENDINGS:
        raise click.BadParameter(f"{value} does not end with {' or '.join(_ENDINGS)}.")
    if not value.absolute().parent.is_dir():
        raise click.BadParameter(f"{value.parent} is no folder.")
    return value


@click.command()
@optional_model_argument
@click.option(
    "--prompts",
    callback=_counts,
    default="128,1024,4096",
    show_default=True,
    metavar="N,N",
    help="Lengths of prompts, in tokens.",
)
@click.option(
    "--streams",
    callback=_counts,
    default="1,4,8",
    show_default=True,
    metavar="N,N",
    help="Numbers of requests at a time.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=2),
    metavar="N",
    help="Length of the answers, in tokens. Default: 128, or fewer with a slow model.",
)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    metavar="N",
    help="How often to measure, as far as the time allows; medians are shown.",
)
@click.option(
    "--time",
    "seconds",
    type=click.IntRange(min=5),
    default=55,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take. Loading the model counts up to half of it.",
)
@click.option(
    "--against",
    metavar="URL",
    callback=_url,
    help="Also measure this server of OpenAI's API, in turns with mlxd.",
)
@click.option(
    "--against-model",
    metavar="NAME",
    help="The model's name there. Default: the one it has, or the one called like MODEL.",
)
@click.option(
    "--plot",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    callback=_picture,
    help="Also write a plot; FILE ends with .png or .svg.",
)
@json_option("Print one JSON object at the end.")
def bench(
    model: str | None,
    prompts: tuple[int, ...],
    streams: tuple[int, ...],
    tokens: int | None,
    rounds: int,
    seconds: int,
    against: str | None,
    against_model: str | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure how fast MODEL, or the default model, is on this machine.

    It shows the time to the first token and the tokens a second for prompts of several lengths and
    several requests at a time; the time to the first token when the prompt is new, in the prompt
    cache in memory, and in that on disk; and the memory. For the disk, the model is unloaded and
    loaded. Prompts are random words. What does not fit into the time is left out.

    With --against, both servers get the same prompts in turns, and the ratios are shown. The API
    key of the other server, if it needs one, is taken from the variable AGAINST_API_KEY.

    \b
    Examples:
      mlxctl bench
      mlxctl bench qwen3-8b --prompts 512,8192 --streams 1,16 --time 300
      mlxctl bench --against http://127.0.0.1:8000 --plot bench.svg
    """
    if against is None and against_model is not None:
        raise click.UsageError("--against-model needs --against.")
    client = connect()
    from mlxctl.bench.benchmark import benchmark
    from mlxctl.bench.measure import Plan
    from mlxctl.bench.table import tables

    status = client.call(control_api.STATUS)
    details = _details(client, status, model)
    other = None if against is None else _other(against, against_model, details.id)
    plan = Plan(
        prompts=prompts,
        streams=streams,
        tokens=tokens,
        rounds=rounds,
        seconds=seconds,
        context=details.context_fits or details.context_length,
    )
    report = benchmark(client, status, details, other, plan)
    if as_json:
        print_json(report)
    else:
        click.echo(tables(report))
    if plot is not None:
        from mlxctl.bench.plot import save

        save(report, plot)


def _details(client: Client, status: Status, name: str | None) -> ModelDetails:
    if name is None and status.default_model is None:
        raise CommandFailed(f"no model selected: {status.default_fault}")
    details = client.call(control_api.SHOW_MODEL, model=name or status.default_model or "")
    if details.fault is not None:
        raise CommandFailed(f"{details.id} is broken: {details.fault}")
    return details


def _other(url: str, name: str | None, own: str) -> "tuple[ServerAddress, str]":
    """Return where the other server is, and the name of its model."""
    from mlxctl.bench.address import find

    address, models = find(url, os.environ.get(_KEY))
    if name is not None:
        return address, name
    alike = [each for each in models if _last(each) == _last(own)]
    for found in (alike, models):
        if len(found) == 1:
            return address, found[0]
    what = "lists no models"
    if models:
        more = ", …" if len(models) > _SHOWN_MODELS else ""
        what = f"has several models: {', '.join(models[:_SHOWN_MODELS])}{more}"
    raise CommandFailed(f"{url} {what}; choose one with --against-model")


def _last(name: str) -> str:
    """Return the last part of OWNER/MODEL or of a folder's path."""
    return name.rstrip("/").rpartition("/")[2].lower()
