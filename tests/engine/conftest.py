"""A loaded tiny model, and a scheduler driven without a process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxd.engine.loader import LoadedModel, load_model
from mlxd.engine.preprocessing import Preprocessor
from mlxd.engine.scheduler import Scheduler
from mlxd.messages import (
    Delta,
    Event,
    Finished,
    Generate,
    GenerateRequest,
    Load,
    Sampling,
    TextPrompt,
)

GREEDY = Sampling()


class Bench:
    """A scheduler and what it said, by request."""

    def __init__(self, model: LoadedModel, **settings: int) -> None:
        self._preparer = Preprocessor(model.tokenizer, model.vocabulary, model.context_length)
        token_bytes = self._preparer.grammars.token_bytes
        self.scheduler = Scheduler(model, Load("unused", **settings), token_bytes)
        self.events: dict[int, list[Event]] = {}

    def admit(self, request_id: int, request: GenerateRequest) -> None:
        self.scheduler.expect(request_id)
        prepared = self._preparer.prepare(Generate(request_id, request))
        self.take(self.scheduler.admit(prepared))

    def step(self) -> None:
        self.take(self.scheduler.step())

    def abort(self, request_id: int) -> None:
        self.take(self.scheduler.abort(request_id))

    def take(self, events: list[Event]) -> None:
        for event in events:
            self.events.setdefault(event.id, []).append(event)

    def run(self) -> None:
        while self.scheduler.busy:
            self.step()

    def text(self, request_id: int) -> str:
        return "".join(e.text for e in self.events[request_id] if isinstance(e, Delta))

    def finished(self, request_id: int) -> Finished:
        (finished,) = [e for e in self.events[request_id] if isinstance(e, Finished)]
        assert self.events[request_id][-1] is finished
        return finished


def ask(prompt: str, max_tokens: int | None = 30, **fields: Any) -> GenerateRequest:
    """Give a request; `fields` are those of GenerateRequest."""
    fields.setdefault("sampling", GREEDY)
    return GenerateRequest(TextPrompt(prompt), max_tokens, **fields)


@pytest.fixture(scope="session")
def loaded(tiny_model: Path) -> LoadedModel:
    return load_model(Load(str(tiny_model)), lambda _: None)


@pytest.fixture
def make_bench(loaded: LoadedModel) -> Callable[..., Bench]:
    """Make a scheduler over the tiny model; keywords are fields of `Load`."""

    def make(**settings: int) -> Bench:
        return Bench(loaded, **settings)

    return make


@pytest.fixture
def alone(make_bench: Callable[..., Bench]) -> Callable[[GenerateRequest], str]:
    """Give the text of a request that runs by itself on a new scheduler."""

    def run(request: GenerateRequest) -> str:
        bench = make_bench()
        bench.admit(0, request)
        bench.run()
        return bench.text(0)

    return run
