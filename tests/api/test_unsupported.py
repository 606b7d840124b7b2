import json

import pytest

from mlxd.api.unsupported import CHAT, COMPLETION, refuse_unsupported
from mlxd.errors import UnsupportedParameter


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        (CHAT, "audio", None),
        (CHAT, "functions", []),
        (CHAT, "function_call", "auto"),
        (CHAT, "modalities", ["text"]),
        (CHAT, "verbosity", "medium"),
        (CHAT, "user", "somebody"),
        (CHAT, "a_field_of_next_year", {"x": 1}),
        (COMPLETION, "echo", False),
        (COMPLETION, "suffix", ""),
    ],
)
def test_a_neutral_or_unknown_field_is_ignored(fields, field, value):
    refuse_unsupported(json.dumps({field: value}).encode(), fields)


@pytest.mark.parametrize(
    ("fields", "field", "value"),
    [
        (CHAT, "audio", {"voice": "alloy"}),
        (CHAT, "functions", [{"name": "f"}]),
        (CHAT, "function_call", {"name": "f"}),
        (CHAT, "modalities", ["text", "audio"]),
        (CHAT, "prediction", {"type": "content"}),
        (CHAT, "verbosity", "low"),
        (CHAT, "web_search_options", {"user_location": None}),
        (COMPLETION, "echo", True),
        (COMPLETION, "echo", 0),
        (COMPLETION, "suffix", "the end"),
    ],
)
def test_a_field_that_would_change_the_answer_is_refused_by_name(fields, field, value):
    with pytest.raises(UnsupportedParameter, match=field) as caught:
        refuse_unsupported(json.dumps({field: value}).encode(), fields)
    assert caught.value.param == field


@pytest.mark.parametrize("value", [b"1" * 5000, b"[" * 500 + b"]" * 500])
def test_an_absurd_value_is_refused_too(value):
    with pytest.raises(UnsupportedParameter):
        refuse_unsupported(b'{"audio": ' + value + b"}", CHAT)
