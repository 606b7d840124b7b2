import json
from typing import Any

import pytest

from mlxd.api.chat import decode_body
from mlxd.api.reply_builder import OpenAIReplyBuilder
from mlxd.config import GenerationConfig, ModelSettings
from mlxd.errors import InvalidRequest, UnsupportedParameter
from mlxd.generate_request import ChatPrompt, Grammar, Penalties, Sampling, Template, ToolUse
from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Finished,
    PrefillProgress,
    Reasoning,
    Started,
    TokenLogprob,
    ToolCall,
    TopLogprob,
    Usage,
)

USER = {"role": "user", "content": "Hello"}
USAGE = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=2)
ANSWER: list[list[ChoiceEvent]] = [
    [(0, Started(1, 9, 4))],
    [(0, PrefillProgress(1, 5, 5))],
    [(0, Delta(1, "Good")), (0, Delta(1, " day\n"))],
    [(0, Delta(1, "!")), (0, Finished(1, "stop", USAGE))],
]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


def body(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"messages": list(messages) or [USER], **fields}).encode()


def request(*messages: Any, **fields: Any):
    (made,) = decode_body(body(*messages, **fields)).to_requests(ModelSettings(), None)
    return made


def template_messages(*messages: Any) -> list[dict[str, Any]]:
    prompt = request(*messages).prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.messages


def new_builder(**fields: Any) -> OpenAIReplyBuilder:
    return decode_body(body(**fields)).reply_builder("some/model", 1_700_000_000)


def streamed(builder: OpenAIReplyBuilder, answer: list[list[ChoiceEvent]] = ANSWER) -> list[Any]:
    events = b"".join(builder.stream(events) for events in answer).decode().split("\n\n")
    assert events.pop() == ""
    data = [event.removeprefix("data: ") for event in events]
    return [json.loads(d) if d != "[DONE]" else d for d in data]


def test_omitted_fields_have_the_configured_defaults():
    defaults = GenerationConfig(max_tokens=7, temperature=0.3, top_p=0.9, top_k=5, min_p=0.1)
    (made,) = decode_body(body()).to_requests(ModelSettings(generation=defaults), None)
    assert made.max_tokens == 7
    assert made.sampling == Sampling(temperature=0.3, top_p=0.9, top_k=5, min_p=0.1)
    assert (made.stop, made.seed) == ([], None)


def test_fields_override_the_defaults():
    made = request(
        temperature=1, top_p=0.5, top_k=3, min_p=0.2, stop=["a", "b"], seed=-7, max_tokens=9
    )
    assert made.sampling == Sampling(temperature=1.0, top_p=0.5, top_k=3, min_p=0.2)
    assert (made.stop, made.seed, made.max_tokens) == (["a", "b"], -7, 9)


def test_max_completion_tokens_takes_precedence():
    assert request(max_tokens=9, max_completion_tokens=5).max_tokens == 5


def test_zero_temperature_overrides_a_default():
    settings = ModelSettings(generation=GenerationConfig(temperature=0.7))
    (made,) = decode_body(body(temperature=0)).to_requests(settings, None)
    assert made.sampling.temperature == 0


@pytest.mark.parametrize("off", [{"top_p": 0}, {"top_k": -1}, {"top_k": 0}])
def test_values_that_turn_a_sampler_off(off):
    assert request(**off).sampling == Sampling()


def test_one_stop_string_is_a_list_of_one():
    assert request(stop="END").stop == ["END"]


def test_text_parts_are_joined_and_developer_means_system():
    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    assert template_messages({"role": "developer", "content": parts}, USER) == [
        {"role": "system", "content": "Be brief."},
        USER,
    ]


def test_templates_get_the_fields_that_they_know_and_no_others():
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    assistant = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}
    assistant |= {"name": None, "audio": None, "annotations": [], "function_call": None}
    tool = {"role": "tool", "content": "4", "tool_call_id": "c1", "x": 1}
    read = {**call, "function": {"name": "f", "arguments": {"a": 1}}}
    assert template_messages(USER, assistant, tool) == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [read]},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
    ]


