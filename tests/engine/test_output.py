"""Tokens to events, with the real tokenizers of SmolLM2 and of the tiny marked model."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from mlxd.engine.output import Output
from mlxd.engine.tools import HERMES, AllowedCalls
from mlxd.messages import Delta, Event, Reasoning, TokenLogprob, ToolCall, ToolUse, TopLogprob

WEATHER = {"type": "function", "function": {"name": "weather"}}


@pytest.fixture(scope="module")
def tokenizer(smollm2: Path) -> Any:
    return load_tokenizer(smollm2)


@pytest.fixture(scope="module")
def marked(marked_model: Path) -> Any:
    return load_tokenizer(marked_model)


def write(output: Output, tokens: list[int]) -> list[Event]:
    events: list[Event] = []
    for token in tokens:
        events += output.add(token)
        if output.stopped:
            return events
    return events + output.finish()


def said(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def thought(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Reasoning))


def called(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.name, event.arguments) for event in events if isinstance(event, ToolCall)]


@pytest.mark.parametrize(
    "text", ["Hello, world!\n", "naïve café 🙂👩‍🚀 你好", "def f():\n    return 1"]
)
def test_the_pieces_make_the_whole_and_no_character_comes_in_halves(
    tokenizer: Any, text: str
) -> None:
    events = write(Output(7, tokenizer, []), tokenizer.encode(text))
    assert said(events) == text
    assert all(isinstance(event, Delta) and event.id == 7 for event in events)
    assert "\N{REPLACEMENT CHARACTER}" not in said(events)


def test_text_that_continues_a_prompt_keeps_its_first_space(tokenizer: Any) -> None:
    prompt, rest = tokenizer.encode("The capital is"), tokenizer.encode(" Paris.")
    assert said(write(Output(0, tokenizer, [], after=prompt[-1]), rest)) == " Paris."
    assert said(write(Output(0, tokenizer, []), rest)) == "Paris."


@pytest.mark.parametrize(
    ("stop", "shown"),
    [
        (["apital"], "The c"),
        (["capital of Fr"], "The "),
        (["e cap"], "Th"),
        (["Germany", "is"], "The capital of France "),
        (["The"], ""),
        (["never"], "The capital of France is Paris"),
    ],
)
def test_a_stop_text_is_found_wherever_it_lies_in_the_tokens(
    tokenizer: Any, stop: list[str], shown: str
) -> None:
    tokens = tokenizer.encode("The capital of France is Paris")
    output = Output(0, tokenizer, stop)
    assert said(write(output, tokens)) == shown
    assert output.stopped == (stop != ["never"])


def test_text_that_might_become_a_stop_text_is_held_back(tokenizer: Any) -> None:
    output = Output(0, tokenizer, ["\n\nEnd"])
    assert said([event for t in tokenizer.encode("a\n\n") for event in output.add(t)]) == "a"
    assert said(output.add(tokenizer.encode("b")[0])) == "\n\nb"


class Marked:
    """Writes text with marks."""

    def __init__(self, tokenizer: Any, use: ToolUse | None = None) -> None:
        self.tokenizer = tokenizer
        self.calls = AllowedCalls(HERMES, use, bare=True) if use else None

    def output(self, stop: list[str], **options: Any) -> Output:
        return Output(0, self.tokenizer, stop, calls=self.calls, **options)

    def write(self, text: str, *stop: str, **options: Any) -> tuple[Output, list[Event]]:
        output = self.output(list(stop), **options)
        return output, write(output, self.tokenizer.encode(text))


def test_thoughts_and_text_are_told_apart(marked: Any) -> None:
    output, events = Marked(marked).write("<think>\nhm, 4?\n</think>\n\nIt is 4.")
    assert thought(events).strip() == "hm, 4?"
    assert said(events) == "It is 4."
    assert output.reasoning_tokens == len("\nhm, 4?\n") + 2  # a byte a token, and both marks


def test_a_thought_may_have_begun_in_the_prompt(marked: Any) -> None:
    _, events = Marked(marked).write("hm</think>4", in_reasoning=True)
    assert (thought(events), said(events)) == ("hm", "4")


def test_a_thought_that_never_ends_is_all_there_is(marked: Any) -> None:
    output, events = Marked(marked).write("hm", in_reasoning=True)
    assert (thought(events), said(events)) == ("hm", "")
    assert output.finish_reason("length") == "length"


def test_a_stop_text_counts_inside_a_thought_too(marked: Any) -> None:
    output, events = Marked(marked).write("<think>one two three", "two")
    assert thought(events).strip() == "one"
    assert output.stopped


def test_calls_are_read_without_the_white_space_around_them(marked: Any) -> None:
    call = '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
    output, events = Marked(marked, ToolUse([WEATHER])).write(f"Let me see.\n\n{call}\n{call}\n")
    assert called(events) == [("weather", '{"city": "Oslo"}')] * 2
    assert said(events) == "Let me see."
    assert output.finish_reason("stop") == "tool_calls"


def test_nothing_follows_the_only_call_that_is_allowed(marked: Any) -> None:
    call = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    output, events = Marked(marked, ToolUse([WEATHER], parallel=False)).write(call + call)
    assert called(events) == [("weather", "{}")]
    assert output.stopped
    assert output.finish_reason("stop") == "tool_calls"


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>no json</tool_call>",
        '<tool_call>{"name": "weather", "arguments": {}]}</tool_call> then',
        '<tool_call>{"name": "of nobody", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "weather", "argu',
    ],
)
def test_an_invalid_call_is_returned_as_text(marked: Any, text: str) -> None:
    output, events = Marked(marked, ToolUse([WEATHER])).write(text)
    assert said(events) == text
    assert not called(events)
    assert output.finish_reason("stop") == "stop"


def test_without_tools_the_marks_of_a_call_are_text(marked: Any) -> None:
    text = '<tool_call>{"name": "weather", "arguments": {}}</tool_call>'
    assert said(Marked(marked).write(text)[1]) == text


CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Oslo"}}</tool_call>'
BARE = '{"name": "weather", "parameters": {"city": "Oslo"}}'


@pytest.mark.parametrize(
    ("text", "thoughts", "content", "calls"),
    [
        (f"<think>I could write {CALL}.</think>No.", f"I could write {CALL}.", "No.", 0),
        (f"<think><tool_call></think>{CALL}", "<tool_call>", "", 1),
        (f"<think>hm{CALL}", f"hm{CALL}", "", 0),
        (CALL.replace("Oslo", "<think>a</think>"), "", "", 1),
        (CALL.replace("Oslo", "a</tool_call>b<tool_call>"), "", "", 1),
        (f'<tool_call>{{"a": "b</tool_call>{CALL}!', "", '<tool_call>{"a": "b</tool_call>!', 1),
        ("<think>hm</thi", "hm</thi", "", 0),
        ("Use <tool_c", "", "Use <tool_c", 0),
        (CALL[:-3], "", CALL[:-3], 0),
        (f"{CALL}<tool_call>{{", "", "<tool_call>{", 1),
        (f"<think>hm</think>\n\n{BARE}", "hm", "", 1),
        (f"```json\n{BARE}\n```", "", "", 1),
        (f"{BARE}.", "", f"{BARE}.", 0),
        (f"Call: {BARE}", "", f"Call: {BARE}", 0),
        (f"{BARE}{CALL}", "", BARE, 1),
        (BARE[:-1], "", BARE[:-1], 0),
    ],
)
@pytest.mark.parametrize("scored", [False, True])
def test_every_text_is_in_one_place(
    marked: Any, text: str, thoughts: str, content: str, calls: int, scored: bool
) -> None:
    """lmstudio-bug-tracker#1592, verl#4757, vllm#47612; the marks come in pieces."""
    output = Marked(marked, ToolUse([WEATHER])).output([])
    events = [event for byte in text.encode() for event in output.add(byte, entry(byte, scored))]
    events += output.finish()
    assert (thought(events), said(events), len(called(events))) == (thoughts, content, calls)
    assert output.finish_reason("stop") == ("tool_calls" if calls else "stop")
    whole_marks = write(Marked(marked, ToolUse([WEATHER])).output([]), marked.encode(text))
    assert (thought(whole_marks), said(whole_marks)) == (thoughts, content)
    assert called(whole_marks) == called(events)


