import json
import sys
import threading
import time
import tracemalloc
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from mlxd.api.decode import NOT_SUPPORTED, Nothing, check_free_form, decode, read_schema
from mlxd.errors import InvalidRequest, RequestError, UnsupportedParameter


class Pet(msgspec.Struct):
    name: str
    kind: Annotated[str, Meta(min_length=1)] | None = None


class Shop(msgspec.Struct):
    pets: Annotated[list[Pet], Meta(min_length=1)]
    price: Annotated[float, Meta(ge=0, le=2)] | None = None
    count: Annotated[int, Meta(ge=-1, le=9)] | None = None
    open: bool | None = None
    tags: str | Annotated[list[str], Meta(max_length=2)] | None = None
    prices: dict[str, float] | None = None
    hours: Literal["day", "night"] | None = None
    parking: Annotated[Nothing, NOT_SUPPORTED] = None


def refusal(data: bytes, body_type: type[Any] = Shop) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        decode(data, body_type)
    return caught.value


def test_a_valid_body_is_typed_and_null_means_absent():
    shop = decode(b'{"pets": [{"name": "Rex"}], "price": null, "unknown": 1}', Shop)
    assert shop == Shop(pets=[Pet("Rex")])


def test_an_integer_may_be_written_as_a_float():
    shop = decode(b'{"pets": [{"name": "Rex"}], "count": 2.0, "price": 1.0}', Shop)
    assert (shop.count, shop.price) == (2, 1.0)


def test_an_error_beside_such_a_number_names_its_own_field():
    assert refusal(b'{"pets": [{"name": "Rex"}], "count": 2.0, "open": 1}').param == "open"


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ('{"pets": [{"name": 5}]}', "pets[0].name", "expected a string, got an integer"),
        ('{"pets": [{"name": "R"}, {}]}', "pets[1].name", "missing"),
        ("{}", "pets", "missing"),
        ('{"pets": []}', "pets", "expected a list of length >= 1"),
        ('{"pets": 1}', "pets", "expected a list, got an integer"),
        ('{"pets": [{"name": "R", "kind": ""}]}', "pets[0].kind", "a string of length >= 1"),
        ('{"price": 5}', "price", "expected a number <= 2"),
        ('{"price": "hot"}', "price", "expected a number, got a string"),
        ('{"price": true}', "price", "expected a number, got a boolean"),
        ('{"count": 1.5}', "count", "expected an integer, got a number"),
        ('{"count": 99999999999999999999999}', "count", "expected an integer <= 9"),
        ('{"count": 1' + "0" * 5000 + "}", "count", "out of range"),
        ('{"open": "yes"}', "open", "expected a boolean, got a string"),
        ('{"tags": ["a", "b", "c"]}', "tags", "expected a list of length <= 2"),
        ('{"tags": 5}', "tags", "expected a string or a list, got an integer"),
        ('{"hours": "noon"}', "hours", 'expected "day" or "night"'),
        ('{"tags": ["a", {}]}', "tags[1]", "expected a string, got an object"),
    ],
)
def test_a_bad_field_is_named_with_what_is_allowed(body, param, message):
    error = refusal(body.encode())
    assert error.param == param
    assert error.message.startswith(f"`{param}`: ")
    assert message in error.message


def test_a_body_that_is_not_an_object_has_no_param():
    error = refusal(b"[1, 2]")
    assert (error.message, error.param) == ("the body: expected an object, got a list", None)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not valid JSON: Input data was truncated"),
        (b'{"pets": [', "not valid JSON: Input data was truncated"),
        (b'{"pets": x}', "not valid JSON: invalid character (byte 9)"),
        (b'{"pets": [{"name": "R"}]} {}', "not valid JSON: trailing characters (byte 27)"),
        (b'{"pets": [{"name": "\xff"}]}', "not UTF-8 (byte 20)"),
        (b'{"\xff": 1}', "not UTF-8 (byte 2)"),
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_an_unreadable_body_is_refused_with_the_place(body, message):
    error = refusal(body)
    assert message in error.message
    assert error.param is None


def test_what_is_refused_takes_no_memory_for_the_rest_of_the_body():
    body = b'{"pets":[' + b'{"a":{}},' * 100_000 + b"{}]}"
    tracemalloc.start()
    try:
        assert refusal(body).param == "pets[0].name"
        assert tracemalloc.get_traced_memory()[1] < len(body) / 2
    finally:
        tracemalloc.stop()


def test_texts_do_not_count_as_what_they_quote():
    quoted = json.dumps('"a", ' * 400_000)
    assert decode(b'{"name":' + quoted.encode() + b"}", Pet).name.count('"') == 800_000


@pytest.mark.parametrize("rest", [b"[" * 5000 + b"]" * 5000 + b"}", b"oops", b""])
def test_a_bad_field_before_something_unreadable_is_named(rest):
    assert refusal(b'{"price": 5, "x": ' + rest).param == "price"


@pytest.mark.parametrize(
    "body",
    [
        b'{"pets": [{"name": ["my secret prompt"]}]}',
        b'{"hours": "my secret prompt"}',
        b'{"hours": "my secret prompt - at `$.hours`"}',
        b'{"parking": "my secret prompt"}',
    ],
)
def test_errors_never_quote_strings_of_the_request(body):
    with pytest.raises(RequestError) as caught:
        decode(body, Shop)
    assert "secret" not in caught.value.message
    assert "secret" not in str(caught.value.param)


