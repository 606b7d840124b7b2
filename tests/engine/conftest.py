"""The tiny model in memory, and schedulers over it."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxd.engine.loader import LoadedModel, load_model
from mlxd.engine.memory import Memory
from mlxd.engine.sandbox import Sandbox
from mlxd.generate_request import GenerateRequest
from mlxd.messages import Load
from tests.support.scheduler_bench import Alone, Bench, MakeBench


@pytest.fixture(scope="session")
def loaded(tiny_model: Path) -> LoadedModel:
    return load_model(Load(str(tiny_model)), lambda _: None)


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One process for templates and grammars that are not trusted, for all tests."""
    sandbox = Sandbox()
    yield sandbox
    sandbox.close()


@pytest.fixture
def make_bench(loaded: LoadedModel) -> MakeBench:
    """Make a scheduler over the tiny model; keywords are its memory and fields of `Load`."""

    def make(memory: Memory | None = None, **settings: int) -> Bench:
        return Bench(loaded, memory, **settings)

    return make


@pytest.fixture
def alone(make_bench: MakeBench) -> Alone:
    """Return the text of a request that runs by itself on a new scheduler."""

    def run(request: GenerateRequest) -> str:
        bench = make_bench()
        bench.admit(0, request)
        bench.run()
        return bench.text(0)

    return run


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """Wait for abandoned threads: Python crashes if one returns from C while it exits."""
    yield
    for thread in threading.enumerate():
        if thread.name == "time-limit":
            thread.join(20)
