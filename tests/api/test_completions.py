import json
from typing import Any

import pytest

from mlxd.api.completions import decode_body
from mlxd.config import Generation
from mlxd.errors import InvalidRequest, UnsupportedParameter
from mlxd.messages import Delta, Event, Finished, Started, TextPrompt, TokensPrompt, Usage

USAGE = Usage(prompt_tokens=3, cached_tokens=0, completion_tokens=2)
ANSWER: list[list[Event]] = [
    [Started(1, 3, 0)],
    [Delta(1, "once")],
    [Delta(1, " more"), Finished(1, "length", USAGE)],
]


def body(prompt: Any = "Say it", **fields: Any) -> bytes:
    return json.dumps({"prompt": prompt, **fields}).encode()


@pytest.mark.parametrize(
    ("prompt", "meant"),
    [
        ("Say it", TextPrompt("Say it")),
        (["Say it"], TextPrompt("Say it")),
        ([1, 2, 3], TokensPrompt([1, 2, 3])),
    ],
)
def test_the_forms_of_a_prompt(prompt, meant):
    assert decode_body(body(prompt)).to_request(Generation()).prompt == meant


@pytest.mark.parametrize(
    ("prompt", "param", "said"),
    [
        (["a", "b"], "prompt", "several prompts"),
        (["a", 1], "prompt", "either texts or token ids"),
        ([], "prompt", "an empty list"),
        ([1, -5], "prompt[1]", "not a token id"),
        ([[1, 2]], "prompt[0]", "got a list of 2"),
        (None, "prompt", "expected a string or a list, got null"),
    ],
)
def test_a_bad_prompt_is_named(prompt, param, said):
    with pytest.raises(InvalidRequest) as caught:
        decode_body(body(prompt))
    assert caught.value.param == param
    assert said in caught.value.message


def test_the_common_fields_are_there():
    made = decode_body(body(max_tokens=3, temperature=0.5, seed=1)).to_request(Generation())
    assert (made.max_tokens, made.sampling.temperature, made.seed) == (3, 0.5, 1)


def test_a_field_we_cannot_honour_is_refused():
    with pytest.raises(UnsupportedParameter) as caught:
        decode_body(body(echo=True))
    assert caught.value.param == "echo"


def test_a_whole_reply_is_openais():
    fold = decode_body(body()).fold("m", 5)
    for events in ANSWER:
        fold.collect(events)
    reply = json.loads(fold.reply())
    assert reply["id"].startswith("cmpl-")
    assert (reply["object"], reply["created"], reply["model"]) == ("text_completion", 5, "m")
    assert reply["choices"] == [
        {"text": "once more", "index": 0, "logprobs": None, "finish_reason": "length"}
    ]
    assert reply["usage"]["total_tokens"] == 5


def test_a_stream_is_openais():
    fold = decode_body(body(stream=True, stream_options={"include_usage": True})).fold("m", 5)
    sent = b"".join(fold.stream(events) for events in ANSWER).decode()
    *events, done, end = sent.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    *chunks, last = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["once", " more", ""]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert (last["choices"], last["usage"]["completion_tokens"]) == ([], 2)
