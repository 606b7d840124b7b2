"""What is prepared at once and what in the thread, with the tiny model's tokenizer."""

import json
import threading
from queue import SimpleQueue
from typing import Any

import pytest

from mlxd.engine import prompts
from mlxd.engine.loader import LoadedModel
from mlxd.engine.preprocessing import Prepared, Preprocessor
from mlxd.generate_request import (
    ChatPrompt,
    GenerateRequest,
    Grammar,
    Prompt,
    Sampling,
    Template,
    TextPrompt,
)
from mlxd.messages import Failed, Generate
from tests.support.scheduler_bench import ask

SECONDS = 20
YES = Grammar("regex", "yes", "guided_regex")
LARGE = Grammar("json_schema", json.dumps({"const": 1, "description": "x" * 40_000}), "schema")


@pytest.fixture
def delivered() -> SimpleQueue[Prepared | Failed]:
    return SimpleQueue()


@pytest.fixture
def preprocessor(loaded: LoadedModel, delivered: SimpleQueue[Prepared | Failed]) -> Preprocessor:
    preprocessor = Preprocessor(loaded.tokenizer, loaded.vocabulary, context_length=0)
    preprocessor.start(delivered.put)
    return preprocessor


def with_template(source: str) -> GenerateRequest:
    prompt = ChatPrompt([{"role": "user", "content": "Hi"}], Template(source=source))
    return GenerateRequest(prompt, 1, Sampling())


def test_a_plain_request_is_prepared_at_once(preprocessor: Preprocessor) -> None:
    prepared = preprocessor.take(Generate(1, ask("Hi")))
    assert isinstance(prepared, Prepared)
    assert prepared.tokens == list(b"Hi")


@pytest.mark.parametrize(
    "request_",
    [ask("Hi", grammar=YES), ask("Hi", logprobs=1), ask("x" * 9000), with_template("{{ 1 }}")],
    ids=["grammar", "logprobs", "long", "template"],
)
def test_a_request_that_may_take_long_is_delivered_later(
    preprocessor: Preprocessor, delivered: SimpleQueue[Any], request_: GenerateRequest
) -> None:
    assert preprocessor.take(Generate(1, request_)) is None
    last = delivered.get(timeout=SECONDS)
    assert (last.id if isinstance(last, Failed) else last.message.id) == 1


def test_a_short_prompt_does_not_wait_for_those_that_take_long(
    preprocessor: Preprocessor, delivered: SimpleQueue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    read = preprocessor._reader.read

    def read_when_released(prompt: Prompt) -> list[int]:
        assert not isinstance(prompt, TextPrompt) or len(prompt.text) < 9 or released.wait(SECONDS)
        return read(prompt)

    monkeypatch.setattr(preprocessor._reader, "read", read_when_released)
    assert preprocessor.take(Generate(1, ask("x" * 9000))) is None
    assert isinstance(preprocessor.take(Generate(2, ask("Hi"))), Prepared)
    released.set()
    assert delivered.get(timeout=SECONDS).message.id == 1


def test_templates_that_take_long_are_begun_again_after_those_that_wait(
    preprocessor: Preprocessor, delivered: SimpleQueue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template that never ends would keep each of those behind it waiting for all its time."""
    monkeypatch.setattr(prompts, "TEMPLATE_SECONDS", 1.0)
    poison = range(4)
    for number in poison:
        assert preprocessor.take(Generate(number, with_template("{{ 10 ** (10 ** 9) }}"))) is None
    assert preprocessor.take(Generate(9, with_template("{{ 1 }}"))) is None
    assert delivered.get(timeout=SECONDS).message.id == 9
    assert preprocessor.take(Generate(10, ask("Hi", grammar=LARGE))) is None
    assert delivered.get(timeout=SECONDS).message.id == 10
    for number in poison[1:]:
        preprocessor.withdraw(number)
    failed = delivered.get(timeout=SECONDS)
    assert (failed.id, failed.message) == (0, "the chat template took more than 1 s")
    assert delivered.empty()


def test_an_aborted_request_is_not_prepared_and_a_prompt_is_read_once_for_all_choices(
    preprocessor: Preprocessor, delivered: SimpleQueue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    started, released, reads = threading.Event(), threading.Event(), []
    read = preprocessor._reader.read

    def count(prompt: Prompt) -> list[int]:
        reads.append(prompt)
        started.set()
        assert released.wait(SECONDS)
        return read(prompt)

    monkeypatch.setattr(preprocessor._reader, "read", count)
    for number in range(64):
        assert preprocessor.take(Generate(number, ask("x" * 9000, seed=number))) is None
    for number in (64, 65):
        assert preprocessor.take(Generate(number, ask("y" * 9000, seed=number))) is None
    assert started.wait(SECONDS)
    preprocessor.withdraw(0)
    preprocessor.withdraw(64)
    released.set()
    ids = [delivered.get(timeout=SECONDS).message.id for _ in range(64)]
    assert ids == [*range(1, 64), 65]
    assert len(reads) == 2


def test_long_stop_texts_are_read_off_the_thread_that_steps_or_refused(
    preprocessor: Preprocessor, delivered: SimpleQueue[Any]
) -> None:
    assert preprocessor.take(Generate(1, ask("Hi", stop=["x" * 2000]))) is None
    prepared = delivered.get(timeout=SECONDS)
    assert prepared.stops is not None
    assert preprocessor.take(Generate(2, ask("Hi", stop=["x" * 1000] * 40))) is None
    failed = delivered.get(timeout=SECONDS)
    assert (failed.kind, failed.param) == ("invalid_request", "stop")


def test_an_unexpected_error_fails_its_request_without_its_prompt(
    preprocessor: Preprocessor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt = "a secret prompt"

    def break_down(*_: object) -> None:
        raise OSError(prompt)

    monkeypatch.setattr(preprocessor._reader, "read", break_down)
    failed = preprocessor.take(Generate(1, ask(prompt)))
    assert isinstance(failed, Failed)
    assert (failed.kind, failed.id) == ("generation_failed", 1)
    assert "secret" not in failed.message + capsys.readouterr().err
