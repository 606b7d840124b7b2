"""What the catalog finds: each candidate folder is a model, or a broken one."""

from enum import StrEnum
from pathlib import Path

import msgspec

from mlxd.models.adapters import Adapter
from mlxd.models.generation_config import OwnSampling
from mlxd.models.model_config import cached_tokens


class Origin(StrEnum):
    """Where a model was found; mlxd removes only those in the models directory."""

    MODELS_DIR = "models directory"
    DIRS = "models.dirs"
    HUB_CACHE = "hub cache"


class Candidate(msgspec.Struct, frozen=True):
    """A folder that may be a model, and the id that this model has."""

    id: str
    folder: Path
    origin: Origin


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model on disk that can be used, and the adapter to apply to it, if any.

    `created` is in Unix seconds, `context_length` in tokens, `size_bytes` that of the weights.
    `quantization` is like "4-bit", "4/8-bit" or "mxfp4"; for weights that are not quantized it is
    their type, and None if that is unknown. `cache_bytes` is about what the cache of a conversation
    of `cached_tokens` tokens takes, 0 if the configuration does not tell. `own_code` says which
    Python code of the model's own has to run for it, if any.
    """

    id: str
    path: Path
    created: int
    size_bytes: int
    architecture: str
    quantization: str | None
    context_length: int | None
    cache_bytes: int = 0
    origin: Origin = Origin.MODELS_DIR
    adapter: Adapter | None = None
    sampling: OwnSampling = OwnSampling()
    own_code: str | None = None

    @property
    def name(self) -> str:
        """The id, and the adapter's name, for messages."""
        return f"{self.id} with adapter {self.adapter.name}" if self.adapter else self.id

    @property
    def cached_tokens(self) -> int:
        """The length of the conversation that `cache_bytes` is for."""
        return cached_tokens(self.context_length)

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory: weights, the adapter's too, and one conversation."""
        adapter = self.adapter.size_bytes if self.adapter else 0
        return self.size_bytes + adapter + self.cache_bytes


class BrokenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One folder that cannot be used as a model; `fault` says why.

    A `stray` one was never meant to be a model, or is of a kind that mlxd cannot run. `created` is
    in Unix seconds, `size_bytes` that of all its files.
    """

    id: str
    path: Path
    created: int
    size_bytes: int
    fault: str
    stray: bool
    origin: Origin = Origin.MODELS_DIR
