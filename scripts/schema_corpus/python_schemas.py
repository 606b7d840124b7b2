"""JSON schemas of random Python types, as pydantic and FastAPI write them."""

import enum
import random
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Annotated, Any, Literal, Union
from uuid import UUID

from fastapi import FastAPI
from pydantic import (
    AnyUrl,
    BaseModel,
    ConfigDict,
    EmailStr,
    Field,
    Json,
    RootModel,
    SecretStr,
    TypeAdapter,
    create_model,
)

NAMES = ["id", "name", "email", "kind", "tags", "price", "count", "created_at", "owner", "note"]
WORDS = ["red", "green", "blue", "up", "down", "Oslo", "a b", "é", "x-1"]
PATTERNS = [r"^[a-z]+$", r"^\d{3}-\d{4}$", r"^\S+@\S+$", r"\w+", r"^(a|b){1,3}$", r"[^/]+", "^$|^x"]


class RandomTypes:
    """Makes types, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._made = 0

    def model(self, depth: int = 3) -> type[BaseModel]:
        """Return a model with a few fields."""
        choice, self._made = self._random, self._made + 1
        name, fields = f"Model{self._made}", {}
        for field in choice.sample(NAMES, choice.randint(1, 5)):
            kind = self.type(depth - 1)
            if choice.random() < 0.3:
                kind, default = Union[kind, None], None  # noqa: UP007
            else:
                default = choice.choice([..., ..., ..., Field(description="What it is.")])
            fields[field] = (kind, default)
        if choice.random() < 0.1:
            fields["children"] = (list[f"{name}"], Field(default_factory=list, max_length=3))  # type: ignore[valid-type]
        extra = choice.choice([None, None, None, "forbid", "allow"])
        made = create_model(
            name, __config__=ConfigDict(extra=extra, regex_engine="python-re"), **fields
        )
        made.model_rebuild(_types_namespace={name: made})
        return made

    def type(self, depth: int) -> Any:
        """Return any type."""
        if depth <= 0 or self._random.random() < 0.4:
            return self._leaf()
        return self._random.choice(self._nested())(depth - 1)

    def _leaf(self) -> Any:
        choice = self._random
        low = choice.randint(-50, 50)
        return choice.choice(
            [
                *(str, int, float, bool, None, Any, bytes, date, datetime, time, timedelta),
                *(UUID, Decimal, EmailStr, AnyUrl, IPv4Address, IPv6Address, Path, SecretStr),
                *(dict, list, Json[list[int]]),
                Annotated[int, Field(ge=low, le=low + choice.randint(0, 500))],
                Annotated[int, Field(gt=low, lt=low + 3, description="Between.")],
                Annotated[int, Field(ge=-(2**63), le=2**63 - 1)],
                Annotated[int, Field(ge=0, le=2**64 - 1)],
                Annotated[int, Field(multiple_of=choice.choice([2, 5, 12]))],
                Annotated[float, Field(ge=low / 7, le=low / 7 + 10)],
                Annotated[float, Field(gt=0, lt=1)],
                Annotated[float, Field(ge=-1e308, le=1e308)],
                Annotated[float, Field(multiple_of=0.5)],
                Annotated[Decimal, Field(max_digits=5, decimal_places=2)],
                Annotated[str, Field(min_length=choice.randint(0, 4), max_length=60)],
                Annotated[str, Field(max_length=2**31 - 1)],
                Annotated[str, Field(pattern=choice.choice(PATTERNS))],
                Annotated[str, Field(pattern=r"^[a-z_]+$", min_length=2, max_length=8)],
                Annotated[str, Field(json_schema_extra={"format": "phone", "example": "+47"})],
                Annotated[str, Field(json_schema_extra={"x-order": 3, "deprecated": True})],
                Literal[tuple(choice.sample(WORDS, choice.randint(1, 4)))],
                Literal["a", 1, True, None],
                Literal[2**60 + 1, 2],
                self._enum(),
            ]
        )

    def _enum(self) -> Any:
        self._made += 1
        words = self._random.sample(WORDS, 3)
        numbered = self._random.random() < 0.3
        values = {f"V{i}": i if numbered else word for i, word in enumerate(words)}
        return enum.Enum(f"Enum{self._made}", values)  # type: ignore[misc]

    def _nested(self) -> list[Callable[[int], Any]]:
        choice, one = self._random, self.type
        return [
            self.model,
            self.model,
            lambda depth: list[one(depth)],  # type: ignore[misc]
            lambda depth: Annotated[list[one(depth)], Field(min_length=1, max_length=4)],  # type: ignore[misc]
            lambda _: set[choice.choice([int, str])],  # type: ignore[misc]
            lambda _: Annotated[frozenset[str], Field(max_length=3)],
            lambda depth: tuple[one(depth), one(depth)],  # type: ignore[misc]
            lambda depth: tuple[one(depth), ...],  # type: ignore[misc]
            lambda depth: dict[str, one(depth)],  # type: ignore[misc]
            lambda depth: dict[Literal["a", "b"], one(depth)],  # type: ignore[misc]
            lambda depth: dict[Annotated[str, Field(pattern="^[a-z]{1,4}$")], one(depth)],  # type: ignore[misc]
            lambda depth: dict[UUID, one(depth)],  # type: ignore[misc]
            lambda depth: Annotated[dict[str, one(depth)], Field(min_length=1, max_length=3)],  # type: ignore[misc]
            lambda depth: Union[one(depth), one(depth)],  # noqa: UP007
            lambda depth: Union[one(depth), None],  # noqa: UP007
            lambda depth: RootModel[list[one(depth)]],  # type: ignore[misc]
            self._tagged,
        ]

    def _tagged(self, depth: int) -> Any:
        options = []
        for word in self._random.sample(["cat", "dog", "fox"], 2):
            self._made += 1
            kind = (Literal[word], ...)
            options.append(
                create_model(f"Pet{self._made}", kind=kind, value=(self.type(depth), ...))
            )
        return Annotated[Union[tuple(options)], Field(discriminator="kind")]  # noqa: UP007


def pydantic_schemas(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield `count` schemas of models and of other types."""
    types = RandomTypes(seed)
    for number in range(count):
        kind = types.type(3) if number % 5 == 0 else types.model()
        mode: Literal["validation", "serialization"] = (
            "serialization" if number % 3 == 0 else "validation"
        )
        schema = TypeAdapter(kind).json_schema(mode=mode)
        yield {"source": "pydantic", "schema": schema}