@pytest.mark.parametrize(
    ("messages", "param", "said"),
    [
        (
            [{"role": "wizard", "content": "x"}],
            "messages[0].role",
            'expected "system" or "developer" or "user" or',
        ),
        ([USER, {"role": "user"}], "messages[1].content", "missing"),
        (
            [{"role": "user", "content": 5}],
            "messages[0].content",
            "a string or a list, got an integer",
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
            "messages[0].content[0].type",
            'expected "text"',
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", "miss"),
        (["hello"], "messages[0]", "expected an object, got a string"),
        ([{"content": "x"}], "messages[0].role", "missing"),
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
        ({"max_tokens": "all"}, "max_tokens"),
        ({"seed": 2**64}, "seed"),
        ({"stop": ["a", 5]}, "stop[1]"),
        ({"stop": ["a"] * 257}, "stop"),
        ({"stop": "a" * 1001}, "stop"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"model": 5}, "model"),
        ({"n": 0}, "n"),
        ({"repetition_penalty": -1}, "repetition_penalty"),
        ({"presence_context_size": -1}, "presence_context_size"),
        ({"xtc_threshold": 0.6}, "xtc_threshold"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"),
        ({"logit_bias": {"5": "nan"}}, "logit_bias.5"),
        ({"logit_bias": {"5": True}}, "logit_bias.5"),
        ({"logit_bias": {"5": 1e300}}, "logit_bias.5"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"role_mapping": {"user": 5}}, "role_mapping"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tool_choice": "required"}, "tool_choice"),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice.function.name",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"guided_regex": "a", "guided_json": {}}, "guided_regex"),
        ({"guided_json": "[1]"}, "guided_json"),
        ({"guided_choice": []}, "guided_choice"),
        ({"num_draft_tokens": 65}, "num_draft_tokens"),
    ],
)
def test_a_bad_field_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        decode_body(json.dumps({"messages": [USER], **fields}).encode())
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("audio", None),
        ("functions", []),
        ("function_call", "auto"),
        ("modalities", ["text"]),
        ("user", "somebody"),
        ("a_field_of_next_year", {"x": 1}),
    ],
)
def test_unknown_fields_and_unsupported_fields_without_effect_are_ignored(field, value):
    assert request(**{field: value}) == request()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("audio", {"voice": "alloy"}),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("modalities", ["text", "audio"]),
        ("web_search_options", {"user_location": None}),
    ],
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(field, value):
    with pytest.raises(UnsupportedParameter, match=field) as caught:
        decode_body(body(**{field: value}))
    assert caught.value.param == field


def test_a_whole_reply_has_openais_shape():
    builder = decode_body(body()).reply_builder("some/model", 1_700_000_000)
    for events in ANSWER:
        builder.collect(events)
    reply = json.loads(builder.reply())
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
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_a_stream_has_openais_shape():
    *chunks, done = streamed(new_builder())
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
    builder = decode_body(body(stream=True, stream_options={"include_usage": True})).reply_builder(
        "m", 1
    )
    *chunks, last, done = streamed(builder)
    assert done == "[DONE]"
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 11


def test_an_answer_without_text_is_an_empty_message():
    builder = new_builder()
    builder.collect([(0, Started(1, 9, 0)), (0, Finished(1, "length", USAGE))])
    (choice,) = json.loads(builder.reply())["choices"]
    assert choice["message"]["content"] == ""
    assert choice["finish_reason"] == "length"


def test_nothing_is_sent_before_the_first_text():
    builder = new_builder()
    assert builder.stream([(0, Started(1, 9, 0)), (0, PrefillProgress(1, 2, 9))]) == b""


def test_every_number_reaches_the_engine():
    made = request(
        repetition_penalty=1.3,
        repetition_context_size=0,
        presence_penalty=-2,
        presence_context_size=5,
        frequency_penalty=0.5,
        frequency_context_size=7,
        xtc_probability=0.5,
        xtc_threshold=0.2,
        logit_bias={"5": -100, "7": "2.5"},
    )
    assert made.penalties == Penalties(1.3, 0, -2.0, 5, 0.5, 7)
    assert (made.sampling.xtc_probability, made.sampling.xtc_threshold) == (0.5, 0.2)
    assert made.logit_bias == {5: -100.0, 7: 2.5}


