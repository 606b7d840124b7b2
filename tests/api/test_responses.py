import json
from typing import Any

import pytest

from mlxd.api.response_items import sealed
from mlxd.api.response_replay import replay
from mlxd.api.responses import ResponseTurn, decode_body
from mlxd.config import GenerationConfig, ModelSettings
from mlxd.engine.time_limit import within
from mlxd.errors import EngineDied, InvalidRequest, UnsupportedParameter
from mlxd.generate_request import GenerateRequest, Grammar, Sampling
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
from tests.support.open_responses import checked_response, checked_stream

USAGE = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=7, reasoning_tokens=2)
STARTED = (0, Started(1, 9, 4))
FINISHED = (0, Finished(1, "stop", USAGE))
F = {"type": "function", "name": "f", "parameters": {"type": "object"}}
G = {**F, "name": "g"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOKEN = TopLogprob(5, "Hi", b"Hi", -0.1)


def new_turn(given: Any = "Hello", history: Any = (), **fields: Any) -> ResponseTurn:
    return ResponseTurn(decode_body(json.dumps({"input": given, **fields}).encode()), history)


def made(given: Any = "Hello", **fields: Any) -> GenerateRequest:
    (request,) = new_turn(given, **fields).to_requests(ModelSettings(), None)
    return request


def chat(given: Any, **fields: Any) -> list[dict[str, Any]]:
    return made(given, **fields).prompt.messages


def streamed(*events: Any, **fields: Any) -> list[dict[str, Any]]:
    builder = new_turn(**fields).reply_builder("some/model", 1_700_000_000)
    steps: list[list[ChoiceEvent]] = [[STARTED], *([(0, event)] for event in events), [FINISHED]]
    return checked_stream(b"".join(builder.stream(step) for step in steps))


def answered(*events: Any, last: ChoiceEvent = FINISHED, **fields: Any) -> dict[str, Any]:
    builder = new_turn(**fields).reply_builder("some/model", 1_700_000_000)
    builder.collect([STARTED, *((0, event) for event in events), last])
    return json.loads(builder.reply())


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_text_is_a_message_of_the_user():
    assert chat("Hello") == [{"role": "user", "content": "Hello"}]


def test_instructions_come_first_and_a_developer_is_a_system():
    given = [{"role": "developer", "content": "Rhyme."}, {"role": "user", "content": "Hi"}]
    assert chat(given, instructions="Be brief.") == [
        {"role": "system", "content": "Be brief."},
        {"role": "system", "content": "Rhyme."},
        {"role": "user", "content": "Hi"},
    ]


def test_what_the_assistant_did_in_a_row_is_one_message():
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x":1}'}
    given = [
        {"role": "user", "content": [{"type": "input_text", "text": "Add"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I add.", "annotations": []}],
        },
        call,
        {**call, "call_id": "c2", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {
            "type": "function_call_output",
            "call_id": "c2",
            "output": [{"type": "input_text", "text": "4"}],
        },
    ]
    assert chat(given) == [
        {"role": "user", "content": "Add"},
        {
            "role": "assistant",
            "content": "I add.",
            "reasoning_content": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
        {"role": "tool", "tool_call_id": "c2", "content": "4"},
    ]


@pytest.mark.parametrize(
    "thought",
    [
        {"content": [{"type": "reasoning_text", "text": "hm"}], "encrypted_content": "gAAA"},
        {"encrypted_content": sealed("hm"), "summary": [{"type": "summary_text", "text": "short"}]},
        {"encrypted_content": "gAAA", "summary": [{"type": "summary_text", "text": "hm"}]},
    ],
)
def test_thoughts_come_back_in_the_fullest_form_that_can_be_read(thought):
    assert chat([{"type": "reasoning", **thought}])[0]["reasoning_content"] == "hm"


def test_a_custom_tool_is_a_function_with_one_argument():
    tool = {"type": "custom", "name": "patch", "format": {"type": "text"}}
    given = [
        {"type": "custom_tool_call", "call_id": "c", "name": "patch", "input": 'a "b"'},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "done"},
    ]
    request = made(given, tools=[tool])
    (function,) = request.prompt.tools.functions
    assert list(function["function"]["parameters"]["properties"]) == ["input"]
    (call,) = request.prompt.messages[0]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"input": 'a "b"'}
    shown = answered(ToolCall(1, "patch", '{"input": "x\\ny"}', "c7"), tools=[tool])
    (item,) = shown["output"]
    assert (item["type"], item["input"], item["call_id"]) == ("custom_tool_call", "x\ny", "c7")


def test_the_grammar_of_a_custom_tool_is_told_and_a_regular_expression_enforced():
    tool = {
        "type": "custom",
        "name": "t",
        "description": "Tell the time.",
        "format": {"type": "grammar", "syntax": "regex", "definition": "[0-9]+"},
    }
    (function,) = made(tools=[tool]).prompt.tools.functions
    assert function["function"]["description"].endswith("regular expression:\n[0-9]+")
    parameters = function["function"]["parameters"]
    assert parameters["properties"]["input"]["pattern"] == "^(?:[0-9]+)$"


def test_a_tool_in_a_namespace_is_called_by_both_names():
    space = {"type": "namespace", "name": "crm", "description": "x", "tools": [F]}
    request = made(tools=[space], tool_choice={"type": "function", "name": "f"})
    assert request.prompt.tools.name == "crm__f"
    (item,) = answered(ToolCall(1, "crm__f", "{}"), tools=[space])["output"]
    assert (item["namespace"], item["name"]) == ("crm", "f")
    (message,) = chat([{**item, "arguments": "{}"}])
    assert message["tool_calls"][0]["function"]["name"] == "crm__f"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (None, ("auto", None, None)),
        ("required", ("required", None, None)),
        ({"type": "function", "name": "g"}, ("required", "g", ["g"])),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]},
            ("auto", None, ["g"]),
        ),
        (
            {"type": "allowed_tools", "mode": "required", "tools": [F, G]},
            ("required", None, ["f", "g"]),
        ),
    ],
)
def test_tool_choice(choice, expected):
    use = made(tools=[F, G], tool_choice=choice).prompt.tools
    assert (use.choice, use.name, use.allowed) == expected
    assert [tool["function"]["name"] for tool in use.functions] == ["f", "g"]


