"""Every count and histogram, and what each means."""

import time
from collections.abc import Callable, Iterator

from mlxd.activity import Activity
from mlxd.metrics.families import CountFamily, HistogramFamily
from mlxd.metrics.requests import Requests
from mlxd.metrics.timeline import STEPS, Timeline
from mlxd.rate import Rate

OTHER = "other"
_MOST_MODELS = 20
_SHORT_STEPS = 24
_RATE_SECONDS = 3.0

_LONG = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_SPEED = (1, 2.5, 5, 10, 25, 50, 75, 100, 150, 250, 500, 1000, 2500, 5000, 10000)


class Metrics:
    """What the daemon has done since its start.

    The families have the meaning that stands beside them. `requests` knows those that run and the
    last that have ended, `timeline` the last hour.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._models: set[str] = set()
        self.timeline = Timeline(clock)
        self.requests = Requests(self.timeline)
        self._generating, self._reading = Rate(_RATE_SECONDS), Rate(_RATE_SECONDS)
        self.prompt_tokens = CountFamily(
            "mlxd_prompt_tokens",
            "Tokens of prompts that were read, without those from the prompt cache",
            ("model",),
        )
        self.cached_tokens = CountFamily(
            "mlxd_cached_tokens", "Tokens of prompts that came from the prompt cache", ("model",)
        )
        self.generated_tokens = CountFamily(
            "mlxd_generated_tokens", "Tokens that were generated", ("model",)
        )
        self.queue_seconds = HistogramFamily(
            "mlxd_request_queue_seconds",
            "Time from the arrival of a request until an engine took it, with the model's load",
            _LONG,
            ("model",),
        )
        self.first_token_seconds = HistogramFamily(
            "mlxd_time_to_first_token_seconds",
            "Time from the arrival of a request to the first piece of its answer",
            _LONG,
            ("model",),
        )
        self.inter_token_seconds = HistogramFamily(
            "mlxd_inter_token_latency_seconds",
            "Time between two tokens of an answer",
            _SHORT,
            ("model",),
        )

    def families(self) -> Iterator[CountFamily | HistogramFamily]:
        """Yield every family."""
        yield from self.requests.families()
        for family in vars(self).values():
            if isinstance(family, CountFamily | HistogramFamily):
                yield family

    def label(self, model: str) -> str:
        """Return the label of a model: its id, or "other" once there are many."""
        if model in self._models or len(self._models) < _MOST_MODELS:
            self._models.add(model)
            return model
        return OTHER

    def read_prompt(self, model: str, tokens: int) -> None:
        """Count tokens of a prompt that were read."""
        self.prompt_tokens.add(model, by=tokens)
        self._reading.add(tokens)
        self.timeline.add("prompt_tokens", tokens)

    def found_cached(self, model: str, tokens: int) -> None:
        """Count tokens of a prompt that the prompt cache had."""
        self.cached_tokens.add(model, by=tokens)
        self.timeline.add("cached_tokens", tokens)

    def generated(self, model: str, tokens: int) -> None:
        """Count tokens of an answer."""
        self.generated_tokens.add(model, by=tokens)
        self._generating.add(tokens)
        self.timeline.add("generated_tokens", tokens)

    def started(self, model: str, queue_s: float) -> None:
        """Note that an engine took a request, which had waited for so long."""
        self.queue_seconds.observe(queue_s, model)
        self.requests.changed()

    def first_token(self, model: str, seconds: float) -> None:
        """Note the time to the first token of a request."""
        self.first_token_seconds.observe(seconds, model)
        self.timeline.observe("first_token_s", seconds)

    def next_tokens(self, model: str, seconds: float, tokens: int) -> None:
        """Note that `tokens` more of an answer took `seconds` together."""
        self.inter_token_seconds.observe(seconds / tokens, model, count=tokens)
        self.timeline.observe("inter_token_s", seconds, tokens)

    def memory(self, memory_bytes: int, prompt_cache_bytes: int) -> None:
        """Note what all engines together take now, and how much of it the prompt caches."""
        self.timeline.set("memory_bytes", memory_bytes)
        self.timeline.set("prompt_cache_bytes", prompt_cache_bytes)

    def activity(self, *, hour: bool) -> Activity:
        """Return what happens now, and the last two minutes, or the whole hour."""
        return Activity(
            now=self._clock(),
            running=self.requests.running,
            waiting=self.requests.waiting,
            generated_per_second=round(self._generating.per_second(), 1),
            prompt_per_second=round(self._reading.per_second(), 1),
            requests_total=self.requests.total,
            failed_total=self.requests.failed,
            generated_total=self.generated_tokens.total,
            prompt_total=self.prompt_tokens.total,
            cached_total=self.cached_tokens.total,
            history=self.timeline.read(STEPS if hour else _SHORT_STEPS),
            requests=self.requests.listed(),
        )
