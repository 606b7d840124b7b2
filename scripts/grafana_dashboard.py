"""Write packaging/grafana/mlxd.json: `python -m scripts.grafana_dashboard`.

The panels are here as data; everything else that Grafana wants is the same for each.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARD = Path(__file__).resolve().parent.parent / "packaging" / "grafana" / "mlxd.json"
WINDOW = "$__rate_interval"
INSTANCE = 'instance=~"$instance"'

_COLUMNS = 24
_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_CACHED = 'mlxd_prompt_tokens_total{cache!="none"}'
_METRIC = re.compile(r"\b(?:mlxd|process)_[a-z0-9_]+(\{)?")


@dataclass(frozen=True)
class Query:
    """What is drawn, in PromQL, and what it is called; the instance is added to each metric."""

    text: str
    legend: str

    @property
    def expression(self) -> str:
        """The query, for the instances that are chosen."""
        return _METRIC.sub(
            lambda found: f"{found[0]}{INSTANCE}," if found[1] else f"{found[0]}{{{INSTANCE}}}",
            self.text,
        )


@dataclass(frozen=True)
class Panel:
    """One panel; `unit` is one of Grafana's. A `stat` is a number, the others are curves."""

    title: str
    unit: str
    queries: tuple[Query, ...]
    stat: bool = False
    stacked: bool = False


def _rate(metric: str) -> str:
    return f"rate({metric}[{WINDOW}])"


def _per(labels: str, metric: str) -> Query:
    legend = " ".join(f"{{{{{label}}}}}" for label in labels.split(", "))
    return Query(f"sum by ({labels}) ({_rate(metric)})", legend)


def _quantiles(metric: str, name: str = "") -> tuple[Query, ...]:
    buckets = f"sum by (le) ({_rate(metric + '_bucket')})"
    return tuple(
        Query(f"histogram_quantile({share}, {buckets})", f"{name} {words}".strip())
        for share, words in ((0.5, "median"), (0.95, "95 %"), (0.99, "99 %"))
    )


def _number(title: str, unit: str, text: str) -> Panel:
    return Panel(title, unit, (Query(text, ""),), stat=True)


PANELS = (
    _number("Running", "short", "sum(mlxd_requests_running)"),
    _number("Waiting", "short", "sum(mlxd_requests_waiting)"),
    _number("Generated", "tok/s", f"sum({_rate('mlxd_generation_tokens_total')})"),
    _number(
        "Prompts from the cache",
        "percentunit",
        f"sum({_rate(_CACHED)}) / sum({_rate('mlxd_prompt_tokens_total')})",
    ),
    _number("Memory", "bytes", "sum(mlxd_model_memory_bytes)"),
    _number("Up", "s", "min(mlxd_uptime_seconds)"),
    Panel("Generated tokens", "tok/s", (_per("model", "mlxd_generation_tokens_total"),)),
    Panel(
        "Tokens of prompts, by where the prompt cache had them",
        "tok/s",
        (_per("cache", "mlxd_prompt_tokens_total"),),
        stacked=True,
    ),
    Panel(
        "Requests at a time",
        "short",
        (
            Query("sum(mlxd_requests_running)", "running"),
            Query("sum(mlxd_requests_waiting)", "waiting"),
        ),
    ),
    Panel("Requests", "reqps", (_per("dialect", "mlxd_requests_total"),), stacked=True),
    Panel(
        "Requests that failed or were aborted",
        "reqps",
        (_per("status, outcome", 'mlxd_requests_total{outcome!="done"}'),),
    ),
    Panel("Other requests", "reqps", (_per("status", "mlxd_other_requests_total"),)),
    Panel("Time to first token", "s", _quantiles("mlxd_time_to_first_token_seconds")),
    Panel("Time between tokens", "s", _quantiles("mlxd_inter_token_latency_seconds")),
    Panel("Time of whole requests", "s", _quantiles("mlxd_e2e_request_latency_seconds")),
    Panel("Time until an engine took them", "s", _quantiles("mlxd_request_queue_time_seconds")),
    Panel("Reading of prompts", "tok/s", _quantiles("mlxd_request_prefill_tokens_per_second")),
    Panel("Writing of answers", "tok/s", _quantiles("mlxd_request_decode_tokens_per_second")),
    Panel(
        "Memory",
        "bytes",
        (
            Query("sum by (kind) (mlxd_model_memory_bytes)", "{{kind}}"),
            Query("sum(mlxd_memory_limit_bytes)", "limit"),
        ),
    ),
    Panel(
        "Models",
        "short",
        (
            Query("sum by (state) (mlxd_models)", "{{state}}"),
            Query(f"sum(increase(mlxd_model_loads_total[{WINDOW}]))", "loads"),
            Query(f"sum(increase(mlxd_model_evictions_total[{WINDOW}]))", "evictions"),
            Query(f"sum(increase(mlxd_engine_crashes_total[{WINDOW}]))", "crashes"),
        ),
    ),
    Panel("Time to load a model", "s", _quantiles("mlxd_model_load_seconds")),
    Panel(
        "Downloads",
        "Bps",
        (Query(f"sum({_rate('mlxd_pull_bytes_total')})", "bytes"),),
    ),
    Panel(
        "Processor time of the daemon",
        "percentunit",
        (Query(f"sum({_rate('process_cpu_seconds_total')})", "daemon"),),
    ),
)


def dashboard() -> dict[str, Any]:
    """Return the dashboard, as Grafana imports it."""
    return {
        "title": "mlxd",
        "uid": "mlxd",
        "description": "What an mlxd daemon does; see docs/metrics.md",
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "type": "datasource", "query": "prometheus"}
    yield {
        "name": "instance",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": "label_values(mlxd_build_info, instance)", "refId": "instances"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    numbers = [panel for panel in PANELS if panel.stat]
    across, down, left = _COLUMNS // len(numbers), 0, 0
    for number, panel in enumerate(PANELS, 1):
        width, height = (across, 4) if panel.stat else (_COLUMNS // 3, 8)
        if left + width > _COLUMNS or (not panel.stat and down == 0):
            left, down = 0, down + (4 if down == 0 else height)
        place = {"x": left, "y": down, "w": width, "h": height}
        left += width
        yield _panel(number, panel, place)


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if not panel.stat:
        fill = 40 if panel.stacked else 10
        mode = "normal" if panel.stacked else "none"
        defaults["custom"] = {"fillOpacity": fill, "stacking": {"mode": mode}}
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "gridPos": place,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _DATASOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for index, query in enumerate(panel.queries)
        ],
    }


def text() -> str:
    """Return the file."""
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    DASHBOARD.parent.mkdir(exist_ok=True)
    DASHBOARD.write_text(text())
    print(f"{DASHBOARD} is written")
