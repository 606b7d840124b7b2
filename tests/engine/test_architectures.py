"""Every architecture of mlx-lm: alone, beside others and from the prompt cache as in mlx-lm itself.

What is compared is the tokens of `mlx_lm.generate.generate_step`, one by one. A few architectures
stand for all in the quick tests.
"""

from collections.abc import Iterator
from itertools import takewhile
from random import Random
from string import ascii_lowercase
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.generate import generate_step
from mlx_lm.sample_utils import make_logits_processors

from mlxd.engine import reading_speed
from mlxd.generate_request import ChatPrompt, GenerateRequest, TextPrompt
from mlxd.messages import Started
from scripts.random_model import architectures
from scripts.tiny_model import EOS_ID
from tests.support.random_models import load_random_tokenizer, make_loaded_model
from tests.support.scheduler_bench import GREEDY, Bench

ENOUGH_BYTES = 1 << 30
NEVER_END = {EOS_ID: -1e9}
CLOSEST_TOKENS = 1e-4
"""How far apart the best two tokens are at least, in standard deviations of the logits.

Batches round differently, so that closer ones could change places.
"""
QUICK = {"llama", "gpt_oss", "mamba", "qwen3_5", "deepseek_v3", "llama4"}
NEEDS_METAL = {"bitnet", "muse_spark"}
DEPENDS_ON_CUT = {"phi3small", "plamo3"}
"""What mlx-lm computes differently when it reads a prompt in other parts.

phi3small adds a mask of ones and zeros to the scores; plamo3's mask is one token wider than its
cache.
"""


def words(length: int, seed: int) -> str:
    """Return random text of `length` characters, which are as many tokens."""
    return "".join(Random(seed).choices(ascii_lowercase + " ", k=length))


LONG, SHORT, MIDDLE, VICTIM = words(130, 1), words(20, 2), words(60, 3), words(100, 4)
SYSTEM = {"role": "system", "content": words(70, 5)}
QUESTION, OTHER_QUESTION, SECOND_QUESTION = (
    {"role": "user", "content": words(length, length)} for length in (40, 30, 20)
)
EDITED_ANSWER = {"role": "assistant", "content": words(15, 6)}
FIRST = [SYSTEM, QUESTION]
FOLLOW_UP = [SYSTEM, QUESTION, EDITED_ANSWER, SECOND_QUESTION]
SAME_SYSTEM = [SYSTEM, OTHER_QUESTION]


def complete(text: str) -> GenerateRequest:
    return GenerateRequest(TextPrompt(text), 8, GREEDY, logit_bias=NEVER_END, logprobs=0)


def chat(messages: list[dict[str, Any]]) -> GenerateRequest:
    return GenerateRequest(ChatPrompt(messages), 4, GREEDY, logit_bias=NEVER_END, logprobs=0)


class Architecture:
    """A random model, and what mlx-lm's own generation answers with it."""

    def __init__(self, name: str, tokenizer: Any) -> None:
        self.name = name
        self._tokenizer = tokenizer
        self._model = make_loaded_model(name, tokenizer)
        self._answers: dict[str, list[int]] = {}

    def bench(self, **settings: int) -> Bench:
        return Bench(self._model, **settings)

    def render(self, messages: list[dict[str, Any]], *, ask: bool = True) -> list[int]:
        """Return the tokens of a chat, with the beginning of an answer if `ask` is true."""
        tokens: list[int] = self._tokenizer.apply_chat_template(messages, add_generation_prompt=ask)
        return tokens

    def answer(self, request: GenerateRequest) -> list[int]:
        """Return mlx-lm's answer to a request."""
        key = repr(request)
        if key not in self._answers:
            self._answers[key] = list(self._generate(request))
        return self._answers[key]

    def _generate(self, request: GenerateRequest) -> Iterator[int]:
        prompt = request.prompt
        tokens = (
            self.render(prompt.messages)
            if isinstance(prompt, ChatPrompt)
            else self._tokenizer.encode(prompt.text)
        )
        processors = make_logits_processors(request.logit_bias)
        for token, logprobs in generate_step(
            mx.array(tokens),
            self._model.model,
            max_tokens=request.max_tokens,
            logits_processors=processors,
        ):
            second, best = sorted(mx.topk(logprobs, 2).tolist())
            deviation = mx.std(mx.where(logprobs > NEVER_END[EOS_ID] / 2, logprobs, best)).item()
            assert best - second > CLOSEST_TOKENS * deviation, "take another seed for its weights"
            yield token


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_random_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module", autouse=True)
def _no_compiler() -> Iterator[None]:
    """Compute without mx.compile, which calls a C++ compiler for minutes on this processor."""
    mx.disable_compile()
    yield
    mx.enable_compile()