def test_a_bad_value_inside_a_free_form_object_names_the_object():
    error = refusal(b'{"prices": {"Rex": "low"}}')
    assert error.param == "prices"
    assert error.message == "`prices[...]`: expected a number, got a string"


def test_the_last_value_of_a_repeated_key_counts():
    shop = decode(b'{"pets": [{"name": "Rex", "name": "Max"}], "count": 1, "count": 2}', Shop)
    assert shop == Shop(pets=[Pet("Max")], count=2)


@pytest.mark.parametrize("value", [b"5", b'"yes"', b"1" * 5000, b"[" * 500 + b"]" * 500])
def test_an_unsupported_field_is_refused_by_name(value):
    with pytest.raises(UnsupportedParameter) as caught:
        decode(b'{"pets": [{"name": "Rex"}], "parking": ' + value + b"}", Shop)
    assert caught.value.message == "`parking`: this value is not supported; leave the field out"
    assert caught.value.param == "parking"


@pytest.mark.parametrize("value", [b"null", b'""', b"[]", b"{}"])
def test_an_unsupported_field_may_be_empty(value):
    decode(b'{"pets": [{"name": "Rex"}], "parking": ' + value + b"}", Shop)


@pytest.mark.parametrize(("number", "byte"), [(b"NaN", 10), (b"Infinity", 10), (b"-Infinity", 11)])
def test_numbers_that_json_lacks_are_refused_with_the_place(number, byte):
    error = refusal(b'{"price": ' + number + b"}")
    assert error.message == f"the body is not valid JSON: invalid character (byte {byte})"


def test_a_number_that_no_float_can_hold_is_refused():
    assert refusal(b'{"price": 1e999}').param == "price"


def test_depth_is_limited_to_64_levels():
    value: Any = {}
    for _ in range(63):
        value = [value]
    check_free_form(value, "here")
    with pytest.raises(InvalidRequest, match="`here`: nested deeper than 64 levels"):
        check_free_form([value], "here")


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**40])
def test_numbers_that_no_message_can_hold_are_refused(number: int):
    check_free_form({"a": [2**64 - 1, -(2**63), 1e300]}, "here")
    with pytest.raises(InvalidRequest, match="`here`: contains an integer of more than 64 bits"):
        check_free_form({"a": [{"b": number}]}, "here")


class Holder(msgspec.Struct):
    schema: dict[str, Any]
    price: float = 0


LARGEST = sys.float_info.max


@pytest.mark.parametrize(
    ("number", "exact", "rounded"),
    [
        (b"1" * 30, int("1" * 30), float("1" * 30)),
        (b"-9223372036854775808", -(2**63), -(2**63)),
        (b"1" * 5000, LARGEST, LARGEST),
        (b"-1e999", -LARGEST, -LARGEST),
        (b"9" * 309, 10**309 - 1, LARGEST),
    ],
)
def test_numbers_of_any_size_are_read_in_a_schema(number, exact, rounded):
    schema = decode(b'{"schema": {"anyOf": [{"maximum": ' + number + b"}]}}", Holder).schema
    assert read_schema(schema, "here") == {"anyOf": [{"maximum": exact}]}
    assert read_schema(schema, "here", rounded=True) == {"anyOf": [{"maximum": rounded}]}


@pytest.mark.parametrize(
    "body",
    [
        b'{"schema": {"const": 1e999}, "price": 1e999}',
        b'{"schema": {"const": 1e999}, "price": NaN}',
    ],
)
def test_other_numbers_have_to_fit(body):
    with pytest.raises(InvalidRequest):
        decode(body, Holder)


def test_other_free_form_values_have_no_such_numbers():
    value = decode(b'{"schema": {"a": 1e999}}', Holder).schema
    with pytest.raises(InvalidRequest, match="`here`: contains an integer of more than 64 bits"):
        check_free_form(value, "here")


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (r"\ud83d", "\ufffd"),
        (r"a\ude00b", "a\ufffdb"),
        (r"\ud83d\ud83d\ude00", "\ufffd😀"),
        (r"\uD83D\uDE00\uDE00", "😀\ufffd"),
        (r"\\ud83d\ud83d", "\\ud83d\ufffd"),
        ("\ud83d", "\ufffd"),
    ],
)
def test_half_a_character_is_replaced(escaped: str, text: str) -> None:
    """As of a tool result that was cut within an emoji, kilocode#10467 and claude-code#56064."""
    body = f'{{"messages": [{{"role": "user", "content": "{escaped}"}}], "max_tokens": 2.0}}'
    decoded = decode(body.encode("utf-8", "surrogatepass"), dict)
    assert decoded["messages"][0]["content"] == text


@pytest.mark.parametrize("half", [b"\\ud800", b"\xed\xa0\x80"], ids=["escaped", "UTF-8"])
def test_halves_in_long_texts_hold_up_no_other_thread(half: bytes) -> None:
    """A search for them in C would keep every stream waiting for seconds."""
    body = b'{"name": "' + half + b"x\\\\" * 2_000_000 + b'"}'
    silent = [0.0, time.monotonic()]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.001):
            silent[:] = max(silent[0], time.monotonic() - silent[1]), time.monotonic()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert decode(body, Pet).name == "\ufffd" + "x\\" * 2_000_000
    done.set()
    watcher.join()
    assert silent[0] < 5


def test_a_text_that_is_nothing_but_halves_is_not_utf8():
    body = b'{"name": "' + b"\xed\xa0\x80" * 20_000 + b'"}'
    assert "not UTF-8" in refusal(body, Pet).message
