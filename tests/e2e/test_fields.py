"""Each field of a request changes the answer as it should: real daemon, real engine, plain HTTP.

The tiny models say one byte a token, so that a bias on a byte says what they want to say.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon

pytestmark = pytest.mark.slow

A, B, C = "65", "66", "67"
REPEATING = {A: 60, B: 50, C: 40}
DRAWN = {"temperature": 1, "seed": 3, "max_tokens": 30}
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


class Api:
    """Asks the daemon and gives what it answers."""

    def __init__(self, daemon: DaemonProcess) -> None:
        self._client = daemon.local

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self._client.post(path, content=json.dumps(body), timeout=DEADLINE)

    def complete(self, prompt: Any = "fields", **fields: Any) -> dict[str, Any]:
        body = {"model": "tiny", "max_tokens": 4, "temperature": 0, "prompt": prompt, **fields}
        response = self.post("/v1/completions", **body)
        assert response.status_code == 200, response.text
        reply: dict[str, Any] = response.json()
        return reply

    def text(self, prompt: Any = "fields", **fields: Any) -> str:
        text: str = self.complete(prompt, **fields)["choices"][0]["text"]
        return text

    def ask(self, content: str = "fields", **fields: Any) -> httpx.Response:
        messages = [{"role": "user", "content": content}]
        body = {"model": "marked", "max_tokens": 300, "temperature": 0, "messages": messages}
        return self.post("/v1/chat/completions", **{**body, "enable_thinking": False, **fields})

    def chat(self, content: str = "fields", **fields: Any) -> dict[str, Any]:
        response = self.ask(content, **fields)
        assert response.status_code == 200, response.text
        reply: dict[str, Any] = response.json()
        return reply

    def message(self, content: str = "fields", **fields: Any) -> dict[str, Any]:
        message: dict[str, Any] = self.chat(content, **fields)["choices"][0]["message"]
        return message

    def chunks(self, **fields: Any) -> list[dict[str, Any]]:
        lines = self.ask(stream=True, **fields).text.split("\n")
        *data, done = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
        assert done == "[DONE]"
        return [json.loads(line) for line in data]

    def refusal(self, **fields: Any) -> dict[str, Any]:
        response = self.ask(**fields)
        assert response.status_code == 400, response.text
        error: dict[str, Any] = response.json()["error"]
        return error

    def prompt_tokens(self, content: str = "fields", **fields: Any) -> int:
        count: int = self.chat(content, max_tokens=1, **fields)["usage"]["prompt_tokens"]
        return count


@pytest.fixture(scope="module")
def api(tiny_model: Path, marked_model: Path) -> Iterator[Api]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        (home / "models").mkdir()
        (home / "models" / "tiny").symlink_to(tiny_model)
        (home / "models" / "marked").symlink_to(marked_model)
        with running_daemon(home) as daemon:
            yield Api(daemon)


class TestSampling:
    def test_a_temperature_makes_answers_differ(self, api: Api) -> None:
        assert api.text(**DRAWN) != api.text(max_tokens=30)

    @pytest.mark.parametrize("field", [{"top_p": 0.001}, {"top_k": 1}, {"min_p": 1}])
    def test_the_unlikely_is_left_out(self, api: Api, field: dict[str, float]) -> None:
        assert api.text(**DRAWN, **field) == api.text(max_tokens=30)

    def test_xtc_leaves_out_the_likeliest(self, api: Api) -> None:
        without = api.text(**DRAWN, xtc_probability=1, xtc_threshold=0.01)
        assert without[0] != api.text(max_tokens=1)
        assert without != api.text(**DRAWN)
        for fields in ({"xtc_probability": 0}, {"xtc_probability": 1, "xtc_threshold": 0.5}):
            assert api.text(**DRAWN, **fields) == api.text(**DRAWN)

    def test_a_seed_repeats_and_another_does_not(self, api: Api) -> None:
        assert api.text(**DRAWN) == api.text(**DRAWN)
        assert api.text(**DRAWN) != api.text(**{**DRAWN, "seed": 4})

    def test_without_a_seed_nothing_repeats(self, api: Api) -> None:
        assert api.text(**{**DRAWN, "seed": None}) != api.text(**{**DRAWN, "seed": None})

    def test_several_choices_differ_and_a_seed_repeats_them_all(self, api: Api) -> None:
        first, second = (api.complete(n=3, **DRAWN)["choices"] for _ in range(2))
        assert first == second
        assert [choice["index"] for choice in first] == [0, 1, 2]
        assert len({choice["text"] for choice in first}) == 3

    ENDS: ClassVar = {"logit_bias": {"258": 100}, "max_tokens": 9}

    def test_an_answer_has_as_many_tokens_as_it_must(self, api: Api) -> None:
        assert api.text(**self.ENDS) == ""
        assert len(api.text(**self.ENDS, min_tokens=5)) == 5
        assert len(api.text(**self.ENDS, ignore_eos=True)) == 9
        grammar = {"guided_choice": ["yes"], "min_tokens": 5}
        assert api.text(**self.ENDS, **grammar) == "yes"  # where a grammar ends, the answer does

    def test_tokens_that_end_an_answer(self, api: Api) -> None:
        text = api.text(max_tokens=30)
        third = text.index(text[3])
        reply = api.complete(max_tokens=30, stop_token_ids=[ord(text[3])])
        assert reply["choices"][0]["text"] == text[:third]
        assert reply["choices"][0]["finish_reason"] == "stop"

    def test_many_stop_texts(self, api: Api) -> None:
        text = api.text(max_tokens=30)
        assert api.text(max_tokens=30, stop=[f"never {i}" for i in range(99)] + [text[9:12]])
        assert api.text(max_tokens=30, stop=["never"] * 99 + [text[9:12]]) == text[:9]

    def test_max_tokens_ends_an_answer(self, api: Api) -> None:
        reply = api.complete(max_tokens=7)
        assert reply["choices"][0]["finish_reason"] == "length"
        assert reply["usage"]["completion_tokens"] == 7


class TestRepetition:
    @staticmethod
    def lead(api: Api, prompt: str, **fields: Any) -> float:
        """Give by how much the logit of A is above that of B, after `prompt`."""
        reply = api.complete(prompt, max_tokens=1, logit_bias={A: 60, B: 60}, logprobs=2, **fields)
        (top,) = reply["choices"][0]["logprobs"]["top_logprobs"]
        lead: float = top["A"] - top["B"]
        return lead

    @pytest.mark.parametrize(
        ("prompt", "fields", "moved"),
        [
            ("xA", {"presence_penalty": 0.5}, -0.5),
            ("xAA", {"presence_penalty": 0.5}, -0.5),
            ("BA", {"presence_penalty": 0.5}, 0),
            ("BA", {"presence_penalty": 0.5, "presence_context_size": 1}, -0.5),
            ("xA", {"frequency_penalty": 0.5}, -0.5),
            ("xAA", {"frequency_penalty": 0.5}, -1),
            ("BAA", {"frequency_penalty": 0.5}, -0.5),
            ("BAA", {"frequency_penalty": 0.5, "frequency_context_size": 1}, -0.5),
            ("xA", {"frequency_penalty": -0.5}, 0.5),
        ],
    )
    def test_a_penalty_moves_the_logit_of_what_was_there(
        self, api: Api, prompt: str, fields: dict[str, float], moved: float
    ) -> None:
        assert self.lead(api, prompt, **fields) - self.lead(api, prompt) == pytest.approx(
            moved, abs=1e-3
        )

    def test_a_repetition_penalty_divides_it(self, api: Api) -> None:
        assert self.lead(api, "xA", repetition_penalty=1.5) < self.lead(api, "xA") - 10
        far = {"repetition_penalty": 1.5, "repetition_context_size": 1}
        assert self.lead(api, "Ax", **far) == pytest.approx(self.lead(api, "Ax"), abs=1e-3)

    @pytest.mark.parametrize("value", [100, 100.0, "100"])
    def test_a_bias_forces_a_token(self, api: Api, value: object) -> None:
        assert api.text(logit_bias={"90": value}) == "ZZZZ"

    def test_a_bias_bans_a_token(self, api: Api) -> None:
        assert api.text(logit_bias={**REPEATING, A: -100}) == "BBBB"


class TestStop:
    GUIDED: ClassVar = {"guided_regex": "one two three", "max_tokens": 30}

    @pytest.mark.parametrize(
        ("stop", "shown"),
        [
            ("two", "one "),
            (["never", "e t"], "on"),
            ("three", "one two "),
            (["o"], ""),
            ([], "one two three"),
        ],
    )
    def test_the_answer_ends_before_it_streamed_and_not(
        self, api: Api, stop: object, shown: str
    ) -> None:
        reply = api.chat(**self.GUIDED, stop=stop)["choices"][0]
        assert (reply["message"]["content"], reply["finish_reason"]) == (shown, "stop")
        chunks = api.chunks(**self.GUIDED, stop=stop)
        pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
        assert "".join(pieces) == shown


class TestLogprobs:
    def test_chat_tells_each_token_and_the_likeliest_in_its_place(self, api: Api) -> None:
        choice = api.chat(guided_regex="hé", logprobs=True, top_logprobs=2)["choices"][0]
        content = choice["logprobs"]["content"]
        assert [entry["bytes"] for entry in content] == [[0x68], [0xC3], [0xA9]]
        assert content[0]["token"] == "h"
        assert all(len(entry["top_logprobs"]) == 2 for entry in content)
        assert all(entry["logprob"] == pytest.approx(0, abs=1e-3) for entry in content)

    def test_an_integer_as_upstream_has_it(self, api: Api) -> None:
        content = api.chat(guided_regex="hi", logprobs=3)["choices"][0]["logprobs"]["content"]
        assert [len(entry["top_logprobs"]) for entry in content] == [3, 3]

    def test_streamed_they_come_with_their_text(self, api: Api) -> None:
        chunks = api.chunks(guided_regex="hello", logprobs=True)
        choices = [chunk["choices"][0] for chunk in chunks]
        told = [
            (choice["delta"]["content"], choice["logprobs"]["content"][0]["token"])
            for choice in choices
            if choice["delta"].get("content")
        ]
        assert told == [(letter, letter) for letter in "hello"]

    def test_completions_have_the_legacy_shape(self, api: Api) -> None:
        choice = api.complete(logit_bias=REPEATING, logprobs=2, max_tokens=3)["choices"][0]
        logprobs = choice["logprobs"]
        assert logprobs["tokens"] == ["A", "A", "A"]
        assert logprobs["text_offset"] == [0, 1, 2]
        assert len(logprobs["token_logprobs"]) == 3
        assert [set(top) for top in logprobs["top_logprobs"]] == [{"A", "B"}] * 3


class TestPrompts:
    def test_text_and_token_ids_are_the_same_prompt(self, api: Api) -> None:
        assert api.text("fields") == api.text(list(b"fields"))

    def test_several_prompts_have_an_answer_each(self, api: Api) -> None:
        prompts = ["one", "another, which is longer"]
        choices = api.complete(prompts)["choices"]
        assert [choice["text"] for choice in choices] == [api.text(prompt) for prompt in prompts]

    def test_several_lists_of_ids_too(self, api: Api) -> None:
        prompts = [list(b"one"), list(b"another")]
        choices = api.complete(prompts, n=2)["choices"]
        texts = [choice["text"] for choice in choices]
        assert texts == [api.text("one")] * 2 + [api.text("another")] * 2

    @pytest.mark.parametrize("field", [{"mirostat": 1}, {"suffix": "x"}])
    def test_what_is_not_supported_is_refused_by_name(
        self, api: Api, field: dict[str, object]
    ) -> None:
        response = api.post("/v1/completions", model="tiny", prompt="x", **field)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == next(iter(field))

    def test_a_prompt_beyond_the_context_is_refused(self, api: Api) -> None:
        response = api.post("/v1/completions", model="tiny", prompt="x" * 5000)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "context_length_exceeded"

    @pytest.mark.parametrize("limit", [100_000, 2**40, -1, None])
    def test_an_answer_ends_where_the_context_does(self, api: Api, limit: int | None) -> None:
        reply = api.complete("x" * 4090, max_tokens=limit)
        assert reply["usage"]["total_tokens"] == 4096
        assert reply["choices"][0]["finish_reason"] == "length"

    def test_no_tokens_are_no_answer(self, api: Api) -> None:
        reply = api.complete("only read this", max_tokens=0)
        assert reply["choices"][0]["text"] == ""
        assert reply["usage"]["completion_tokens"] == 0
        assert api.complete("only read this")["usage"]["prompt_tokens_details"] == {
            "cached_tokens": len("only read this") - 1
        }
        assert api.message(max_tokens=0)["content"] == ""

    def test_what_was_read_before_counts_as_cached(self, api: Api) -> None:
        prompt = "a prompt that comes twice " * 20
        api.complete(prompt)
        usage = api.complete(prompt)["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] > 400

    def test_usage_comes_last_in_a_stream_that_asks(self, api: Api) -> None:
        *_, last = api.chunks(max_tokens=3, stream_options={"include_usage": True})
        assert last["choices"] == []
        assert last["usage"]["completion_tokens"] == 3

    def test_who_asks_and_why_changes_nothing(self, api: Api) -> None:
        assert api.message(max_tokens=9, user="me", metadata={"a": "b"}) == api.message(
            max_tokens=9
        )


class TestTemplates:
    def test_a_template_of_the_request(self, api: Api) -> None:
        template = "{{ messages[0]['content'] }}{{ mark }}"
        counted = {"chat_template": template, "chat_template_args": {"mark": "12345"}}
        assert api.prompt_tokens("abc", chat_template=template) == 3
        assert api.prompt_tokens("abc", **counted) == 8
        counted["chat_template_kwargs"] = {"mark": "1"}
        assert api.prompt_tokens("abc", **counted) == 4

    def test_prefixes_for_the_roles(self, api: Api) -> None:
        mapping = {"user": "U: ", "assistant": "A: ", "bos": "", "eos": "", "stop": ""}
        assert api.prompt_tokens("abc", role_mapping=mapping) < api.prompt_tokens("abc")

    def test_a_template_that_raises_says_so_itself(self, api: Api) -> None:
        error = api.refusal(chat_template="{{ raise_exception('no such luck') }}")
        assert error["param"] == "chat_template"
        assert "no such luck" in error["message"]

    @pytest.mark.parametrize(
        "escape",
        ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}", "{{ lipsum.__globals__.os }}"],
    )
    def test_templates_have_no_way_out(self, api: Api, escape: str) -> None:
        assert api.refusal(chat_template=escape)["param"] == "chat_template"

    def test_a_template_that_never_ends_is_ended(self, api: Api) -> None:
        loops = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
        assert "took more than" in api.refusal(chat_template=loops)["message"]

    def test_the_last_message_is_continued(self, api: Api) -> None:
        """The prompt ends where the message does [llama.cpp#28697]."""
        messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "abc"}]
        ended = api.prompt_tokens(messages=messages)
        prefill = {"continue_final_message": True, "add_generation_prompt": False}
        began = api.prompt_tokens(messages=messages, **prefill)
        assert began < ended
        assert api.prompt_tokens(messages=messages, add_generation_prompt=False) < ended

    def test_thinking_and_effort_reach_the_template(self, api: Api) -> None:
        plain = api.prompt_tokens()
        assert api.prompt_tokens(enable_thinking=True) > plain
        assert api.prompt_tokens(reasoning_effort="high") > plain
        assert api.prompt_tokens(chat_template_kwargs={"reasoning_effort": "high"}) > plain