@pytest.mark.parametrize("off", [0, 1, None])
def test_a_repetition_penalty_of_0_or_1_is_off(off):
    assert request(repetition_penalty=off).penalties == Penalties()


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, None),
        ({"logprobs": False, "top_logprobs": -1}, None),
        ({"logprobs": True}, 0),
        ({"logprobs": True, "top_logprobs": 3}, 3),
        ({"top_logprobs": 3}, 3),
        ({"logprobs": 5}, 5),
        ({"top_logprobs": 0}, None),
    ],
)
def test_how_a_request_asks_for_log_probabilities(fields, wanted):
    assert request(**fields).logprobs == wanted


def test_templates():
    made = request(
        chat_template="{{ x }}",
        chat_template_args={"a": 1, "b": 1},
        chat_template_kwargs={"b": 2},
        use_default_chat_template=True,
        role_mapping={"user": "U: "},
        reasoning_effort="none",
    )
    arguments = {"reasoning_effort": "none", "enable_thinking": False, "a": 1, "b": 2}
    assert made.prompt.template == Template("{{ x }}", True, {"user": "U: "}, arguments)
    assert request(enable_thinking=True).prompt.template.arguments == {"enable_thinking": True}
    assert request().prompt.template == Template()


def test_a_request_overrides_the_configured_template():
    settings = ModelSettings(chat_template="{{ y }}", chat_template_args={"a": 1, "b": 2})

    def template(**fields: object) -> Template:
        (made,) = decode_body(body(**fields)).to_requests(settings, None)
        assert isinstance(made.prompt, ChatPrompt)
        return made.prompt.template

    assert template() == Template("{{ y }}", arguments={"a": 1, "b": 2}, trusted=True)
    assert template(chat_template="{{ x }}").source == "{{ x }}"
    assert template(chat_template_kwargs={"b": 3}).arguments == {"a": 1, "b": 3}
    assert template(enable_thinking=True).arguments == {"a": 1, "b": 2, "enable_thinking": True}
    assert settings.chat_template_args == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("fields", "use"),
    [
        ({}, ToolUse([TOOL])),
        ({"tool_choice": "auto", "parallel_tool_calls": False}, ToolUse([TOOL], parallel=False)),
        ({"tool_choice": "required"}, ToolUse([TOOL], "required")),
        (
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
            ToolUse([TOOL], name="f"),
        ),
        ({"tool_choice": "none"}, None),
    ],
)
def test_tools(fields, use):
    assert request(tools=[TOOL], **fields).prompt.tools == use


@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "name": "f", "parameters": TOOL["function"]["parameters"]},
        {"name": "f", "input_schema": TOOL["function"]["parameters"]},  # Anthropic
    ],
)
@pytest.mark.parametrize(
    ("choice", "use"),
    [
        ("any", ToolUse([TOOL], "required")),  # Mistral
        ({"type": "function", "name": "f"}, ToolUse([TOOL], name="f")),
    ],
)
def test_tools_as_other_apis_write_them(tool, choice, use):
    """BerriAI/litellm#34029, CLIProxyAPI#658: Cursor sends what the Responses API takes."""
    assert request(tools=[tool], tool_choice=choice).prompt.tools == use


@pytest.mark.parametrize(
    "name", ["admin.tools.list", "files/read", "server:tool", "get-weather", "x" * 128]
)
def test_a_function_has_any_name_that_mcp_allows(name):
    """github/copilot-cli#1879."""
    tool = {"function": {"name": name}}
    choice = {"type": "function", "function": {"name": name}}
    assert request(tools=[tool], tool_choice=choice).prompt.tools.name == name


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_earlier_reasoning_goes_to_the_template(field):
    (message,) = template_messages({"role": "assistant", "content": "4", field: "2+2"})
    assert message == {"role": "assistant", "content": "4", "reasoning_content": "2+2"}


