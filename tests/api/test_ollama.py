"""Ollama's dialect: bodies to the engine's requests, events to lines and whole replies."""

import json
import zlib
from typing import Any

import pytest

from mlxd.api.ollama import OllamaChatBody, OllamaGenerateBody, decode_chat, decode_generate
from mlxd.api.ollama_reply import OllamaErrors
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest, ModelNotFound, RequestError
from mlxd.generate_request import ChatPrompt, GenerateRequest, Penalties, Sampling, TextPrompt
from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Finished,
    Reasoning,
    Started,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
)

HI = {"role": "user", "content": "Hi"}
STARTED: ChoiceEvent = (0, Started(1, 9, 4))
FINISHED: ChoiceEvent = (0, Finished(1, "stop", Usage(9, 4, 3)))


def chat(**fields: Any) -> OllamaChatBody:
    return decode_chat(json.dumps({"model": "m", "messages": [HI], **fields}).encode())


def generate(**fields: Any) -> OllamaGenerateBody:
    return decode_generate(json.dumps({"model": "m", "prompt": "Hi", **fields}).encode())


def request(body: OllamaChatBody | OllamaGenerateBody) -> GenerateRequest:
    (made,) = body.to_requests(ModelSettings(), None)
    return made


def prompt(body: OllamaChatBody | OllamaGenerateBody) -> ChatPrompt:
    made = request(body).prompt
    assert isinstance(made, ChatPrompt)
    return made


def lines(body: OllamaChatBody | OllamaGenerateBody, *events: ChoiceEvent) -> list[dict[str, Any]]:
    builder = body.reply_builder("some/model", 0)
    made = b"".join(builder.stream([event]) for event in (STARTED, *events))
    return [json.loads(line) for line in made.splitlines()]


def reply(body: OllamaChatBody | OllamaGenerateBody, *events: ChoiceEvent) -> dict[str, Any]:
    builder = body.reply_builder("some/model", 0)
    builder.collect([STARTED, *events])
    made: dict[str, Any] = json.loads(builder.reply())
    return made


@pytest.mark.parametrize(("stream", "streamed"), [({}, True), ({"stream": None}, True)])
def test_an_answer_is_streamed_unless_asked_otherwise(
    stream: dict[str, Any], streamed: bool
) -> None:
    assert chat(**stream).stream is streamed
    assert chat(stream=False).stream is False


def test_options_are_sampling_and_penalties() -> None:
    options = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "seed": 7,
        "num_predict": 12,
        "stop": ["END"],
        "repeat_penalty": 1.2,
        "repeat_last_n": -1,
        "presence_penalty": 1,
        "frequency_penalty": 2,
        "num_ctx": 8192,
        "tfs_z": 1,
        "mirostat": 0,
    }
    made = request(chat(options=options))
    assert made.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=40, min_p=0.1)
    assert made.penalties == Penalties(1.2, 0, 1.0, 0, 2.0, 0)
    assert (made.seed, made.max_tokens, made.stop) == (7, 12, ["END"])


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"options": {"mirostat": 2}}, "`options.mirostat`"),
        ({"options": {"typical_p": 0.5}}, "`options.typical_p`"),
        ({"options": {"temperature": "hot"}}, "`options.temperature`"),
        ({"format": "xml"}, '`format`: expected "json" or a JSON schema'),
        ({"messages": [HI | {"images": ["aGk="]}]}, "`messages"),
        ({"keep_alive": "soon"}, "`keep_alive`"),
    ],
)
def test_what_would_change_the_answer_is_refused_by_name(
    fields: dict[str, Any], fault: str
) -> None:
    with pytest.raises(RequestError) as refusal:
        chat(**fields)
    assert refusal.value.message.startswith(fault)


def test_history_with_calls_is_one_for_templates() -> None:
    call = {"function": {"name": "weather", "arguments": {"city": "Rome"}}}
    messages = [
        HI,
        {"role": "assistant", "content": "", "thinking": "Hm.", "tool_calls": [call]},
        {"role": "tool", "content": "sunny", "tool_name": "weather"},
    ]
    assert prompt(chat(messages=messages)).messages[1:] == [
        {
            "role": "assistant",
            "content": "",
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "id": "",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                }
            ],
        },
        {"role": "tool", "content": "sunny", "name": "weather"},
    ]


@pytest.mark.parametrize(
    ("think", "arguments"),
    [
        (None, {}),
        (True, {"enable_thinking": True}),
        (False, {"enable_thinking": False}),
        ("low", {"enable_thinking": True, "reasoning_effort": "low"}),
    ],
)
def test_think_is_an_argument_of_the_template(
    think: bool | str | None, arguments: dict[str, Any]
) -> None:
    assert prompt(chat(think=think)).template.arguments == arguments


