"""Requests that are valid, and made to take time, memory or the process itself."""

import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from tests.bad_requests.case import Case, request
from tests.bad_requests.dialects import Dialect
from tests.bad_requests.json_text import Nested, Raw, text_of

Fields = dict[str, Any]
Poison = Callable[[int], Fields]
"""Takes a size, from 1 to about 10,000, and returns fields of a chat request."""

_USER = {"role": "user", "content": "Hi"}


def _chat(content: Any) -> Fields:
    return {"messages": [{"role": "user", "content": content}]}


def _schema(schema: Any) -> Fields:
    named = {"name": "x", "schema": schema}
    return {"response_format": {"type": "json_schema", "json_schema": named}}


def _tool(name: str, parameters: Any) -> Any:
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def _called(tools: list[Any]) -> Fields:
    return {"tools": tools, "tool_choice": "required"}


def _refer(number: int) -> Any:
    return {"$ref": f"#/$defs/d{number}"}


def _any_of(size: int) -> Any:
    return {"anyOf": [{"type": "object", "properties": {f"p{n}": {}}} for n in range(size)]}


TEMPLATES: dict[str, Poison] = {
    "power": lambda size: {"chat_template": f"{{{{ 10 ** (10 ** {size}) }}}}"},
    "repeat": lambda size: {"chat_template": f"{{{{ 'a' * {size * 100_000} }}}}"},
    "loop": lambda size: {
        "chat_template": f"{{% for i in range({size * 100_000}) %}}x{{% endfor %}}"
    },
    "loops": lambda size: {
        "chat_template": "{% for i in range(99999) %}" * 4 + "x" + "{% endfor %}" * 4
    },
    "recursion": lambda size: {"chat_template": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"},
    "surrogate": lambda size: {"chat_template": "{{ raise_exception('\\ud800') }}"},
    "long": lambda size: {"chat_template": "{# x #}" * size},
    "deep": lambda size: {"chat_template": "{{ " + "(" * size + "1" + ")" * size + " }}"},
    "filters": lambda size: {"chat_template": "{{ 1" + "|string" * size + " }}"},
    "concatenation": lambda size: {
        "chat_template": "{% set ns = namespace(t='a') %}{% for i in range(60) %}"
        "{% set ns.t = ns.t ~ ns.t %}{% endfor %}{{ ns.t|length }}"
    },
    "escape": lambda size: {
        "chat_template": "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ messages.__init__ }}"
    },
    "join": lambda size: {"chat_template": f"{{{{ range({size} * 10000)|join('x' * 1000) }}}}"},
    "indent": lambda size: {"chat_template": f"{{{{ 'a\\n' * {size} | indent({size * 1000}) }}}}"},
    "arguments": lambda size: {"chat_template_kwargs": {f"k{n}": "x" * 100 for n in range(size)}},
    "roles": lambda size: {"role_mapping": {f"r{n}": "x" for n in range(size)}},
}
GRAMMARS: dict[str, Poison] = {
    "rule chain": lambda size: {
        "guided_grammar": "start: r0\n"
        + "".join(f"r{n}: r{n + 1}\n" for n in range(size))
        + f'r{size}: "x"\n'
    },
    "left recursion": lambda size: {"guided_grammar": 'start: start start | "a" | \n'},
    "ambiguity": lambda size: {"guided_grammar": "start: a+\na: " + " | ".join(['"a"'] * size)},
    "long text": lambda size: {"guided_grammar": 'start: "' + "x" * size + '"'},
    "not grammar": lambda size: {"guided_grammar": "\0" * size},
    "meeting": lambda size: {"guided_grammar": f"start: /a{{1,{size}}}/ & /(a|aa)+/ & ~/aaa/"},
    "gbnf": lambda size: {"grammar": 'root ::= ("a" root)* ' + '| "b"' * size},
    "choices": lambda size: {"guided_choice": [f"choice {n}" for n in range(size * 4)]},
    "long choices": lambda size: {"guided_choice": ["x" * size, "x" * size + "y"]},
    "repetition": lambda size: {"guided_regex": f"(a{{1,{size}}}){{1,{size}}}"},
    "wide repetition": lambda size: {"guided_regex": f"[^x]{{{size},{size * 100}}}"},
    "nested stars": lambda size: {"guided_regex": "(" * 50 + "a" + "*)" * 50},
    "alternatives": lambda size: {
        "guided_regex": "|".join(f"a{{{n}}}b" for n in range(size % 3000))
    },
    "classes": lambda size: {"guided_regex": rf"\p{{L}}{{0,{size}}}\p{{Lu}}"},
    "lookahead": lambda size: {"guided_regex": "(?=a)" * (size % 100) + "b"},
    "backreference": lambda size: {"guided_regex": r"(a)\1"},
    "blow-up": lambda size: {"guided_regex": f"(a|b)*a(a|b){{{size % 5000}}}"},
}
SCHEMAS: dict[str, Poison] = {
    "reference chain": lambda size: _schema(
        {"$ref": "#/$defs/d0", "$defs": {f"d{n}": _refer(n + 1) for n in range(size)}}
    ),
    "reference circle": lambda size: _schema(
        {"$ref": "#/$defs/d0", "$defs": {f"d{n}": _refer((n + 1) % 3) for n in range(3)}}
    ),
    "reference away": lambda size: _schema({"$ref": "http://127.0.0.1:1/x.json"}),
    "fan": lambda size: _schema(
        {
            "$ref": "#/$defs/d0",
            "$defs": {
                f"d{n}": {"type": "object", "properties": {"a": _refer(n + 1), "b": _refer(n + 1)}}
                for n in range(size % 60)
            }
            | {f"d{size % 60}": {"type": "string"}},
        }
    ),
    "properties": lambda size: _schema(
        {"type": "object", "properties": {f"p{n}": {"type": "integer"} for n in range(size)}}
    ),
    "required": lambda size: _schema(
        {
            "type": "object",
            "properties": {f"p{n}": {} for n in range(size)},
            "required": [f"p{n}" for n in range(size)],
        }
    ),
    "enum": lambda size: _schema({"enum": [f"value {n}" for n in range(size)]}),
    "patterns": lambda size: _schema(
        {"allOf": [{"type": "string", "pattern": f"a{{{n}}}.*b"} for n in range(size % 200)]}
    ),
    "pattern": lambda size: _schema({"type": "string", "pattern": f"^(a|b)*a(a|b){{{size}}}$"}),
    "length": lambda size: _schema({"type": "string", "minLength": size * 10, "maxLength": 10**9}),
    "items": lambda size: _schema({"type": "array", "minItems": size, "maxItems": size * 10}),
    "tuple": lambda size: _schema({"prefixItems": [{"type": "integer"}] * size}),
    "any of": lambda size: _schema(_any_of(size)),
    "one of": lambda size: _schema({"oneOf": _any_of(size % 500)["anyOf"]}),
    "all any": lambda size: _schema({"allOf": [_any_of(20)] * (size % 20)}),
    "deep": lambda size: _schema(Nested(size, {"type": "string"}, "items")),
    "multiples": lambda size: _schema(
        {"type": "integer", "multipleOf": size + 1, "maximum": 1e300}
    ),
    "huge numbers": lambda size: _schema(
        {"type": "number", "maximum": Raw("9" * (size % 4000 + 1))}
    ),
    "tiny multiple": lambda size: _schema({"type": "number", "multipleOf": Raw("1e-300")}),
    "distinct": lambda size: _schema({"const": f"number {size}"}),
    "not": lambda size: _schema(Nested(size % 64, {"type": "string"}, "not")),
    "pattern properties": lambda size: _schema(
        {"patternProperties": {f"^{'a' * (n + 1)}.*": {} for n in range(size % 300)}}
    ),
}
TOOLS: dict[str, Poison] = {
    "many tools": lambda size: _called([_tool(f"f{n}", {}) for n in range(size)]),
    "long name": lambda size: _called([_tool("f" * size, {})]),
    "odd name": lambda size: _called([_tool("a\0b\ud800</tool_call>\n", {})]),
    "same name": lambda size: _called([_tool("f", {"type": "object"})] * min(size, 500)),
    "wide parameters": lambda size: _called(
        [_tool("f", {"properties": {f"p{n}": {"type": "string"} for n in range(size)}})]
    ),
    "bad parameters": lambda size: _called([_tool("f", {"type": "nothing", "$ref": "#/x"})]),
    "poison parameters": lambda size: _called(
        [_tool("f", {"$ref": "#/$defs/d0", "$defs": {f"d{n}": _refer(n + 1) for n in range(size)}})]
    ),
    "chosen": lambda size: {
        "tools": [_tool("f", {})],
        "tool_choice": {"type": "function", "function": {"name": "g" * size}},
    },
}
SIZES: dict[str, Poison] = {
    "stops": lambda size: {"stop": ["x" * (size % 1001)] * (size % 260)},
    "different stops": lambda size: {"stop": [f"{n} " + "y" * 120 for n in range(256)]},
    "long stop": lambda size: {"stop": "x" * size * 300},
    "empty stops": lambda size: {"stop": [""] * (size % 256)},
    "copies": lambda size: {"n": 128, "stop": ["x" * 120] * 256, "max_tokens": 1},
    "biases": lambda size: {"logit_bias": {str(n): 1 for n in range(size)}},
    "odd biases": lambda size: {"logit_bias": {"0": Raw("1e400"), "-1": "x", "9" * size: 0}},
    "logprobs": lambda size: {"logprobs": True, "top_logprobs": 20, "n": 4},
    "stop tokens": lambda size: {"stop_token_ids": list(range(-1, size))},
    "messages": lambda size: {"messages": [_USER] * size * 10},
    "long message": lambda size: _chat("long " * size * 40),
    "half characters": lambda size: _chat("\ud800" * size),
    "parts": lambda size: _chat([{"type": "text", "text": "x"}] * size),
    "image": lambda size: _chat(
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size * 1000}}]
    ),
    "image away": lambda size: _chat(
        [{"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/"}}]
    ),
    "audio": lambda size: _chat(
        [{"type": "input_audio", "input_audio": {"data": "A" * size * 100, "format": "wav"}}]
    ),
    "model name": lambda size: {"model": "m" * size * 300},
    "draft": lambda size: {"draft_model": "../" * size},
    "adapter": lambda size: {"adapters": "/proc/self/" + "x" * size},
    "keep alive": lambda size: {"keep_alive": Raw("9" * (size % 400 + 1))},
    "keep alive text": lambda size: {"keep_alive": "9" * size + "h"},
    "keep alive below": lambda size: {"keep_alive": -size},
    "seed": lambda size: {"seed": -(2**63) if size % 2 else 2**63 - 1, "temperature": 2},
    "sampling": lambda size: {"temperature": 2, "top_k": 1, "top_p": Raw("1e-300"), "min_p": 1},
    "xtc": lambda size: {"temperature": 1, "xtc_probability": 1, "xtc_threshold": 0},
    "penalties": lambda size: {
        "presence_penalty": -100,
        "frequency_penalty": 100,
        "repetition_penalty": Raw("1e-300"),
        "repetition_context_size": 2**31 - 1,
    },
    "no tokens": lambda size: {"max_tokens": 0, "min_tokens": size, "ignore_eos": True},
    "metadata": lambda size: {"metadata": {f"k{n}": "v" * 100 for n in range(size)}},
    "user": lambda size: {"user": "u" * size * 300, "safety_identifier": "\0" * size},
    "unknown fields": lambda size: {f"field{n}": n for n in range(size)},
    "past calls": lambda size: {
        "messages": [
            _USER,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": str(n), "type": "function", "function": {"name": "f", "arguments": "{"}}
                    for n in range(size)
                ],
            },
        ]
    },
}
ALL = {
    f"{group} {name}": poison
    for group, poisons in (
        ("template", TEMPLATES),
        ("grammar", GRAMMARS),
        ("schema", SCHEMAS),
        ("tools:", TOOLS),
        ("size:", SIZES),
    )
    for name, poison in poisons.items()
}
_OF_CHAT = ("chat_template", "chat_template_kwargs", "role_mapping", "tool_choice")


