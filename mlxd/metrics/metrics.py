"""Every count and histogram, and what each means."""

import time
from collections.abc import Callable, Iterator
from typing import Literal, get_args

from mlxd.activity import Activity
from mlxd.metrics.families import CountFamily, Family, HistogramFamily
from mlxd.metrics.requests import LiveRequest, Requests
from mlxd.metrics.timeline import STEPS, Timeline
from mlxd.rate import Rate

_OTHER = "other"
_MOST_MODELS = 20
_SHORT_STEPS = 24
_RATE_SECONDS = 3.0

_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_SPEED = (1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4)

Tier = Literal["memory", "disk", "none"]
_LoadOutcome = Literal["ready", "failed", "cancelled"]
_PullOutcome = Literal["done", "failed", "cancelled"]


class Metrics:
    """What the daemon has done since its start.

    `requests` knows those that run and the last that have ended, `timeline` the last hour, and
    `families` the rest. A model is counted under its id, as long as there are few.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._models: set[str] = set()
        self._generating, self._reading = Rate(_RATE_SECONDS), Rate(_RATE_SECONDS)
        self.started_at = clock()
        self.pulls_running = 0
        self.timeline = Timeline(clock)
        self.requests = Requests(self.timeline)
        self._prompt_tokens = CountFamily(
            "mlxd_prompt_tokens",
            "Tokens of prompts, by where the prompt cache had them; none: they were read.",
            ("model", "cache"),
        )
        self._generation_tokens = CountFamily(
            "mlxd_generation_tokens", "Tokens that were generated.", ("model",)
        )
        self._queue = HistogramFamily(
            "mlxd_request_queue_time_seconds",
            "Time from the arrival of a request until an engine took it, with the model's load.",
            _LONG,
        )
        self._first_token = HistogramFamily(
            "mlxd_time_to_first_token_seconds",
            "Time from the arrival of a request to the first token of its answer.",
            _LONG,
        )
        self._inter_token = HistogramFamily(
            "mlxd_inter_token_latency_seconds", "Time between two tokens of an answer.", _SHORT
        )
        self._whole = HistogramFamily(
            "mlxd_e2e_request_latency_seconds",
            "Time from the arrival of a request to the end of its answer.",
            _LONG,
        )
        self._prefill_speed = HistogramFamily(
            "mlxd_request_prefill_tokens_per_second",
            "How fast prompts were read, of which at least 64 tokens were not cached.",
            _SPEED,
        )
        self._decode_speed = HistogramFamily(
            "mlxd_request_decode_tokens_per_second", "How fast an answer was generated.", _SPEED
        )
        self._loads = CountFamily(
            "mlxd_model_loads",
            "Loads of models that have ended, by how: ready, failed or cancelled.",
            ("model", "outcome"),
        )
        self._load_seconds = HistogramFamily(
            "mlxd_model_load_seconds", "How long models took to load.", _LONG
        )
        self._evictions = CountFamily(
            "mlxd_model_evictions", "Models unloaded because others needed memory.", ("model",)
        )
        self._crashes = CountFamily(
            "mlxd_engine_crashes", "Engine processes that ended by themselves.", ("model",)
        )
        self._pulls = CountFamily(
            "mlxd_pulls",
            "Downloads that have ended, by how: done, failed or cancelled.",
            ("outcome",),
        )
        for outcome in get_args(_PullOutcome):
            self._pulls.add(outcome, by=0)
        self._pull_bytes = CountFamily("mlxd_pull_bytes", "Bytes that were downloaded.")

    def families(self) -> Iterator[Family]:
        """Yield every count and histogram."""
        for part in (self.requests, self):
            yield from (each for each in vars(part).values() if isinstance(each, Family))

    def label(self, model: str) -> str:
        """Return what a model is counted under: its id, or "other" once there are many."""
        if model not in self._models and len(self._models) >= _MOST_MODELS:
            model = _OTHER
        if model not in self._models:
            self._models.add(model)
            # What has not happened counts as 0, so that an alert sees the first time.
            self._evictions.add(model, by=0)
            self._crashes.add(model, by=0)
            for outcome in get_args(_LoadOutcome):
                self._loads.add(model, outcome, by=0)
        return model

    def prompt(self, model: str, tier: Tier, tokens: int) -> None:
        """Count tokens of a prompt that the prompt cache had, or that were read."""
        if not tokens:
            return
        self._prompt_tokens.add(self.label(model), tier, by=tokens)
        if tier == "none":
            self._reading.add(tokens)
            self.timeline.add("prompt_tokens", tokens)
        else:
            self.timeline.add("cached_tokens", tokens)

    def generated(self, model: str, tokens: int) -> None:
        """Count tokens of an answer."""
        self._generation_tokens.add(self.label(model), by=tokens)
        self._generating.add(tokens)
        self.timeline.add("generated_tokens", tokens)

    def taken(self, model: str, seconds: float) -> None:
        """Note that an engine took a request `seconds` after its arrival."""
        self._queue.observe(seconds, self.label(model))
        self.requests.changed()

    def first_token(self, model: str, seconds: float) -> None:
        """Note how long after the arrival of a request its answer began."""
        self._first_token.observe(seconds, self.label(model))
        self.timeline.observe("first_token_s", seconds)

    def next_tokens(self, model: str, seconds: float, tokens: int) -> None:
        """Note that `tokens` more of an answer took `seconds` together."""
        self._inter_token.observe(seconds / tokens, self.label(model), count=tokens)
        self.timeline.observe("inter_token_s", seconds, tokens)

    def prefilled(self, model: str, tokens_per_second: float) -> None:
        """Note how fast a prompt was read."""
        self._prefill_speed.observe(tokens_per_second, self.label(model))

    def ended(self, request: LiveRequest) -> None:
        """Count a request that has ended; `requests` has those that ask a model."""
        served = self.requests.end(request)
        if served is None or served.model is None or served.state != "done":
            return
        if served.completion_tokens and served.total_s is not None:
            self._whole.observe(served.total_s, self.label(served.model))
        if served.tokens_per_second:
            self._decode_speed.observe(served.tokens_per_second, self.label(served.model))

    def loaded(self, model: str, seconds: float) -> None:
        """Note that a model has loaded in `seconds`."""
        self._loads.add(self.label(model), "ready")
        self._load_seconds.observe(seconds, self.label(model))

    def not_loaded(self, model: str, outcome: _LoadOutcome) -> None:
        """Count a load that failed or was cancelled."""
        self._loads.add(self.label(model), outcome)

    def evicted(self, model: str) -> None:
        """Count a model that is unloaded because others need memory."""
        self._evictions.add(self.label(model))

    def crashed(self, model: str) -> None:
        """Count an engine that ended by itself."""
        self._crashes.add(self.label(model))

    def pull_began(self) -> None:
        """Count a download as running."""
        self.pulls_running += 1

    def pull_ended(self, outcome: _PullOutcome) -> None:
        """Count a download as ended."""
        self.pulls_running -= 1
        self._pulls.add(outcome)

    def pulled(self, bytes_more: int) -> None:
        """Count bytes that were downloaded."""
        self._pull_bytes.add(by=bytes_more)

    def memory(self, memory_bytes: int, prompt_cache_bytes: int) -> None:
        """Note what all engines together take now, and how much of it the prompt caches."""
        self.timeline.set("memory_bytes", memory_bytes)
        self.timeline.set("prompt_cache_bytes", prompt_cache_bytes)

    def activity(self, *, hour: bool) -> Activity:
        """Return what happens now, and the last two minutes, or the whole hour."""
        prompts = self._prompt_tokens
        return Activity(
            now=self._clock(),
            running=self.requests.running,
            waiting=self.requests.waiting,
            generated_per_second=round(self._generating.per_second(), 1),
            prompt_per_second=round(self._reading.per_second(), 1),
            requests_total=self.requests.total,
            failed_total=self.requests.failed,
            generated_total=self._generation_tokens.total(),
            prompt_total=prompts.total("none"),
            cached_total=prompts.total("memory") + prompts.total("disk"),
            history=self.timeline.read(STEPS if hour else _SHORT_STEPS),
            requests=self.requests.listed(),
        )