@pytest.mark.parametrize(
    ("text", "thoughts", "calls"),
    [
        (f"hm {CALL}", "hm ", 1),
        (f"{CALL}\n{CALL}\n", "", 2),
        (f"{CALL} or so", f"{CALL} or so", 0),
        (f"a <tool_call> is {CALL}", "a <tool_call> is ", 1),
        ("hm <tool_call>{}</tool_call>", "hm <tool_call>{}</tool_call>", 0),
    ],
)
def test_a_call_that_ends_the_answer_ends_a_thought(
    marked: Any, text: str, thoughts: str, calls: int
) -> None:
    """vllm#39056, llama.cpp#26252: Qwen's models forget to close the thought."""
    output = Marked(marked, ToolUse([WEATHER])).output([], in_reasoning=True)
    events = [event for byte in text.encode() for event in output.add(byte)]
    events += output.finish(ended=True)
    assert (thought(events), said(events), len(called(events))) == (thoughts, "", calls)


def test_a_thought_about_marks_is_not_held_back(marked: Any) -> None:
    output = Marked(marked, ToolUse([WEATHER])).output([], in_reasoning=True)
    text = "some write <tool_call>, others"
    events = [event for byte in text.encode() for event in output.add(byte)]
    assert thought(events) == text


def test_text_about_marks_is_not_held_back(marked: Any) -> None:
    output = Marked(marked, ToolUse([WEATHER])).output([])
    text = "Write <tool_call>, then"
    events = [event for byte in text.encode() for event in output.add(byte)]
    assert said(events) == text