@pytest.fixture(autouse=True)
def _no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut prompts at the same tokens however busy the machine is."""
    monkeypatch.setattr(reading_speed, "_PART_SECONDS", 60.0)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
        for name in architectures()
    ],
)
def architecture(request: pytest.FixtureRequest, tokenizer: Any) -> Architecture:
    if request.param in NEEDS_METAL and not mx.metal.is_available():
        pytest.skip("its kernels need Metal")
    return Architecture(request.param, tokenizer)


def tokens(bench: Bench, request_id: int) -> list[int]:
    """Return the tokens of an answer."""
    return [entry.token.id for entry in bench.logprobs(request_id)]


def cached(bench: Bench, request_id: int) -> int:
    """Return how many tokens of a prompt came from the prompt cache."""
    (started,) = [e for e in bench.events[request_id] if isinstance(e, Started)]
    return started.cached_tokens


def test_an_answer_is_the_same_alone_and_again(architecture: Architecture) -> None:
    bench = architecture.bench(prompt_cache_bytes=ENOUGH_BYTES)
    bench.run_all(complete(LONG))
    assert tokens(bench, 0) == architecture.answer(complete(LONG))
    if architecture.name in DEPENDS_ON_CUT:
        return  # what is cached is a cut, and so is what is read beside another answer
    bench.admit(1, complete(LONG))
    bench.admit(2, complete(SHORT))
    bench.run()
    assert tokens(bench, 1) == tokens(bench, 0)
    assert tokens(bench, 2) == architecture.answer(complete(SHORT))


def test_an_answer_is_the_same_beside_others_that_come_and_go(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    if architecture.name in DEPENDS_ON_CUT:
        monkeypatch.setattr(reading_speed.ReadingSpeed, "part", lambda *_: 2048)
    bench = architecture.bench(prefill_step_size=64)
    bench.admit(0, complete(LONG))
    bench.admit(1, complete(SHORT))
    bench.admit(2, complete(VICTIM))
    for _ in range(4):
        bench.step()
    bench.admit(3, complete(MIDDLE))
    bench.step()
    bench.abort(2)
    bench.run()
    for request_id, text in [(0, LONG), (1, SHORT), (3, MIDDLE)]:
        assert tokens(bench, request_id) == architecture.answer(complete(text))


def test_a_follow_up_computes_only_what_is_new(architecture: Architecture) -> None:
    bench = architecture.bench(prompt_cache_bytes=ENOUGH_BYTES)
    bench.run_all(chat(FIRST))
    bench.admit(1, chat(FOLLOW_UP))
    bench.admit(2, chat(SAME_SYSTEM))
    bench.run()
    bench.admit(3, chat(FIRST))
    bench.run()
    if architecture.name not in DEPENDS_ON_CUT:
        for request_id, messages in enumerate([FIRST, FOLLOW_UP, SAME_SYSTEM, FIRST]):
            assert tokens(bench, request_id) == architecture.answer(chat(messages))
    found = [cached(bench, request_id) for request_id in range(4)]
    least = cached_by_mlx_lm(architecture)
    assert all(a >= b for a, b in zip(found, least, strict=True)), f"{found}, not {least}"


def cached_by_mlx_lm(architecture: Architecture) -> list[int]:
    """Return what `mlx_lm server` finds in its cache for the four requests, at most.

    It keeps what it has computed after the system prompt and before the last token of a prompt.
    """
    first = architecture.render(FIRST)
    other = architecture.render([SYSTEM, {"role": "user", "content": ""}], ask=False)
    shared = takewhile(lambda pair: pair[0] == pair[1], zip(first, other, strict=False))
    return [0, len(first) - 1, len(list(shared)), len(first) - 1]