class TestStructure:
    def test_a_json_object(self, api: Api) -> None:
        # The tiny model would never end a string by itself.
        content = api.message(
            response_format={"type": "json_object"}, logit_bias={"34": 9, "125": 9, "58": 9}
        )["content"]
        assert isinstance(json.loads(content), dict)

    def test_a_schema_streamed_and_not(self, api: Api) -> None:
        schema = {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 3}
        held = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        content = api.message(response_format=held)["content"]
        assert 2 <= len(json.loads(content)) <= 3
        chunks = api.chunks(response_format=held)
        pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks]
        assert "".join(pieces) == content

    @pytest.mark.parametrize(
        ("field", "answers"),
        [
            (
                {"guided_regex": "[xy]{3}z"},
                {a + b + c + "z" for a in "xy" for b in "xy" for c in "xy"},
            ),
            ({"guided_choice": ["left", "right"]}, {"left", "right"}),
            ({"guided_grammar": 'start: "a" | "b" "c"'}, {"a", "bc"}),
            ({"grammar": 'root ::= "a" | "b" "c"'}, {"a", "bc"}),
            ({"structured_outputs": {"grammar": 'start: "a" | "b" "c"'}}, {"a", "bc"}),
            ({"guided_json": {"const": 7}}, {"7"}),
        ],
    )
    def test_guided_answers(self, api: Api, field: dict[str, Any], answers: set[str]) -> None:
        assert api.message(**field)["content"] in answers

    def test_a_grammar_that_makes_no_sense_is_refused(self, api: Api) -> None:
        assert api.refusal(grammar="root :: 5")["param"] == "grammar"

    def test_a_schema_that_cannot_be_compiled_is_refused_with_the_place(self, api: Api) -> None:
        schema = {"type": "object", "properties": {"a": {"items": {"type": "thing"}}}}
        error = api.refusal(
            response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        )
        assert error["param"] == "response_format.json_schema.schema.properties.a.items"
        assert "thing" in error["message"]


