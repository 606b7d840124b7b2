"""Answers that may be calls without marks, and how soon it is clear that they are not."""

import pytest

from mlxd.engine.bare_calls import BareCalls
from mlxd.engine.tools import HERMES, AllowedCalls
from mlxd.messages import ToolUse

NAMES = ["weather", "time", "admin.tools.list"]
CALL = '{"name": "weather", "parameters": {"city": "a}\\"b"}}'


def held(text: str) -> int | None:
    """Return after how many characters it is clear that a text is no call, None for never."""
    answer = BareCalls(NAMES, HERMES.end)
    for count, character in enumerate(text, 1):
        if not answer.take(character):
            return count
    return None


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        (CALL, 1),
        (f"\n {CALL}\n", 1),
        (CALL.replace("parameters", "arguments"), 1),
        (f"{CALL}; {CALL}", 2),
        (f"{CALL}\n{CALL};", 2),
        (f"[{CALL}, {CALL}]", 2),
        (f"```json\n{CALL}\n```", 1),
        (f"```\n{CALL}\n```\n", 1),
        ('{"type": "function", "name": "time", "parameters": {}}', 1),
        ('{"type": "function", "function": {"name": "time", "arguments": "{}"}}', 1),
        ('{"parameters": {}, "name": "time"}', 1),
        ('{"name": "time", "parameters": null}', 1),
        (f"{CALL}\n</tool_call>", 1),
        ('<function=time>{"hours": 3}</function>\n</tool_call>', 1),
        ('{"name": "admin.tools.list", "parameters": {"n": [1, {"a": -2.5e3}]}}', 1),
    ],
)
def test_an_answer_that_is_only_calls_is_calls(text: str, calls: int) -> None:
    """ollama#13519, Rapid-MLX#703, vllm#46863, crustly#39, hermes-agent#35129, mlx-lm#1616."""
    assert held(text) is None
    tools = [{"type": "function", "function": {"name": name}} for name in NAMES]
    assert len(AllowedCalls(HERMES, ToolUse(tools)).read_answer(text)) == calls


@pytest.mark.parametrize(
    ("text", "clear_after"),
    [
        ("Hello", "H"),
        ('{"city": "Oslo"}', '{"c'),
        ('{"name": "Alice", "age": 3}', '{"name": "A'),
        ('{"name": "weatherman"}', '{"name": "weatherm'),
        ('{"name": "time"}', '{"name": "time"}'),
        ('{"type": "person"}', '{"type": "p'),
        ("[1, 2]", "[1"),
        ("<html>", "<h"),
        ("<function=nobody>", "<function=n"),
        ("{}", "{}"),
        ("```python\nx = 1\n```", "```p"),
        ('```json\n{"b": 1}\n```', '```json\n{"b'),
        (f"{CALL} says it all", f"{CALL} s"),
        (f"{CALL}}}", f"{CALL}}}"),
        ('{"id": 1, "title": "x"}', '{"id": 1, "ti'),
    ],
)
def test_an_ordinary_answer_is_clear_at_once(text: str, clear_after: str) -> None:
    """agno#1404: JSON answers that were taken for calls."""
    count = held(text)
    assert count is not None
    assert text[:count] == clear_after


@pytest.mark.parametrize("text", ['{"name": "time", "parameters": {"h', '{"name": "ti', "```js"])
def test_half_a_call_is_none(text: str) -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in NAMES]
    assert held(text) is None
    assert AllowedCalls(HERMES, ToolUse(tools)).read_answer(text) == []
