"""Loads a draft model a part at a time, between the steps of the sequences that run meanwhile.

The weights come in parts. Whether both models have the same tokens is found out in a thread, since
to load a tokenizer takes seconds and no MLX; of equal files it need not be loaded at all.
"""

import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from mlx_lm import utils

from mlxd.engine.load_faults import faults_explained
from mlxd.engine.loader import materialize, readable
from mlxd.engine.tokenizer_loader import load_tokenizer
from mlxd.errors import LoadFailed

_TOKENS = "tokenizer.json"
_MORE_TOKENS = ("added_tokens.json", "special_tokens_map.json")
_CONFIG = "tokenizer_config.json"
_PATIENCE = 0.005


class DraftLoading:
    """A draft model from the folder `path`, on its way into memory.

    It is to have the tokens of `tokenizer`, which is that of the model in `folder`.
    """

    def __init__(self, path: str, folder: Path, tokenizer: Any) -> None:
        self.path = path
        self._parts = self._load(folder, tokenizer)

    def step(self) -> Any | None:
        """Go on for a moment; return the model once it is there.

        Raises:
            LoadFailed: the folder holds no model, or one with a different vocabulary.
        """
        return next(self._parts)

    def _load(self, folder: Path, tokenizer: Any) -> Iterator[Any | None]:
        with faults_explained(), readable(Path(self.path)) as path, ThreadPoolExecutor(1) as beside:
            model, config = utils.load_model(path, lazy=True)
            fits = beside.submit(_has_tokens, path, config, folder, tokenizer)
            for _ in materialize(model):
                yield None
            while not _done(fits):
                yield None
            if not fits.result():
                name = Path(self.path).name
                raise LoadFailed(
                    f"{name} cannot be the draft model: its vocabulary differs from the model's"
                )
            yield model


def _done(future: Future[bool]) -> bool:
    """Return whether it is done; while nothing else runs, steps follow each other at once."""
    return bool(wait([future], timeout=_PATIENCE).done)


def _has_tokens(path: Path, config: dict[str, Any], folder: Path, tokenizer: Any) -> bool:
    if _same_files(path, folder):
        return True
    return bool(load_tokenizer(path, config).get_vocab() == tokenizer.get_vocab())


def _same_files(path: Path, folder: Path) -> bool:
    """Return whether the files of two tokenizers say that they have the same tokens."""
    if not (path / _TOKENS).is_file():
        return False
    added = [_added(each / _CONFIG) for each in (path, folder)]
    names = (_TOKENS, *_MORE_TOKENS)
    return added[0] == added[1] and all(_content(path / n) == _content(folder / n) for n in names)


def _added(config: Path) -> object:
    try:
        found = json.loads(_content(config) or b"{}")
    except ValueError:
        return None
    return {key: value for key, value in found.items() if "token" in key}


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.is_file() else None
