"""A whole benchmark of one of the daemon's models: loading, measuring, reporting."""

import dataclasses
import time
from collections.abc import Sequence
from contextlib import ExitStack

from mlxctl.bench import summary
from mlxctl.bench.address import ServerAddress
from mlxctl.bench.figures import BenchReport, MeasuredServer
from mlxctl.bench.machine import describe_machine
from mlxctl.bench.measure import Measurement, Plan, Reload, Samples
from mlxctl.bench.progress import ProgressBar
from mlxctl.bench.session import Session
from mlxctl.bench.watch import Watch
from mlxctl.client import Client
from mlxctl.terminal import ProgressLine, remark
from mlxd import control_api
from mlxd.control_api import ModelDetails, ModelStatus, Status

_LOAD_SECONDS, _LOADED_BYTES_PER_SECOND = 3.0, 1e9  # a guess, where no load was measured
_FOREVER = -1


def benchmark(
    client: Client,
    status: Status,
    details: ModelDetails,
    other: tuple[ServerAddress, str] | None,
    plan: Plan,
) -> BenchReport:
    """Load a model of the daemon, measure it as `plan` says, and return the figures.

    Args:
        client: asks the daemon.
        status: of the daemon, before the model is loaded.
        details: of the model.
        other: another server to measure beside it, and the name of its model.
        plan: what to measure; loading the model takes up to half of its seconds.

    Raises:
        BenchmarkError: as `Measurement.run` does.
        CommandFailed: the model cannot be loaded.
    """
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
) -> Reload | None:
    """Return how to empty the prompt cache in memory; None if there is none on disk."""
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
    sessions: Sequence[Session],
    samples: Samples,
    watch: Watch,
    version: str | None,
    at: float,
    seconds: float,
) -> BenchReport:
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
