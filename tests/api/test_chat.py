import json
from typing import Any

import pytest

from mlxd.api.chat import ChatFold, decode_body
from mlxd.config import Generation
from mlxd.errors import InvalidRequest, UnsupportedParameter
from mlxd.messages import (
    ChatPrompt,
    Delta,
    Event,
    Finished,
    PrefillProgress,
    Sampling,
    Started,
    Usage,
)

USER = {"role": "user", "content": "Hello"}
USAGE = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=2)
ANSWER: list[list[Event]] = [
    [Started(1, 9, 4)],
    [PrefillProgress(1, 5, 5)],
    [Delta(1, "Good"), Delta(1, " day\n")],
    [Delta(1, "!"), Finished(1, "stop", USAGE)],
]


def body(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"messages": list(messages) or [USER], **fields}).encode()


def request(*messages: Any, **fields: Any):
    return decode_body(body(*messages, **fields)).to_request(Generation())


def template_messages(*messages: Any) -> list[dict[str, Any]]:
    prompt = request(*messages).prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


def streamed(fold: ChatFold) -> list[Any]:
    events = b"".join(fold.stream(events) for events in ANSWER).decode().split("\n\n")
    assert events.pop() == ""
    data = [event.removeprefix("data: ") for event in events]
    return [json.loads(d) if d != "[DONE]" else d for d in data]


def test_what_is_left_out_comes_from_the_defaults():
    defaults = Generation(max_tokens=7, temperature=0.3, top_p=0.9, top_k=5, min_p=0.1)
    made = decode_body(body()).to_request(defaults)
    assert made.max_tokens == 7
    assert made.sampling == Sampling(temperature=0.3, top_p=0.9, top_k=5, min_p=0.1)
    assert (made.stop, made.seed) == ([], None)


def test_what_is_given_counts():
    made = request(
        temperature=1, top_p=0.5, top_k=3, min_p=0.2, stop=["a", "b"], seed=-1, max_tokens=9
    )
    assert made.sampling == Sampling(temperature=1.0, top_p=0.5, top_k=3, min_p=0.2)
    assert (made.stop, made.seed, made.max_tokens) == (["a", "b"], -1, 9)


def test_max_completion_tokens_wins():
    assert request(max_tokens=9, max_completion_tokens=5).max_tokens == 5


def test_zero_temperature_overrides_a_default():
    made = decode_body(body(temperature=0)).to_request(Generation(temperature=0.7))
    assert made.sampling.temperature == 0


@pytest.mark.parametrize("off", [{"top_p": 0}, {"top_k": -1}, {"top_k": 0}])
def test_off_switches(off):
    made = decode_body(body(**off)).to_request(Generation())
    assert made.sampling == Sampling()


def test_one_stop_text_is_a_list_of_one():
    assert request(stop="END").stop == ["END"]


def test_text_parts_are_joined_and_a_developer_is_the_system():
    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    assert template_messages({"role": "developer", "content": parts}, USER) == [
        {"role": "system", "content": "Be brief."},
        USER,
    ]


def test_what_is_for_the_template_goes_along_and_the_rest_does_not():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assistant = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
    tool = {"role": "tool", "content": "4", "tool_call_id": "c1", "x": 1}
    assert template_messages(USER, assistant, tool) == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    ("messages", "param", "said"),
    [
        ([{"role": "wizard", "content": "x"}], "messages[0].role", "system, tool, user"),
        ([USER, {"role": "user"}], "messages[1].content", "missing"),
        ([{"role": "user", "content": None}], "messages[0].content", "missing"),
        ([{"role": "user", "content": 5}], "messages[0].content", "a string or a list, got 5"),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages[0].content[0].type",
            "only text",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", "miss"),
        (["hello"], "messages[0]", "expected an object, got a string"),
    ],
)
def test_a_bad_message_is_named(messages, param, said):
    with pytest.raises(InvalidRequest) as caught:
        decode_body(json.dumps({"messages": messages}).encode())
    assert caught.value.param == param
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"temperature": 2.1}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 2**40}, "max_tokens"),
        ({"seed": 2**64}, "seed"),
        ({"stop": ""}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"model": 5}, "model"),
    ],
)
def test_a_bad_field_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_body(json.dumps({"messages": [USER], **fields}).encode())
    assert caught.value.param == param


def test_a_field_we_cannot_honour_is_refused():
    with pytest.raises(UnsupportedParameter):
        decode_body(body(tools=[{"type": "function", "function": {"name": "f"}}]))


def test_a_whole_reply_is_openais():
    fold = decode_body(body()).fold("some/model", 1_700_000_000)
    for events in ANSWER:
        fold.collect(events)
    reply = json.loads(fold.reply())
    assert reply.pop("id").startswith("chatcmpl-")
    assert reply.pop("system_fingerprint").startswith("mlxd-")
    assert reply == {
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "some/model",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Good day\n!", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 2,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }


def test_a_stream_is_openais():
    *chunks, done = streamed(ChatFold("some/model", 1_700_000_000, include_usage=False))
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "Good"},
        {"content": " day\n"},
        {"content": "!"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * 4 + ["stop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert not any("usage" in chunk for chunk in chunks)


def test_a_stream_with_usage_ends_with_one_more_chunk():
    fold = decode_body(body(stream=True, stream_options={"include_usage": True})).fold("m", 1)
    *chunks, last, done = streamed(fold)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 11


def test_an_answer_without_text_is_still_a_message():
    fold = ChatFold("m", 1, include_usage=False)
    fold.collect([Started(1, 9, 0), Finished(1, "length", USAGE)])
    (choice,) = json.loads(fold.reply())["choices"]
    assert choice["message"]["content"] == ""
    assert choice["finish_reason"] == "length"


def test_nothing_is_sent_before_the_first_text():
    fold = ChatFold("m", 1, include_usage=False)
    assert fold.stream([Started(1, 9, 0), PrefillProgress(1, 2, 9)]) == b""


@pytest.mark.parametrize(
    "body",
    [
        b'{"messages":[{"role":1}],"messages":3}',
        b'{"messages":[{"role":"user"}],"stop":[""],"stop":null}',
    ],
)
def test_a_key_that_is_there_twice_is_a_bad_request(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode_body(body)