def openapi_schemas(count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield `count` schemas of FastAPI's documents, half of them as OpenAPI 3.0 writes them."""
    types, made = RandomTypes(seed), 0
    while made < count:
        application = FastAPI()
        models = [types.model() for _ in range(4)]
        for number, model in enumerate(models):

            def endpoint(body: Any) -> None: ...

            endpoint.__annotations__ = {"body": model, "return": model}
            application.post(f"/{number}")(endpoint)
        document = application.openapi()["components"]["schemas"]
        for model in models:
            name = next(
                (n for n in (model.__name__, f"{model.__name__}-Input") if n in document), None
            )
            if name is None or made == count:
                continue
            schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": document}}
            old = made % 2 == 0
            source = "openapi-3.0" if old else "openapi-3.1"
            yield {"source": source, "schema": _as_3_0(schema) if old else schema}
            made += 1


def _as_3_0(value: Any) -> Any:
    """Write a schema of OpenAPI 3.1 as 3.0 has it."""
    if isinstance(value, list):
        return [_as_3_0(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    schema = {key: _as_3_0(inner) for key, inner in value.items()}
    for bound in ("Minimum", "Maximum"):
        limit = schema.get(f"exclusive{bound}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            schema |= {bound.lower(): limit, f"exclusive{bound}": True}
    if "const" in schema and not isinstance(schema["const"], dict):
        schema["enum"] = [schema.pop("const")]
    if isinstance(examples := schema.pop("examples", None), list):
        schema["example"] = examples[0]
    prefix = schema.pop("prefixItems", None)
    if isinstance(prefix, list):
        schema["items"] = {"anyOf": prefix} if prefix else {}
    options = schema.get("anyOf")
    if isinstance(options, list) and {"type": "null"} in options:
        rest = [option for option in options if option != {"type": "null"}]
        del schema["anyOf"]
        kept = rest[0] if len(rest) == 1 else {"anyOf": rest}
        kept = {"allOf": [kept]} if "$ref" in kept else kept
        return {**schema, **kept, "nullable": True}
    return schema
