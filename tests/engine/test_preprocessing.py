"""What is prepared at once and what in the thread, with the tiny model's tokenizer."""

import threading
from queue import SimpleQueue
from typing import Any

import pytest

from mlxd.engine.loader import LoadedModel
from mlxd.engine.preprocessing import Prepared, Preprocessor
from mlxd.messages import ChatPrompt, Failed, Generate, GenerateRequest, Grammar, Sampling, Template
from tests.support.scheduler_bench import ask

SECONDS = 20
YES = Grammar("regex", "yes", "guided_regex")


@pytest.fixture
def delivered() -> SimpleQueue[Prepared | Failed]:
    return SimpleQueue()


@pytest.fixture
def preprocessor(loaded: LoadedModel, delivered: SimpleQueue[Prepared | Failed]) -> Preprocessor:
    preprocessor = Preprocessor(loaded.tokenizer, loaded.vocabulary, loaded.context_length)
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


def test_while_one_takes_long_the_others_wait_for_the_tokenizer(
    preprocessor: Preprocessor, delivered: SimpleQueue[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    prepare = preprocessor.prepare

    def prepare_when_released(message: Generate) -> Prepared | Failed:
        assert released.wait(SECONDS)
        return prepare(message)

    monkeypatch.setattr(preprocessor, "prepare", prepare_when_released)
    assert preprocessor.take(Generate(1, ask("Hi", grammar=YES))) is None
    assert preprocessor.take(Generate(2, ask("Hi"))) is None
    released.set()
    assert [delivered.get(timeout=SECONDS).message.id for _ in range(2)] == [1, 2]
    assert preprocessor.take(Generate(3, ask("Hi"))) is not None


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
