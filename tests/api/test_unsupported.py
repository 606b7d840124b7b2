import json

import pytest

from mlxd.api.unsupported import CHAT, COMPLETION, refuse_unsupported
from mlxd.errors import UnsupportedParameter


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 1),
        ("n", None),
        ("presence_penalty", 0.0),
        ("repetition_penalty", 1),
        ("logit_bias", {}),
        ("logprobs", False),
        ("tools", []),
        ("tool_choice", "auto"),
        ("parallel_tool_calls", False),
        ("response_format", {"type": "text"}),
        ("repetition_context_size", 20),
        ("user", "somebody"),
        ("a_field_of_next_year", {"x": 1}),
    ],
)
def test_a_neutral_or_unknown_field_is_ignored(field, value):
    refuse_unsupported(json.dumps({field: value}).encode(), CHAT)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", True),
        ("presence_penalty", 0.5),
        ("repetition_penalty", 1.1),
        ("logit_bias", {"5": -100}),
        ("logprobs", True),
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("tool_choice", "required"),
        ("response_format", {"type": "json_object"}),
        ("reasoning_effort", "low"),
        ("adapters", "some/adapter"),
        ("draft_model", "some/model"),
        ("chat_template_kwargs", {"enable_thinking": False}),
    ],
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(field, value):
    with pytest.raises(UnsupportedParameter, match=field) as caught:
        refuse_unsupported(json.dumps({field: value}).encode(), CHAT)
    assert caught.value.param == field


def test_zero_logprobs_of_a_text_completion_ask_for_something():
    with pytest.raises(UnsupportedParameter):
        refuse_unsupported(b'{"logprobs": 0}', COMPLETION)


@pytest.mark.parametrize("value", [b"1" * 5000, b"[" * 500 + b"]" * 500])
def test_an_absurd_value_is_refused_too(value):
    with pytest.raises(UnsupportedParameter):
        refuse_unsupported(b'{"tools": ' + value + b"}", CHAT)
