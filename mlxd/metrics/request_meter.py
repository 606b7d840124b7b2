"""What one request reads and writes, and how long it takes, as its events come."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlxd.messages import ChoiceEvent, Echo, Finished, PrefillProgress, Queued, Started
from mlxd.metrics.metrics import Metrics

_ENOUGH_TOKENS = 64
"""The fewest tokens of a prompt that tell how fast it is read."""


@dataclass(slots=True)
class _Choice:
    """The tokens of one choice: of its prompt, of it cached and read, and written."""

    prompt: int = 0
    cached: int = 0
    read: int = 0
    written: int = 0
    last: float | None = None


class RequestMeter:
    """Measures one request, which arrived at `arrived` on `clock`; if it is retried, the last try.

    Its tokens are added to the daemon's counts as they come. Each piece of an answer counts as a
    token, until the end tells the exact number.
    """

    def __init__(
        self,
        metrics: Metrics,
        model: str,
        arrived: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._model = model
        self._clock = clock
        self._arrived = clock() if arrived is None else arrived
        self.restart()

    def restart(self) -> None:
        """Start again, on another engine; the time until now counts as waiting."""
        self._started: float | None = None
        self._first: float | None = None
        self._first_token: float | None = None
        self._ended: float | None = None
        self._choices: defaultdict[int, _Choice] = defaultdict(_Choice)
        self._metrics.requests.changed()

    def note(self, events: Sequence[ChoiceEvent]) -> None:
        """Take in events that have come now."""
        now = self._clock()
        written: defaultdict[int, int] = defaultdict(int)
        for number, event in events:
            match event:
                case Queued():
                    continue
                case Started():
                    self._start(self._choices[number], event, now)
                    continue
                case PrefillProgress():
                    self._read(self._choices[number], event.done)
                    continue
                case Finished():
                    left = event.usage.completion_tokens - self._choices[number].written
                    written[number] = max(written[number], left)
                case Echo():
                    pass
                case _:
                    written[number] += 1
            self._first = self._first or now
        for number, tokens in written.items():
            if tokens:
                self._write(self._choices[number], tokens, now)
        if isinstance(events[-1][1], Finished):
            self._ended = now

    @property
    def running(self) -> bool:
        """Whether an engine has taken the request."""
        return self._started is not None

    @property
    def writes(self) -> bool:
        """Whether its answer has begun."""
        return self._first is not None

    @property
    def queue(self) -> float | None:
        """Seconds until an engine took the request, including the load of its model."""
        return _between(self._arrived, self._started)

    @property
    def prefill(self) -> float | None:
        """Seconds from then to the first piece of the answer."""
        return _between(self._started, self._first)

    @property
    def first_token(self) -> float | None:
        """Seconds from its arrival to the first token of the answer."""
        return _between(self._arrived, self._first_token)

    @property
    def decode(self) -> float | None:
        """Seconds from the first piece to the end, or until now; None if all came at once."""
        return _between(self._first, self._ended or self._clock()) or None

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the prompt, once for each choice that has started."""
        return sum(choice.prompt for choice in self._choices.values())

    @property
    def cached_tokens(self) -> int:
        """Those of them that came from the prompt cache."""
        return sum(choice.cached for choice in self._choices.values())

    @property
    def completion_tokens(self) -> int:
        """Tokens of the answers so far, about."""
        return sum(choice.written for choice in self._choices.values())

    def _start(self, choice: _Choice, event: Started, now: float) -> None:
        choice.prompt, choice.cached = event.prompt_tokens, event.cached_tokens
        choice.read = event.cached_tokens
        self._metrics.prompt(self._model, "disk", event.disk_tokens)
        self._metrics.prompt(self._model, "memory", event.cached_tokens - event.disk_tokens)
        if self._started is None:
            self._started = now
            self._metrics.taken(self._model, now - self._arrived)

    def _read(self, choice: _Choice, done: int) -> None:
        if done > choice.read:
            self._metrics.prompt(self._model, "none", done - choice.read)
            choice.read = done

    def _write(self, choice: _Choice, tokens: int, now: float) -> None:
        self._read(choice, choice.prompt)
        if choice.last is not None:
            self._metrics.next_tokens(self._model, now - choice.last, tokens)
        elif self._first_token is None:
            self._first_token = now
            self._metrics.first_token(self._model, now - self._arrived)
            tokens_read, seconds = choice.prompt - choice.cached, now - (self._started or now)
            if tokens_read >= _ENOUGH_TOKENS and seconds:
                self._metrics.prefilled(self._model, tokens_read / seconds)
        choice.last = now
        choice.written += tokens
        self._metrics.generated(self._model, tokens)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start