def spelled(fields: Fields, dialect: Dialect) -> Fields:
    """Return fields of a chat request as another dialect spells them, as far as it has them."""
    made = dialect.request | fields
    path = dialect.path
    if "completions" in path and "chat" not in path and "messages" in fields:
        made["prompt"] = [str(message.get("content")) for message in made.pop("messages")[:200]]
    if "responses" in path:
        if "messages" in fields:
            made["input"] = made.pop("messages")
        if "tools" in fields:
            made["tools"] = [tool["function"] | {"type": "function"} for tool in fields["tools"]]
        if "response_format" in fields:
            schema = made.pop("response_format")["json_schema"]
            made["text"] = {"format": {"type": "json_schema", **schema}}
    if path.startswith("/v1/messages"):
        if "tools" in fields:
            made["tools"] = [
                {"name": each["function"]["name"], "input_schema": each["function"]["parameters"]}
                for each in fields["tools"]
            ]
            made["tool_choice"] = {"type": "any"}
        if "stop" in fields:
            made["stop_sequences"] = made.pop("stop")
        if "response_format" in fields:
            schema = made.pop("response_format")["json_schema"]["schema"]
            made["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if path.startswith("/api/"):
        if "response_format" in fields:
            made["format"] = made.pop("response_format")["json_schema"]["schema"]
        if "stop" in fields:
            made["options"] = {**made["options"], "stop": made.pop("stop")}
    return made


def poisoned(dialect: Dialect) -> st.SearchStrategy[Case]:
    """Return requests of one dialect with one poison, or two of them, streamed or not."""

    def case(names: list[str], size: int, stream: bool | None) -> Case:
        fields: Fields = {}
        for name in names:
            fields |= ALL[name](size)
        made = spelled(fields, dialect)
        if stream is not None:
            made["stream"] = stream
        body = text_of(made).encode()
        return Case(
            kind="poison",
            name=f"{dialect.name}: {' and '.join(names)}, size {size}, stream {json.dumps(stream)}",
            pieces=[request(dialect.method, dialect.path, body)],
            unix=dialect.unix,
        )

    names = st.lists(st.sampled_from(sorted(ALL)), min_size=1, max_size=2, unique=True)
    sizes = st.sampled_from([1, 2, 9, 60, 100, 700, 1000, 5000, 9999])
    return st.builds(case, names, sizes, st.none() | st.booleans())
