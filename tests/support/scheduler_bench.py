"""A scheduler driven without a process, one step at a time."""

from collections.abc import Callable
from typing import Any

from mlxd.engine.loader import LoadedModel
from mlxd.engine.memory import Memory
from mlxd.engine.preprocessing import Prepared, Preprocessor
from mlxd.engine.scheduler import Scheduler, needs_boundaries
from mlxd.generate_request import GenerateRequest, Sampling, TextPrompt
from mlxd.messages import Delta, Event, Failed, Finished, Generate, Load, TokenLogprob

GREEDY = Sampling()
_MOST_STEPS = 10_000


class Bench:
    """A scheduler and its events, by request."""

    def __init__(self, model: LoadedModel, memory: Memory | None = None, **settings: int) -> None:
        load = Load("unused", **settings)
        self._preprocessor = Preprocessor(
            model.tokenizer,
            model.vocabulary,
            model.context_length,
            find_boundaries=needs_boundaries(model, load),
        )
        token_bytes = self._preprocessor.grammars.token_bytes
        self.scheduler = Scheduler(model, load, token_bytes, memory)
        self.events: dict[int, list[Event]] = {}

    def expect(self, request_id: int, request: GenerateRequest) -> Prepared | Failed:
        """Announce a request, and return what has to be admitted."""
        self.scheduler.expect(request_id)
        return self._preprocessor.prepare(Generate(request_id, request))

    def admit(self, request_id: int, request: GenerateRequest) -> None:
        self.take(self.scheduler.admit(self.expect(request_id, request)))

    def step(self) -> None:
        self.take(self.scheduler.step())

    def abort(self, request_id: int) -> None:
        self.take(self.scheduler.abort(request_id))

    def take(self, events: list[Event]) -> None:
        for event in events:
            self.events.setdefault(event.id, []).append(event)

    def run(self) -> None:
        for _ in range(_MOST_STEPS):
            if not self.scheduler.busy:
                return
            self.step()
        raise AssertionError("the scheduler stays busy")

    def run_all(self, *requests: GenerateRequest) -> "Bench":
        """Run requests together, to which it gives the ids 0, 1, …"""
        for request_id, request in enumerate(requests):
            self.admit(request_id, request)
        self.run()
        return self

    def text(self, request_id: int) -> str:
        return "".join(e.text for e in self.events[request_id] if isinstance(e, Delta))

    def logprobs(self, request_id: int) -> list[TokenLogprob]:
        deltas = [event for event in self.events[request_id] if isinstance(event, Delta)]
        return [entry for delta in deltas for entry in delta.logprobs]

    def finished(self, request_id: int) -> Finished:
        """Return the event that ended a request, which has to be the last of its events."""
        (finished,) = [e for e in self.events[request_id] if isinstance(e, Finished)]
        assert self.events[request_id][-1] is finished
        return finished


MakeBench = Callable[..., Bench]
Alone = Callable[[GenerateRequest], str]


def ask(prompt: str, max_tokens: int | None = 30, **fields: Any) -> GenerateRequest:
    """Return a request; `fields` are those of GenerateRequest."""
    fields.setdefault("sampling", GREEDY)
    return GenerateRequest(TextPrompt(prompt), max_tokens, **fields)