class TestReasoning:
    FIELDS: ClassVar = {"guided_grammar": 'start: <think> "hm" </think> "yes"'}

    def test_it_is_split_from_the_content(self, api: Api) -> None:
        reply = api.chat(**self.FIELDS)
        message = reply["choices"][0]["message"]
        assert (message["reasoning_content"], message["content"]) == ("hm", "yes")
        assert message["reasoning"] == "hm"
        assert reply["usage"]["completion_tokens_details"]["reasoning_tokens"] == 4

    def test_it_is_split_in_a_stream(self, api: Api) -> None:
        deltas = [chunk["choices"][0]["delta"] for chunk in api.chunks(**self.FIELDS)]
        for name in ("reasoning_content", "reasoning"):
            assert "".join(delta.get(name) or "" for delta in deltas) == "hm"
        assert "".join(delta.get("content") or "" for delta in deltas) == "yes"


class TestTools:
    @pytest.mark.parametrize(
        "choice", ["required", {"type": "function", "function": {"name": "weather"}}]
    )
    def test_a_call_that_is_demanded_comes(self, api: Api, choice: object) -> None:
        reply = api.chat(tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False)
        choice = reply["choices"][0]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] is None
        (call,) = choice["message"]["tool_calls"]
        assert call["function"]["name"] == "weather"
        assert list(json.loads(call["function"]["arguments"])) == ["city"]

    def test_streamed_it_comes_in_deltas_with_one_id_and_index(self, api: Api) -> None:
        chunks = api.chunks(tools=[WEATHER], tool_choice="required", parallel_tool_calls=False)
        deltas = [
            delta
            for chunk in chunks
            for delta in chunk["choices"][0]["delta"].get("tool_calls") or []
        ]
        assert deltas[0]["id"]
        assert deltas[0]["function"]["name"] == "weather"
        assert {delta["index"] for delta in deltas} == {0}
        assert all(delta.get("id") in (None, deltas[0]["id"]) for delta in deltas)
        arguments = "".join(delta["function"].get("arguments") or "" for delta in deltas)
        assert list(json.loads(arguments)) == ["city"]
        assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"

    def test_none_is_none(self, api: Api) -> None:
        plain = api.message(max_tokens=9)
        assert api.message(max_tokens=9, tools=[WEATHER], tool_choice="none") == plain

    def test_auto_tells_the_model_and_leaves_it_the_choice(self, api: Api) -> None:
        assert api.prompt_tokens(tools=[WEATHER]) > api.prompt_tokens()
        assert "tool_calls" not in api.message(tools=[WEATHER], max_tokens=9)

    def test_results_in_the_history(self, api: Api) -> None:
        function = {"name": "weather", "arguments": '{"city": "Oslo"}'}
        call = {"id": "call_1", "type": "function", "function": function}
        history = [
            {"role": "user", "content": "Oslo?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
        ]
        result = {"role": "tool", "tool_call_id": "call_1", "content": "rain, 9 degrees"}
        for model in ("marked", "tiny"):  # one knows tools by its template, one by our telling
            without = api.prompt_tokens(model=model, messages=history)
            assert api.prompt_tokens(model=model, messages=[*history, result]) > without + 15