def test_no_tools():
    assert made(tools=[F], tool_choice="none").prompt.tools is None
    assert made(tools=[{"type": "web_search", "external_web_access": False}]).prompt.tools is None


def test_a_call_that_is_not_allowed_is_left_out():
    allowed = {"type": "allowed_tools", "tools": [{"type": "function", "name": "g"}]}
    calls = ToolCall(1, "f", "{}"), ToolCall(1, "g", "{}"), ToolCall(1, "g", "{}")
    fields = {"tools": [F, G], "tool_choice": allowed, "max_tool_calls": 1}
    assert [item["name"] for item in answered(*calls, **fields)["output"]] == ["g"]
    assert made(**fields).prompt.tools.parallel is False


def test_sampling_and_limits():
    request = made(temperature=0.5, top_p=0.9, max_output_tokens=3, seed=4, stop=["a"], top_k=2)
    assert request.sampling == Sampling(temperature=0.5, top_p=0.9, top_k=2)
    assert (request.max_tokens, request.seed, request.stop) == (3, 4, ["a"])


@pytest.mark.parametrize(
    ("given", "grammar"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, Grammar("json_schema", '{"type":"object"}', "text.format")),
        (
            {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True},
            Grammar("json_schema", json.dumps(SCHEMA, separators=(",", ":")), "text.format.schema"),
        ),
    ],
)
def test_formats(given, grammar):
    assert made(text={"format": given}).grammar == grammar


def test_truncation():
    assert made(truncation="auto").prompt.truncate is True
    assert made(truncation="disabled").prompt.truncate is made().prompt.truncate is False


def test_reasoning_and_verbosity_go_to_the_template():
    request = made(reasoning={"effort": "none"}, text={"verbosity": "low"})
    assert request.prompt.template.arguments == {
        "reasoning_effort": "none",
        "enable_thinking": False,
        "verbosity": "low",
    }


def test_a_streamed_text():
    events = streamed(Delta(1, "Good"), Delta(1, " day"))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(10))
    response = events[-1]["response"]
    assert response["output"][0]["content"][0]["text"] == events[6]["text"] == "Good day"
    assert response["usage"] == {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 16,
    }