@pytest.mark.parametrize(
    ("fields", "grammar"),
    [
        ({"response_format": {"type": "text"}}, None),
        (
            {"response_format": {"type": "json_object"}},
            Grammar("json_schema", '{"type":"object"}', "response_format"),
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": {"a": 1}}}},
            Grammar("json_schema", '{"a":1}', "response_format.json_schema.schema"),
        ),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"const": 10**29}, "strict": True},
                }
            },
            Grammar(
                "json_schema",
                f'{{"const":{10**29}}}',
                "response_format.json_schema.schema",
                strict=True,
            ),
        ),
        ({"guided_json": '{"a": 1}'}, Grammar("json_schema", '{"a":1}', "guided_json")),
        ({"guided_regex": "a+"}, Grammar("regex", "a+", "guided_regex")),
        ({"guided_grammar": "start: A"}, Grammar("lark", "start: A", "guided_grammar")),
        (
            {"guided_choice": ["a", 'b"']},
            Grammar("lark", 'start: "a" | "b\\""', "guided_choice"),
        ),
    ],
)
def test_a_grammar_for_each_way_to_constrain_the_answer(fields, grammar):
    assert request(**fields).grammar == grammar


CALL = ToolCall(1, "f", '{"a":1}')
THOUGHT: list[list[ChoiceEvent]] = [
    [(0, Reasoning(1, "hm")), (0, CALL), (0, CALL), (0, Finished(1, "tool_calls", USAGE))]
]


def test_a_whole_reply_with_reasoning_and_calls():
    builder = new_builder()
    builder.collect(THOUGHT[0])
    (choice,) = json.loads(builder.reply())["choices"]
    message = choice["message"]
    assert (message["content"], choice["finish_reason"]) == (None, "tool_calls")
    assert message["reasoning_content"] == message["reasoning"] == "hm"
    ids = {call.pop("id") for call in message["tool_calls"]}
    assert len(ids) == 2
    function = {"name": "f", "arguments": '{"a":1}'}
    assert message["tool_calls"] == [{"type": "function", "function": function}] * 2


def test_a_streamed_call_is_named_first_and_then_given_its_arguments():
    *chunks, _ = streamed(new_builder(), THOUGHT)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant", "content": ""}
    assert deltas[1] == {"reasoning_content": "hm", "reasoning": "hm"}
    calls = [delta["tool_calls"][0] for delta in deltas[2:-1]]
    assert [call["index"] for call in calls] == [0, 0, 1, 1]
    assert calls[0]["id"].startswith("call_")
    assert calls[0]["id"] != calls[2]["id"]
    assert calls[0]["function"] == {"name": "f", "arguments": ""}
    assert calls[1] == {"index": 0, "function": {"arguments": '{"a":1}'}}


def test_log_probabilities_are_the_same_whole_and_streamed():
    token = TokenLogprob(TopLogprob(1, "é", "é".encode(), -0.5), [TopLogprob(2, "e", b"e", -1.0)])
    answer: list[list[ChoiceEvent]] = [
        [(0, Delta(1, "é", [token])), (0, Finished(1, "stop", USAGE))]
    ]
    other = {"token": "e", "logprob": -1.0, "bytes": [101], "id": 2}
    chosen = {"token": "é", "logprob": -0.5, "bytes": [195, 169], "id": 1, "top_logprobs": [other]}
    builder = new_builder(logprobs=True, top_logprobs=1)
    builder.collect(answer[0])
    (choice,) = json.loads(builder.reply())["choices"]
    assert choice["logprobs"] == {"content": [chosen], "refusal": None}
    chunks = streamed(new_builder(logprobs=True, top_logprobs=1, stream=True), answer)
    assert chunks[1]["choices"][0]["logprobs"] == choice["logprobs"]


def test_the_stream_ends_after_the_last_choice_finishes():
    builder = new_builder(n=2)
    first = builder.stream([(1, Delta(2, "b")), (1, Finished(2, "stop", USAGE))])
    assert b"[DONE]" not in first
    assert b'"index":1,"delta":{"content":"b"}' in first
    assert builder.stream([(0, Finished(1, "length", USAGE))]).endswith(b"data: [DONE]\n\n")
    assert builder.usage == Usage(9, 4, 4)


def test_a_second_start_discards_what_a_dead_engine_sent():
    builder = new_builder()
    builder.collect([(0, Started(1, 9, 0)), (0, Delta(1, "half of it"))])
    builder.collect(
        [(0, Started(2, 9, 0)), (0, Delta(2, "whole")), (0, Finished(2, "stop", USAGE))]
    )
    assert json.loads(builder.reply())["choices"][0]["message"]["content"] == "whole"