@pytest.mark.parametrize("wanted", ["json", {"type": "object", "properties": {"a": {}}}])
def test_format_is_a_grammar(wanted: str | dict[str, Any]) -> None:
    grammar = request(generate(format=wanted)).grammar
    assert grammar is not None
    assert (grammar.kind, grammar.param) == ("json_schema", "format")


def test_a_raw_prompt_has_no_template() -> None:
    assert request(generate(raw=True, system="x")).prompt == TextPrompt("Hi")


def test_the_context_of_an_answer_continues_its_conversation() -> None:
    first = reply(generate(system="Be brief."), (0, Delta(1, "Hello.")), FINISHED)
    again = prompt(generate(prompt="And?", context=first["context"]))
    assert again.messages == [
        {"role": "system", "content": "Be brief."},
        HI,
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "And?"},
    ]


@pytest.mark.parametrize("context", [[1, 2, 3], [300], [-1]])
def test_a_foreign_context_is_refused(context: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="`context`: not from an answer of this server"):
        generate(context=context)


def test_the_lines_of_a_chat() -> None:
    thought, text, call, end = lines(
        chat(),
        (0, Reasoning(1, "Hm.")),
        (0, Delta(1, "I look.")),
        (0, ToolCall(1, "weather", '{"city": "Rome"}', "c1")),
        FINISHED,
    )
    assert thought["message"] == {"role": "assistant", "content": "", "thinking": "Hm."}
    assert text["message"] == {"role": "assistant", "content": "I look."}
    (called,) = call["message"]["tool_calls"]
    assert called == {"id": "c1", "function": {"name": "weather", "arguments": {"city": "Rome"}}}
    assert [line["done"] for line in (thought, text, call, end)] == [False, False, False, True]
    assert (end["done_reason"], end["prompt_eval_count"], end["eval_count"]) == ("stop", 9, 3)
    assert {name for name in end if name.endswith("duration")} == {
        "total_duration",
        "load_duration",
        "prompt_eval_duration",
        "eval_duration",
    }


def test_a_whole_answer_to_a_prompt() -> None:
    token = TokenLogprob(TopLogprob(5, "Hel", b"Hel", -0.5), [TopLogprob(6, "Ho", b"Ho", -1.5)])
    made = reply(
        generate(stream=False, logprobs=True, top_logprobs=1),
        (0, Delta(1, "Hel", [token])),
        (0, Delta(1, "lo")),
        (0, Finished(1, "length", Usage(9, 4, 3))),
    )
    assert (made["model"], made["response"], made["done_reason"]) == ("m", "Hello", "length")
    assert made["logprobs"] == [
        {
            "token": "Hel",
            "logprob": -0.5,
            "bytes": [72, 101, 108],
            "top_logprobs": [{"token": "Ho", "logprob": -1.5, "bytes": [72, 111]}],
        }
    ]


def test_without_a_prompt_a_model_is_loaded_or_unloaded() -> None:
    body = generate(prompt="")
    assert request(body).count_only
    assert not body.unloads
    (line,) = lines(body, (0, Finished(1, "length", Usage(1, 0, 0))))
    assert (line["done"], line["done_reason"]) == (True, "load")
    assert chat(messages=[], keep_alive=0).unloads


def test_a_sign_of_life_is_an_empty_piece() -> None:
    line = json.loads(chat().stream_form.sign_of_life("queued 3"))
    assert (line["message"]["content"], line["done"]) == ("", False)


def test_errors() -> None:
    assert OllamaErrors().whole(ModelNotFound("no")) == b'{"error":"no"}'
    assert OllamaErrors().event(ModelNotFound("no")) == b'{"error":"no"}\n'


def test_a_context_is_not_larger_than_a_conversation() -> None:
    turns = b"[" + b",".join([b'{"role": "user"}'] * 10_001) + b"]"
    for content in (turns, b'[{"role": "user", "content": "' + b"x" * 8_000_000 + b'"}]'):
        with pytest.raises(InvalidRequest) as caught:
            generate(prompt="Hi", context=list(zlib.compress(content)))
        assert caught.value.param == "context"


@pytest.mark.parametrize("number", ["1e999", "1" * 30])
def test_arguments_of_earlier_calls_have_numbers_that_can_be_written(number: str) -> None:
    call = f'{{"function": {{"name": "f", "arguments": {{"a": {number}}}}}}}'
    asked = f'{{"messages": [{{"role": "assistant", "tool_calls": [{call}]}}]}}'
    with pytest.raises(InvalidRequest) as caught:
        decode_chat(asked.encode())
    assert caught.value.param == "messages[0].tool_calls[0].function.arguments"
