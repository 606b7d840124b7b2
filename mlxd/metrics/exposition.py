"""All metrics, as Prometheus and what reads its formats wants them."""

import time
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from mlxd.control_api import Status
from mlxd.metrics.families import CountFamily, Family, HistogramFamily, Labels
from mlxd.metrics.metrics import Metrics


def exposition(
    metrics: Metrics, status: Status, accept: str = "", shows: Callable[[str], bool] | None = None
) -> tuple[bytes, str]:
    """Return all metrics and their content type, in the format that `accept` prefers.

    `status` has what the models do now. Of each model, only what `shows` allows is named.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(metrics, status, shows or (lambda _model: True)))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


class _Collector(Collector):
    """Yields every family once, with what is counted now."""

    def __init__(self, metrics: Metrics, status: Status, shows: Callable[[str], bool]) -> None:
        self._metrics = metrics
        self._status = status
        self._shows = shows

    def collect(self) -> Iterator[Metric]:
        yield from map(self._of, self._metrics.families())
        yield from self._now()
        yield from self._models()

    def _now(self) -> Iterator[Metric]:
        """Yield what is the daemon's own."""
        metrics, requests = self._metrics, self._metrics.requests
        gauges = {
            "mlxd_requests_running": ("Requests that an engine works on.", requests.running),
            "mlxd_requests_waiting": ("Requests that no engine works on yet.", requests.waiting),
            "mlxd_pulls_running": ("Downloads that run or wait.", metrics.pulls_running),
            "mlxd_memory_limit_bytes": (
                "What all models together may take (models.memory_limit).",
                self._status.memory_limit_bytes or 0,
            ),
            "mlxd_uptime_seconds": ("Time since the start.", self._status.uptime_s or 0.0),
            "process_start_time_seconds": ("Start of the daemon.", metrics.started_at),
        }
        for name, (meaning, value) in gauges.items():
            yield GaugeMetricFamily(name, meaning, value=value)
        yield CounterMetricFamily(
            "process_cpu_seconds", "Processor time of the daemon.", value=time.process_time()
        )
        build = GaugeMetricFamily("mlxd_build_info", "The version of mlxd.", labels=["version"])
        build.add_metric([self._status.version or ""], 1)
        yield build

    def _models(self) -> Iterator[Metric]:
        """Yield what the models in memory do, and how many there are in each state."""
        memory: Counter[tuple[str, str]] = Counter()
        limits: Counter[str] = Counter()
        states: Counter[str] = Counter()
        for model in self._status.models:
            states[model.state] += 1
            if model.memory_bytes is None or not self._shows(model.id):
                continue
            label = self._metrics.label(model.id)
            caches, prompts = model.cache_bytes or 0, model.prompt_cache_bytes or 0
            memory[label, "sequences"] += caches
            memory[label, "prompt_cache"] += prompts
            memory[label, "other"] += max(0, model.memory_bytes - caches - prompts)
            limits[label] += model.memory_limit_bytes or 0
        used = GaugeMetricFamily(
            "mlxd_model_memory_bytes",
            "Memory of engines: caches of running sequences, the prompt cache, and what is left, "
            "weights above all.",
            labels=["model", "kind"],
        )
        for labels, value in memory.items():
            used.add_metric(labels, value)
        yield used
        most = GaugeMetricFamily(
            "mlxd_model_memory_limit_bytes", "What engines may take.", labels=["model"]
        )
        for label, value in limits.items():
            most.add_metric([label], value)
        yield most
        counted = GaugeMetricFamily(
            "mlxd_models", "Models that were asked for, by state.", labels=["state"]
        )
        for state, value in states.items():
            counted.add_metric([state], value)
        yield counted

    def _of(self, family: Family) -> Metric:
        if isinstance(family, HistogramFamily):
            return self._histogram(family)
        metric = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
        if isinstance(family, CountFamily):
            for values, count in family.counts.items():
                if self._is_shown(family, values):
                    metric.add_metric(values, count)
        return metric

    def _histogram(self, family: HistogramFamily) -> Metric:
        metric = HistogramMetricFamily(family.name, family.meaning, labels=family.labels)
        bounds = [*map(str, family.bounds), "+Inf"]
        for values, observed in family.observed.items():
            if not self._is_shown(family, values):
                continue
            buckets, total = [], 0
            for bound, count in zip(bounds, observed.counts, strict=True):
                total += count
                buckets.append((bound, total))
            metric.add_metric(values, buckets, observed.sum)
        return metric

    def _is_shown(self, family: Family, values: Labels) -> bool:
        of = dict(zip(family.labels, values, strict=True)).get("model")
        return of is None or self._shows(of)
