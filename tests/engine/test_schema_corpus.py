"""Answers to schemas of pydantic, FastAPI and Zod: a part of what scripts/schema_corpus checks."""

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from mlx_lm.utils import load_tokenizer

from mlxd.engine.structured_output import Grammars
from scripts.schema_corpus.relaxed import is_draft_4, relaxed
from scripts.schema_corpus.sampler import Sampler
from tests.support.grammars import VOCABULARY

LINES = (Path(__file__).parent.parent / "support" / "data" / "schemas.jsonl").read_text()
CORPUS = [json.loads(line) for line in LINES.splitlines()]


@pytest.fixture(scope="module")
def sampler(marked_model: Path) -> Sampler:
    tokenizer = load_tokenizer(marked_model, eos_token_ids=[256, 258])
    return Sampler(Grammars(tokenizer, VOCABULARY), VOCABULARY)


@pytest.mark.parametrize("generator", ["pydantic", "openapi", "zod"])
def test_an_answer_meets_what_is_held_of_its_schema(sampler: Sampler, generator: str) -> None:
    for entry in CORPUS:
        if entry["source"].startswith(generator):
            check(sampler, entry["schema"], entry["source"])


def check(sampler: Sampler, schema: dict[str, Any], source: str) -> None:
    matcher, overlooked = sampler.hold(schema)
    held = relaxed(schema, overlooked, source)
    is_old = is_draft_4(schema, source)
    kind = jsonschema_rs.Draft4Validator if is_old else jsonschema_rs.validator_for
    validator = kind(held, validate_formats=True)
    for seed in range(2):
        validator.validate(json.loads(sampler.answer(matcher, seed)))
