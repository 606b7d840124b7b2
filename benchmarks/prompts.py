"""Prompts that are distinct within one server's life and equal for every server."""

from pathlib import Path

from tokenizers import Tokenizer

from mlxctl.bench.prompts import RandomPrompts

_SAMPLE_CHARACTERS = 4000


class Prompts(RandomPrompts):
    """The random prompts of a model, always the same."""

    def __init__(self, model: Path) -> None:
        super().__init__(seed=0)
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        sample = self.words(_SAMPLE_CHARACTERS)
        self.characters_per_token = len(sample) / len(tokenizer.encode(sample).ids)