def test_streamed_thoughts_and_calls():
    events = streamed(
        Reasoning(1, "h"), Reasoning(1, "m"), Delta(1, "So"), ToolCall(1, "f", '{"a":1}'), tools=[F]
    )
    assert kinds(events)[2:8] == [
        "output_item.added",
        "content_part.added",
        "reasoning.delta",
        "reasoning.delta",
        "reasoning.done",
        "content_part.done",
    ]
    assert kinds(events)[-5:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call"]
    done = [event["item"] for event in events if event["type"].endswith("output_item.done")]
    assert done == output


def test_a_summary_takes_the_place_of_the_thought():
    fields = {"reasoning": {"summary": "auto"}, "include": ["reasoning.encrypted_content"]}
    events = streamed(Reasoning(1, "hm"), Delta(1, "So"), **fields)
    assert kinds(events)[3:7] == [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    thought = events[-1]["response"]["output"][0]
    assert (thought["summary"][0]["text"], thought["content"]) == ("hm", [])
    assert chat([{"type": "reasoning", "encrypted_content": thought["encrypted_content"]}]) == [
        {"role": "assistant", "content": "", "reasoning_content": "hm"}
    ]


def test_a_whole_response_is_the_last_event_of_a_stream():
    said = [Reasoning(1, "hm"), Delta(1, "So"), ToolCall(1, "f", "{}", "c1")]
    whole = checked_response(answered(*said, tools=[F]))
    last = streamed(*said, tools=[F])[-1]["response"]
    changing = ("id", "completed_at")
    for item in (*whole["output"], *last["output"]):
        item.pop("id")
    assert {k: v for k, v in whole.items() if k not in changing} == {
        k: v for k, v in last.items() if k not in changing
    }


def test_the_request_is_shown_with_the_defaults_that_were_used():
    turn = new_turn(
        instructions="Be brief.", metadata={"a": "b"}, tools=[F], max_output_tokens=20, user="me"
    )
    turn.to_requests(ModelSettings(generation=GenerationConfig(temperature=0.7)), None)
    builder = turn.reply_builder("m", 1)
    builder.collect([STARTED, (0, Delta(1, "Yes")), FINISHED])
    shown = checked_response(json.loads(builder.reply()))
    assert (shown["temperature"], shown["top_p"], shown["max_output_tokens"]) == (0.7, 1.0, 20)
    assert (shown["instructions"], shown["metadata"]) == ("Be brief.", {"a": "b"})
    assert (shown["tools"], shown["user"]) == ([{**F, "description": None, "strict": None}], "me")


def test_an_answer_that_was_cut():
    last = (0, Finished(1, "length", USAGE))
    response = checked_response(answered(Delta(1, "So"), last=last))
    assert response["status"] == response["output"][0]["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


def test_an_answer_without_a_word_is_an_answer():
    (item,) = checked_response(answered())["output"]
    assert (item["type"], item["content"][0]["text"]) == ("message", "")


def test_log_probabilities():
    said = Delta(1, "Hi", [TokenLogprob(TOKEN, [TOKEN])])
    fields = {"include": ["message.output_text.logprobs"], "top_logprobs": 1}
    events = streamed(said, **fields)
    chance = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}
    assert events[4]["logprobs"] == [{**chance, "top_logprobs": [chance]}]
    content = events[-1]["response"]["output"][0]["content"][0]
    assert content["logprobs"] == events[4]["logprobs"]
    assert made(include=fields["include"]).logprobs == 0


def test_an_error_in_a_stream():
    builder = new_turn().reply_builder("m", 1)
    data = builder.stream([STARTED, (0, Delta(1, "So"))])
    from mlxd.api.responses_reply import DONE, as_sse

    data += b"".join(map(as_sse, builder.fail(EngineDied("gone")))) + DONE
    events = checked_stream(data)
    assert kinds(events)[-2:] == ["error", "failed"]
    error = {"code": "engine_died", "message": "gone"}
    assert events[-1]["response"]["error"] == error


def test_a_second_start_begins_a_whole_response_anew():
    response = answered(Delta(1, "So"), Started(2, 9, 9), Delta(2, "Yes"))
    assert [item["content"][0]["text"] for item in response["output"]] == ["Yes"]


def test_a_complete_response_can_be_streamed_again():
    tools = [{"type": "namespace", "name": "crm", "description": "x", "tools": [F]}]
    said = [Reasoning(1, "hm"), Delta(1, "So"), ToolCall(1, "crm__f", "{}", "c1")]
    for last in (FINISHED, (0, Finished(1, "length", USAGE))):
        response = answered(*said, last=last, tools=tools)
        events = [json.loads(data.split(b"data: ")[1]) for data in replay(response)]
        assert events[-1]["response"] == response
        done = [event["item"] for event in events if event["type"].endswith("output_item.done")]
        assert [item["id"] for item in done] == [item["id"] for item in response["output"]]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": None}, "input"),
        ({"input": [{"type": "message", "role": "wizard", "content": ""}]}, "input[0].role"),
        ({"input": ["hello"]}, "input[0]"),
        ({"input": [{"type": 5}]}, "input[0].type"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_text"}, 5]}]},
            "input[0].content[1]",
        ),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f"}]}, "input[0].arguments"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].id"),
        ({"input": [{"type": "item_reference"}]}, "input[0].id"),
        ({"input": [{"id": None}]}, "input[0].id"),
        ({"input": [{"content": "Hi"}]}, "input[0].role"),
        (
            {"input": [{"type": "compaction", "encrypted_content": "gAAA"}]},
            "input[0].encrypted_content",
        ),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [F], "tool_choice": {"type": "function", "name": "x"}}, "tool_choice.name"),
        ({"tools": [F], "tool_choice": "maybe"}, "tool_choice"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"include": ["everything"]}, "include[0]"),
        ({"metadata": {"a": 5}}, "metadata"),
        ({"background": True, "store": False}, "background"),
        ({"text": {"format": {"type": "json_object"}}, "guided_regex": "a"}, "guided_regex"),
    ],
)
def test_a_bad_field_is_named(fields, param):
    with pytest.raises(InvalidRequest) as caught:
        ResponseTurn(decode_body(json.dumps({"input": "Hello", **fields}).encode()))
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools[0].type"),
        ({"tools": [F, {"type": "mcp", "server_label": "s"}]}, "tools[1].type"),
        ({"tools": [F], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"input": [{"type": "computer_call", "id": "x"}]}, "input[0].type"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"n": 2}, "n"),
        ({"n_cmpl": 2}, "n_cmpl"),
    ],
)
def test_what_only_openai_has_is_refused_by_name(fields, param):
    with pytest.raises(UnsupportedParameter) as caught:
        ResponseTurn(decode_body(json.dumps({"input": "Hello", **fields}).encode()))
    assert caught.value.param == param


