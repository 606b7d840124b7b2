"""What the catalog finds: models on disk, and the adapters to apply to them."""

import os
from enum import StrEnum
from pathlib import Path

import msgspec

ADAPTER_WEIGHTS = "adapters.safetensors"
CACHED_TOKENS = 1024


class Origin(StrEnum):
    """Whose folder a model is in; only those of the models directory are ours to remove."""

    MODELS_DIR = "models directory"
    DIRS = "models.dirs"
    HUB_CACHE = "hub cache"


class Adapter(msgspec.Struct, frozen=True):
    """Weights on disk that change what a model says, a LoRA or the like."""

    name: str
    path: Path

    @property
    def size_bytes(self) -> int:
        """The size of its weights as they are now, 0 when they are gone.

        It is no field: an adapter that was trained anew is still the same one.
        """
        try:
            return os.stat(self.path / ADAPTER_WEIGHTS).st_size
        except OSError:
            return 0


class CatalogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model on disk that can be asked for, and the adapter to apply to it, if any.

    `created` is in Unix seconds, `context_length` in tokens, `size_bytes` that of the weights.
    `quantization` is like "4-bit", "4/8-bit" or "mxfp4", the type of the weights where they are not
    quantised, None where it is unknown. `cache_bytes` is about what the cache of a conversation of
    `cached_tokens` tokens takes, 0 when the configuration does not tell.
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

    @property
    def name(self) -> str:
        """What people read: the id, and the adapter's name."""
        return f"{self.id} with adapter {self.adapter.name}" if self.adapter else self.id

    @property
    def cached_tokens(self) -> int:
        """The length of the conversation that `cache_bytes` is for."""
        return min(self.context_length or CACHED_TOKENS, CACHED_TOKENS)

    @property
    def memory_bytes(self) -> int:
        """About what it takes in memory: weights, the adapter's too, and one conversation."""
        adapter = self.adapter.size_bytes if self.adapter else 0
        return self.size_bytes + adapter + self.cache_bytes


class BrokenEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One folder that should be a model and is none, or not the whole of one.

    `fault` says why. A `stray` is something else than a model that this daemon could run, or was
    never meant to be one. `created` is in Unix seconds, `size_bytes` that of all its files.
    """

    id: str
    path: Path
    created: int
    size_bytes: int
    fault: str
    stray: bool
    origin: Origin = Origin.MODELS_DIR


def folder_name(model_id: str) -> str:
    """Give the last part of an id, which is the name of the model's folder."""
    return model_id.rpartition("/")[2]
