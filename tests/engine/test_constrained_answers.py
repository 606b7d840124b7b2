"""Constrained answers, thoughts and calls in a batch."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from mlxd.engine.loader import LoadedModel, load_model
from mlxd.generate_request import (
    ChatPrompt,
    Draft,
    GenerateRequest,
    Grammar,
    Penalties,
    Sampling,
    Template,
    ToolUse,
)
from mlxd.messages import Delta, Failed, Load, Reasoning, Started, ToolCall
from tests.support.scheduler_bench import Bench, ask

CITY = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "capital": {"type": "boolean"},
        "people": {"type": "integer", "minimum": 0, "maximum": 999},
    },
    "required": ["name", "capital", "people"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 5}},
            "required": ["city"],
        },
    },
}
QUIET = {"enable_thinking": False}
THINK_END, TOOL_CALL = 260, 261
GREEDY = Sampling()


@pytest.fixture(scope="session")
def marked(marked_model: Path) -> LoadedModel:
    return load_model(Load(str(marked_model)), lambda _: None)


@pytest.fixture
def bench(marked: LoadedModel) -> Bench:
    return Bench(marked)


def json_schema(schema: dict[str, Any] = CITY) -> Grammar:
    return Grammar("json_schema", json.dumps(schema), "response_format.json_schema.schema")


def lark(source: str) -> Grammar:
    return Grammar("lark", source, "guided_grammar")


def chat(
    tools: ToolUse | None = None,
    *,
    max_tokens: int | None = 300,
    arguments: dict[str, Any] = QUIET,
    sampling: Sampling = GREEDY,
    **fields: Any,
) -> GenerateRequest:
    messages = [{"role": "user", "content": "Oslo?"}]
    prompt = ChatPrompt(messages, Template(arguments=arguments), tools)
    return GenerateRequest(prompt, max_tokens, sampling, **fields)


def is_city(text: str) -> bool:
    city = json.loads(text)
    return (
        list(city) == ["name", "capital", "people"]
        and isinstance(city["name"], str)
        and isinstance(city["capital"], bool)
        and 0 <= city["people"] <= 999
    )


def thought(bench: Bench, request_id: int) -> str:
    events = bench.events[request_id]
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def calls(bench: Bench, request_id: int) -> list[dict[str, Any]]:
    events = bench.events[request_id]
    return [json.loads(event.arguments) for event in events if isinstance(event, ToolCall)]


def test_constrained_answers_match_their_schemas_beside_free_ones(
    bench: Bench, marked: LoadedModel
) -> None:
    free = [ask("a prompt", 40), ask("another, longer one", 40)]
    bench.admit(0, free[0])
    bench.admit(1, chat(grammar=json_schema()))
    bench.admit(2, chat(grammar=json_schema({"enum": ["yes", "no"]})))
    bench.admit(3, free[1])
    bench.run()
    assert is_city(bench.text(1))
    assert bench.text(2) in ('"yes"', '"no"')
    assert bench.finished(1).reason == bench.finished(2).reason == "stop"
    for place, request in ((0, free[0]), (3, free[1])):
        alone = Bench(marked)
        alone.admit(9, request)
        alone.run()
        assert bench.text(place) == alone.text(9)


@pytest.mark.parametrize("seed", range(4))
def test_a_seeded_constrained_answer_repeats_and_matches(marked: LoadedModel, seed: int) -> None:
    warm = Sampling(temperature=1.5, top_p=0.95)
    texts = set()
    for company in (0, 3):
        bench = Bench(marked)
        bench.admit(0, chat(grammar=json_schema(), sampling=warm, seed=seed))
        for other in range(company):
            bench.admit(other + 1, ask("x" * (other + 1), 20))
        bench.run()
        assert is_city(bench.text(0))
        texts.add(bench.text(0))
    assert len(texts) == 1


def test_a_stop_text_ends_a_constrained_answer_too(bench: Bench) -> None:
    bench.admit(0, chat(grammar=json_schema(), stop=['"capital']))
    bench.run()
    assert bench.text(0).startswith("{")
    assert '"name"' in bench.text(0)
    assert "capital" not in bench.text(0)
    assert bench.finished(0).reason == "stop"


def test_log_probabilities_are_those_of_the_allowed_tokens(bench: Bench) -> None:
    bench.admit(0, chat(grammar=json_schema({"const": True}), logprobs=3))
    bench.run()
    deltas = [event for event in bench.events[0] if isinstance(event, Delta)]
    entries = [entry for delta in deltas for entry in delta.logprobs]
    assert "".join(entry.token.text for entry in entries) == bench.text(0) == "true"
    assert all(entry.token.logprob == pytest.approx(0, abs=1e-4) for entry in entries)


def test_a_draft_model_changes_nothing_in_a_constrained_answer(
    marked: LoadedModel, marked_model: Path
) -> None:
    texts = []
    for draft in (None, Draft(str(marked_model), 3)):
        bench = Bench(marked)
        bench.admit(0, chat(grammar=json_schema(), draft=draft))
        bench.run()
        texts.append(bench.text(0))
    assert texts[0] == texts[1]
    assert is_city(texts[0])


def test_a_thought_comes_first_and_is_not_constrained(bench: Bench) -> None:
    bench.admit(0, chat(grammar=json_schema(), arguments={}, logit_bias={THINK_END: 7}))
    bench.run()
    assert thought(bench, 0)
    assert is_city(bench.text(0))
    usage = bench.finished(0).usage
    assert 0 < usage.reasoning_tokens < usage.completion_tokens


def test_thoughts_calls_and_text_are_told_apart(bench: Bench) -> None:
    call = '{"name": "weather", "arguments": {"city": "Oslo"}}'
    marked_call = f"<tool_call> {json.dumps(call)} </tool_call>"
    source = f'start: <think> "hm" </think> "I look." {marked_call}'
    bench.admit(0, chat(grammar=lark(source)))
    bench.run()
    assert (thought(bench, 0), calls(bench, 0)) == ("hm", [])  # no tools, so no calls
    assert bench.text(0) == f"I look.<tool_call>{call}</tool_call>"
    assert bench.finished(0).usage.reasoning_tokens == 4


@pytest.mark.parametrize(
    "use",
    [
        ToolUse([WEATHER], "required", parallel=False),
        ToolUse([WEATHER], name="weather"),
    ],
)
def test_a_required_call_is_made(bench: Bench, use: ToolUse) -> None:
    bench.admit(0, chat(use))
    bench.run()
    (arguments,) = calls(bench, 0)
    assert list(arguments) == ["city"]
    assert len(arguments["city"]) <= 5
    assert bench.text(0) == ""
    assert bench.finished(0).reason == "tool_calls"


def test_with_tools_a_constrained_answer_matches_or_is_a_call(bench: Bench) -> None:
    use = ToolUse([WEATHER], parallel=False)
    bench.admit(0, chat(use, grammar=json_schema(), logit_bias={TOOL_CALL: -20}))
    bench.admit(1, chat(use, grammar=json_schema(), logit_bias={TOOL_CALL: 20}))
    bench.run()
    assert is_city(bench.text(0))
    assert calls(bench, 1)
    assert bench.text(1) == ""


def test_a_required_call_comes_instead_of_an_answer_that_matches(
    bench: Bench,
) -> None:
    bench.admit(0, chat(ToolUse([WEATHER], name="weather"), grammar=json_schema()))
    bench.run()
    assert calls(bench, 0)
    assert bench.text(0) == ""


@pytest.mark.parametrize(
    "use",
    [
        {"tools": ToolUse([WEATHER], "required", parallel=False)},
        {"tools": ToolUse([WEATHER], name="weather")},
        {"tools": ToolUse([WEATHER], parallel=False), "logit_bias": {TOOL_CALL: 20}},
    ],
    ids=["required", "named", "auto beside a format"],
)
def test_what_a_tools_schema_cannot_have_is_told_first(bench: Bench, use: dict[str, Any]) -> None:
    city = {"type": "string", "maxLength": 5, "pattern": "^(?!x)"}
    parameters = {"type": "object", "properties": {"city": city}, "required": ["city"]}
    function = {"name": "weather", "parameters": parameters}
    tools = structs.replace(use["tools"], functions=[{"type": "function", "function": function}])
    bench.admit(0, chat(**{**use, "tools": tools}, grammar=json_schema()))
    bench.run()
    started = next(event for event in bench.events[0] if isinstance(event, Started))
    (told,) = started.overlooked
    assert told.param == "tools[0].function.parameters.properties.city.pattern"
    assert list(calls(bench, 0)[0]) == ["city"]


def test_an_invalid_schema_of_strict_arguments_is_rejected_with_the_place(
    bench: Bench,
) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "nothing"}}}
    function = {"name": "f", "parameters": parameters, "strict": True}
    tool = {"type": "function", "function": function}
    bench.admit(0, chat(ToolUse([WEATHER, tool], "required")))
    (failed,) = bench.events[0]
    assert isinstance(failed, Failed)
    assert failed.kind == "invalid_request"
    assert failed.param == "tools[1].function.parameters.properties.a"


def test_a_grammar_that_fails_while_it_runs_fails_its_request_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, make_bench: Callable[..., Bench]
) -> None:
    from mlxd.engine.structured_output import Constraint

    def give_up(self: Constraint, token: int) -> None:
        self.failure = "too much"

    monkeypatch.setattr(Constraint, "accept", give_up)
    bench.admit(0, chat(grammar=json_schema()))
    bench.admit(1, ask("free", 10))
    bench.run()
    last = bench.events[0][-1]
    assert isinstance(last, Failed)
    assert "too much" in last.message
    assert bench.finished(1).reason == "length"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("penalty", [1e-300, 1e-30, 1e300])
def test_no_penalty_is_stronger_than_a_grammar(
    bench: Bench, marked_model: Path, penalty: float, temperature: float
) -> None:
    request = ask(
        "Once",
        1000,
        sampling=Sampling(temperature=temperature),
        penalties=Penalties(repetition_penalty=penalty, presence_penalty=-100),
        grammar=json_schema(),
        seed=1,
    )
    bench.run_all(request, structs.replace(request, draft=Draft(str(marked_model), 2)))
    for request_id in (0, 1):
        assert json.loads(bench.text(request_id)).keys() == CITY["properties"].keys()
