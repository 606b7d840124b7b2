import json
from typing import Any

import pytest

from mlxd.api.completions import decode_body
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest, UnsupportedParameter
from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Finished,
    Started,
    TextPrompt,
    TokenLogprob,
    TokensPrompt,
    TopLogprob,
    Usage,
)

USAGE = Usage(prompt_tokens=3, cached_tokens=0, completion_tokens=2)
ANSWER: list[list[ChoiceEvent]] = [
    [(0, Started(1, 3, 0))],
    [(0, Delta(1, "once"))],
    [(0, Delta(1, " more")), (0, Finished(1, "length", USAGE))],
]
TOP = TopLogprob(5, "o", b"o", -1.0)
LOGPROBS: list[list[ChoiceEvent]] = [
    [
        (0, Delta(1, "on", [TokenLogprob(TopLogprob(1, "on", b"on", -0.5), [TOP])])),
        (0, Delta(1, "ce", [TokenLogprob(TopLogprob(2, "ce", b"ce", -0.25), [TOP])])),
    ],
    [(0, Finished(1, "stop", USAGE))],
]


def body(prompt: Any = "Say it", **fields: Any) -> bytes:
    return json.dumps({"prompt": prompt, **fields}).encode()


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("Say it", [TextPrompt("Say it")]),
        (["Say it", "so"], [TextPrompt("Say it"), TextPrompt("so")]),
        ([1, 2, 3], [TokensPrompt([1, 2, 3])]),
        ([[1, 2], [3]], [TokensPrompt([1, 2]), TokensPrompt([3])]),
    ],
)
def test_the_forms_of_a_prompt(prompt, meant):
    requests = decode_body(body(prompt)).to_requests(ModelSettings(), None)
    assert [request.prompt for request in requests] == meant


@pytest.mark.parametrize(
    ("prompt", "param", "said"),
    [
        (["a", 1], "prompt", "only strings, only token IDs or only lists of token IDs"),
        (["a"] * 129, "prompt", "129 answers requested"),
        ([], "prompt", "must not be an empty list"),
        ([1, -5], "prompt[1]", "not a token ID"),
        ([[1], []], "prompt[1]", "must not be an empty list"),
        ([[1, -2]], "prompt[0][1]", "not a token ID"),
        (None, "prompt", "expected a string or a list, got null"),
    ],
)
def test_a_bad_prompt_is_named(prompt, param, said):
    with pytest.raises(InvalidRequest) as caught:
        decode_body(body(prompt))
    assert caught.value.param == param
    assert said in caught.value.message


def test_the_common_fields_are_there():
    (made,) = decode_body(body(max_tokens=3, temperature=0.5, seed=1)).to_requests(
        ModelSettings(), None
    )
    assert (made.max_tokens, made.sampling.temperature, made.seed) == (3, 0.5, 1)


@pytest.mark.parametrize(
    ("field", "value"), [("mirostat", 2), ("prompt_logprobs", 1), ("best_of", 3)]
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(field, value):
    with pytest.raises(UnsupportedParameter, match=field) as caught:
        decode_body(body(**{field: value}))
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("field", "value"), [("echo", False), ("suffix", ""), ("best_of", 1), ("mirostat", 0)]
)
def test_unsupported_fields_without_effect_are_ignored(field, value):
    requests = decode_body(body(**{field: value})).to_requests(ModelSettings(), None)
    assert requests == decode_body(body()).to_requests(ModelSettings(), None)


def test_a_whole_reply_has_openais_shape():
    builder = decode_body(body()).reply_builder("m", 5)
    for events in ANSWER:
        builder.collect(events)
    reply = json.loads(builder.reply())
    assert reply["id"].startswith("cmpl-")
    assert (reply["object"], reply["created"], reply["model"]) == ("text_completion", 5, "m")
    assert reply["choices"] == [
        {"text": "once more", "index": 0, "logprobs": None, "finish_reason": "length"}
    ]
    assert reply["usage"]["total_tokens"] == 5


def test_a_stream_has_openais_shape():
    builder = decode_body(body(stream=True, stream_options={"include_usage": True})).reply_builder(
        "m", 5
    )
    sent = b"".join(builder.stream(events) for events in ANSWER).decode()
    *events, done, end = sent.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    *chunks, last = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["once", " more", ""]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2)


def test_each_prompt_gets_n_answers_with_seeds_of_their_own():
    made = decode_body(body(["a", "b"], n=3, seed=7)).to_requests(ModelSettings(), None)
    assert [r.prompt.text for r in made if isinstance(r.prompt, TextPrompt)] == list("aaabbb")
    seeds = [r.seed for r in made]
    assert seeds[0] == seeds[3] == 7
    assert len(set(seeds)) == 3
    unseeded = decode_body(body(n=3)).to_requests(ModelSettings(), None)
    assert {r.seed for r in unseeded} == {None}


def test_a_prompt_is_counted_once_however_many_answers_it_has():
    builder = decode_body(body(["a", "b"], n=2)).reply_builder("m", 5)
    for index in (3, 1, 0, 2):
        assert builder.usage is None
        builder.collect([(index, Delta(1, f"t{index}")), (index, Finished(1, "stop", USAGE))])
    reply = json.loads(builder.reply())
    assert [choice["text"] for choice in reply["choices"]] == ["t0", "t1", "t2", "t3"]
    assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
    assert (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]) == (6, 8)


def test_log_probabilities_are_lists_with_offsets():
    builder = decode_body(body(logprobs=1)).reply_builder("m", 5)
    for events in LOGPROBS:
        builder.collect(events)
    (choice,) = json.loads(builder.reply())["choices"]
    assert choice["logprobs"] == {
        "tokens": ["on", "ce"],
        "token_logprobs": [-0.5, -0.25],
        "top_logprobs": [{"o": -1.0}, {"o": -1.0}],
        "text_offset": [0, 2],
    }


def test_streamed_log_probabilities_continue_the_offsets():
    builder = decode_body(body(logprobs=1, stream=True)).reply_builder("m", 5)
    events = builder.stream(LOGPROBS[0]).decode().split("\n\n")[:-1]
    choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
    assert [choice["logprobs"]["text_offset"] for choice in choices] == [[0], [2]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"n": 129}, "n"), ({"logprobs": 21}, "logprobs")],
)
def test_a_bad_number_of_answers_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_body(body(**fields))
    assert caught.value.param == param
