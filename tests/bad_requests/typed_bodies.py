"""Bodies made from the types of each dialect: a request that is answered, and fields over it."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from tests.bad_requests.dialects import Dialect
from tests.bad_requests.json_text import Nested, Pairs, Raw

Values = st.SearchStrategy[Any]

_DEEPEST = 4
_MANY_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
_LET_GO = ("model", "adapters", "draft_model", "name", "source")
_NUMBERS = [
    *(
        "0",
        "-0",
        "1",
        "-1",
        "2",
        "1.0",
        "1.5",
        "1e3",
        "1e308",
        "1e309",
        "1e400",
        "-1e400",
        "1e-400",
    ),
    *("NaN", "Infinity", "-Infinity"),
]
_NUMBERS += [
    str(sign * 2**bits + more) for bits in (31, 32, 63, 64) for sign in (1, -1) for more in (-1, 0)
]
_NUMBERS += [
    "9" * 400,
    "1" + "0" * 5000,
    "0." + "3" * 5000,
    "01",
    "+1",
    "0x10",
    ".5",
    "1e999999999",
]
_TEXTS = [
    "", " ", "\0", "a\0b", "\ud800", "\udc00x", "\ud83d", "\U0001f600", "\ufeff", "\u202e",
    "<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "{{ 1 }}", "{% for %}",
    "tiny", "default_model", "../../etc/passwd", "/dev/zero", "file:///etc/passwd", "-1", "1e9",
    "http://127.0.0.1:1/", "data:image/png;base64,AAAA", "auto", "none", "required", "json",
    "a" * 300, "é" * 5000, "x" * 70000, "\n" * 1000, "%s%n", "\x1b]52;c;AAAA\x07", "true", "null",
]  # fmt: skip

# By number, as Hypothesis would write what it samples from.
numbers = st.sampled_from(range(len(_NUMBERS))).map(lambda place: Raw(_NUMBERS[place]))
texts = st.sampled_from(range(len(_TEXTS))).map(_TEXTS.__getitem__) | st.text(
    st.characters(codec=None), max_size=20
)
_plain = st.none() | st.booleans() | numbers | texts
_nested = st.builds(
    Nested,
    st.sampled_from([1, 10, 63, 64, 65, 66, 500, 5000, 100_000]),
    _plain,
    st.none() | st.sampled_from(["", "a", "properties", "items"]),
)
anything: Values = st.recursive(
    _plain | _nested,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
"""Values that fit nowhere."""


def bodies(dialect: Dialect) -> Values:
    """Return values that are a request of the dialect with some of its fields changed."""
    fields = _fields(dialect.body)

    @st.composite
    def body(draw: st.DrawFn) -> Any:
        names = draw(st.lists(st.sampled_from(sorted(fields)), max_size=5, unique=True))
        made = dict(dialect.request)
        for name in names:
            odd = draw(st.integers(0, 9)) < 2
            made[name] = draw(anything if odd else fields[name])
        way = draw(st.integers(0, 39))
        if way == 0:
            return draw(anything)
        if way == 1:
            made |= {name: draw(anything) for name in names}
        if way == 2 and names:
            made.pop(names[0], None)
        _keep_short(made, dialect)
        if way == 1:
            return Pairs((*((name, draw(anything)) for name in names), *made.items()))
        if way == 3:
            made[draw(texts)] = draw(anything)
        return made

    return body()


def _keep_short(body: dict[str, Any], dialect: Dialect) -> None:
    """Change what is no harm but takes long: long answers, many of them, and other models."""
    if isinstance(options := body.get("options"), dict):
        body["options"] = options | {"num_predict": 4}
    elif options is None and "options" in dialect.request:
        body["options"] = dialect.request["options"]
    for name in _MANY_TOKENS:
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool):
            body[name] = min(value, 8) if value >= 0 else 4
        elif isinstance(value, Raw):
            body[name] = 4  # it may mean no end
        elif value is None and name in dialect.request:
            body[name] = dialect.request[name]
    for name in ("n", "n_cmpl"):
        if isinstance(value := body.get(name), int) and value > 3:
            body[name] = 3
    for name in _LET_GO:
        if isinstance(value := body.get(name), str) and len(value) % 4:
            body.pop(name)
    if body.get("keep_alive") is not None and not (body.get("prompt") or body.get("messages")):
        body.pop("keep_alive")  # Ollama's way to unload a model


def _fields(body: type[Any]) -> dict[str, Values]:
    kind = inspect.type_info(body)
    if not isinstance(kind, inspect.StructType):
        raise TypeError(body)
    return {field.encode_name: _values(field.type, 0) for field in kind.fields}


def _values(kind: inspect.Type, depth: int) -> Values:
    """Return values of a type, some of them at or over its edges."""
    match kind:
        case inspect.Metadata():
            return _values(kind.type, depth)
        case inspect.NoneType():
            return st.none()
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType():
            return _between(kind.ge, kind.le) | st.integers(-2, 20)
        case inspect.FloatType():
            return st.floats(0, 2) | _between(kind.ge, kind.le)
        case inspect.StrType():
            return texts
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.UnionType():
            return st.one_of([_values(each, depth) for each in kind.types])
        case inspect.ListType():
            return st.lists(_deeper(kind.item_type, depth), max_size=3)
        case inspect.DictType():
            return st.dictionaries(texts, _deeper(kind.value_type, depth), max_size=3)
        case inspect.StructType():
            return _objects(kind, depth)
        case _:
            return anything


def _deeper(kind: inspect.Type, depth: int) -> Values:
    return anything if depth >= _DEEPEST else _values(kind, depth + 1)


def _objects(kind: inspect.StructType, depth: int) -> Values:
    needed: dict[str, Values] = {}
    free: dict[str, Values] = {}
    for field in kind.fields:
        values = st.deferred(lambda field=field: _deeper(field.type, depth))
        (needed if field.required else free)[field.encode_name] = values
    if kind.tag_field:
        needed[kind.tag_field] = st.just(kind.tag)
    return st.fixed_dictionaries(needed, optional=_few(free))


def _few(fields: dict[str, Values]) -> dict[str, Values]:
    return dict(list(fields.items())[:12])


def _between(least: float | None, most: float | None) -> Values:
    ends: Sequence[Any] = [end for end in (least, most) if end is not None]
    beyond = [end + step for end in ends for step in (-1, 0, 1)]
    return st.sampled_from(beyond) if beyond else numbers
