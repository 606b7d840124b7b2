"""`mlxctl bench`: how fast a model is on this machine, also beside another server."""

import dataclasses
import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from mlxctl.arguments import optional_model_argument
from mlxctl.client import Client, connect
from mlxctl.errors import CommandFailed
from mlxctl.terminal import ProgressLine, json_option, print_json, remark
from mlxd import control_api
from mlxd.control_api import ModelDetails, ModelStatus, Status

if TYPE_CHECKING:
    from mlxctl.bench.address import ServerAddress
    from mlxctl.bench.figures import BenchReport
    from mlxctl.bench.measure import Plan, Reload, Samples
    from mlxctl.bench.session import Session
    from mlxctl.bench.watch import Watch

_KEY = "AGAINST_API_KEY"
_ENDINGS = (".png", ".svg")
_LOAD_SECONDS, _LOADED_BYTES_PER_SECOND = 3.0, 1e9  # a guess, where no load was measured
_FOREVER = -1
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
    from mlxctl.bench.measure import Plan

    if against is None and against_model is not None:
        raise click.UsageError("--against-model needs --against.")
    client = connect()
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
    report = _measure(client, status, details, other, plan)
    if as_json:
        print_json(report)
    else:
        from mlxctl.bench.table import tables

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


def _measure(
    client: Client,
    status: Status,
    details: ModelDetails,
    other: "tuple[ServerAddress, str] | None",
    plan: "Plan",
) -> "BenchReport":
    from mlxctl.bench.address import ServerAddress
    from mlxctl.bench.measure import Measurement
    from mlxctl.bench.progress import ProgressBar
    from mlxctl.bench.session import Session
    from mlxctl.bench.watch import Watch

    before = next((each for each in status.models if each.id == details.id), None)
    load_seconds = _load(client, details, keep_alive=None)
    most = max(plan.seconds - load_seconds, plan.seconds / 2)
    plan = dataclasses.replace(plan, seconds=most)
    began, at = time.monotonic(), time.time()
    with ExitStack() as stack:
        watch = stack.enter_context(Watch(client, details.id))
        if watch.others:
            remark("the daemon has other requests, which slow down what is measured")
        own = ServerAddress.of_socket(client.socket_file)
        sessions = [stack.enter_context(Session("mlxd", own, details.id))]
        if other is not None:
            address, name = other
            sessions.append(stack.enter_context(Session(address.host, address, name)))
        progress = stack.enter_context(ProgressBar())
        measurement = Measurement(sessions, plan, watch, progress.show)
        reload = _reload(client, details, before, load_seconds)
        samples = measurement.run(reload)
    return _report(sessions, samples, watch, status.version, at, time.monotonic() - began)


def _load(client: Client, details: ModelDetails, keep_alive: float | None) -> float:
    """Load the model if it is not in memory; return how many seconds that took."""
    began = time.monotonic()
    line = ProgressLine()
    request = control_api.LoadRequest(model=details.id, keep_alive=keep_alive, stream=True)
    try:
        client.follow(control_api.LOAD, request, lambda _: line.show(f"loading {details.id}"))
    finally:
        line.erase()
    return time.monotonic() - began


def _reload(
    client: Client, details: ModelDetails, before: ModelStatus | None, load_seconds: float
) -> "Reload | None":
    """Return how to empty the prompt cache in memory; None if there is none on disk."""
    from mlxctl.bench.measure import Reload

    if not client.call(control_api.SHOW_CACHE).limit_bytes:
        return None
    # A model that was to stay in memory for ever does so again afterwards.
    stays = before is not None and before.state == "ready" and before.expires_in_s is None
    keep_alive = _FOREVER if stays and before is not None and not before.requests else None

    def run() -> None:
        request = control_api.UnloadRequest(model=details.id, stream=True)
        client.follow(control_api.UNLOAD, request, lambda _: None)
        _load(client, details, keep_alive)

    guess = _LOAD_SECONDS + details.size_bytes / _LOADED_BYTES_PER_SECOND
    return Reload(run, max(load_seconds, guess))


def _report(
    sessions: "Sequence[Session]",
    samples: "Samples",
    watch: "Watch",
    version: str | None,
    at: float,
    seconds: float,
) -> "BenchReport":
    from mlxctl.bench import summary
    from mlxctl.bench.figures import BenchReport, MeasuredServer
    from mlxctl.bench.machine import describe_machine

    names = [session.name for session in sessions]
    for name in summary.short_answers(samples):
        remark(f"{name} ended answers before they had {samples.tokens} tokens")
    if watch.others:
        remark(f"up to {watch.others} requests of others ran at the same time")
    return BenchReport(
        at=at,
        seconds=round(seconds, 1),
        machine=describe_machine(),
        version=version,
        model=sessions[0].model,
        api=samples.api,
        answer_tokens=samples.tokens,
        servers=[
            MeasuredServer(name=session.name, url=session.url, model=session.model)
            for session in sessions
        ],
        throughput=summary.throughput(samples, names),
        prompt_cache=summary.prompt_cache(samples, names),
        against=summary.comparisons(samples, names),
        memory=watch.memory,
        other_requests=watch.others,
        left_out=samples.left_out,
    )