def test_json_that_is_no_call_is_not_held_back(marked: Any) -> None:
    output = Marked(marked, ToolUse([WEATHER])).output([])
    events = [event for byte in b'{"name": "A' for event in output.add(byte)]
    assert said(events) == '{"name": "A'


def test_a_schema_allows_json_that_looks_like_a_call(marked: Any) -> None:
    calls = AllowedCalls(HERMES, ToolUse([WEATHER]), bare=False)
    events = write(Output(0, marked, [], calls=calls), marked.encode(BARE))
    assert (said(events), called(events)) == (BARE, [])


def test_a_stop_text_counts_inside_a_call_too(marked: Any) -> None:
    output, events = Marked(marked, ToolUse([WEATHER])).write(CALL, "Oslo")
    assert said(events) == CALL[: CALL.index("Oslo")]
    assert output.stopped


def entry(token: int, wanted: bool = True) -> TokenLogprob | None:
    if not wanted:
        return None
    return TokenLogprob(TopLogprob(token, chr(token), bytes([token]), -1.0), [])


def told(events: list[Event]) -> str:
    """Return the text of the tokens that have log-probabilities."""
    entries = [e for event in events if isinstance(event, Delta) for e in event.logprobs]
    return "".join(e.token.text for e in entries)


def write_scored(output: Output, text: str) -> list[Event]:
    events: list[Event] = []
    for byte in text.encode():
        events += output.add(byte, entry(byte))
        if output.stopped:
            return events
    return events + output.finish()


def test_log_probabilities_come_with_their_text(marked: Any) -> None:
    events = write_scored(Marked(marked).output([]), "hello")
    assert [told([event]) for event in events] == list("hello")


def test_log_probabilities_wait_with_text_that_is_held_back(marked: Any) -> None:
    events = write_scored(Marked(marked).output(["xyz"]), "a xy b")
    assert said(events) == told(events) == "a xy b"
    assert all(told([event]) == said([event]) for event in events)


def test_a_stop_text_takes_its_log_probabilities_along(marked: Any) -> None:
    events = write_scored(Marked(marked).output(["two"]), "one two three")
    assert said(events) == told(events) == "one "


def test_a_character_of_several_tokens_has_all_their_log_probabilities(marked: Any) -> None:
    output = Marked(marked).output([])
    raw = "é!".encode()
    events = [event for byte in raw for event in output.add(byte, entry(byte))] + output.finish()
    assert said(events) == "é!"
    entries = [e for event in events if isinstance(event, Delta) for e in event.logprobs]
    assert b"".join(e.token.bytes for e in entries) == raw


def test_the_space_that_a_text_on_its_own_loses_delays_no_log_probability(tokenizer: Any) -> None:
    output = Output(0, tokenizer, [])
    events: list[Event] = []
    for token in tokenizer.encode(" Paris is big"):
        text = tokenizer.decode([token])
        events += output.add(token, TokenLogprob(TopLogprob(token, text, text.encode(), -1), []))
    events += output.finish()
    assert [(said([e]), told([e])) for e in events] == [
        ("Paris", " Paris"),
        (" is", " is"),
        (" big", " big"),
    ]


def test_the_stop_text_that_ended_the_output_is_known(tokenizer: Any) -> None:
    output = Output(7, tokenizer, ["never", "Paris", "Par"])
    write(output, tokenizer.encode("It is Paris."))
    assert output.stop_text == "Par"
    ended = Output(7, tokenizer, ["never"])
    write(ended, tokenizer.encode("It is Paris."))
    assert ended.stop_text is None