def test_a_result_must_belong_to_a_call_of_the_conversation_that_goes_on():
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
    result = [{"type": "function_call_output", "call_id": "c1", "output": "3"}]
    new_turn(result, history=[call])
    new_turn(result)
    with pytest.raises(InvalidRequest):
        new_turn(result, history=[{**call, "call_id": "c2"}])


def test_many_answers_in_a_row_are_one() -> None:
    said = [{"role": "assistant", "content": "x" * 200}] * 90_000
    request = within(60, lambda: made([*said, {"role": "user", "content": "Hi"}]))
    assert len(request.prompt.messages[0]["content"]) == 202 * 90_000 - 2


@pytest.mark.parametrize("number", [2**70, 1e999])
def test_what_is_kept_as_it_is_has_numbers_that_can_be_shown(number: float) -> None:
    odd = json.dumps(number).replace("Infinity", "1e999")
    item = f'{{"role": "user", "content": "Hi", "x": {odd}}}'
    choice = f'{{"type": "function", "name": "f", "x": {odd}}}'
    for param, fields in {
        "input[0]": f'{{"input": [{item}]}}',
        "tool_choice": f'{{"input": "Hi", "tools": [{json.dumps(F)}], "tool_choice": {choice}}}',
    }.items():
        with pytest.raises(InvalidRequest) as caught:
            ResponseTurn(decode_body(fields.encode()))
        assert caught.value.param == param
