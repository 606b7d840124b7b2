"""How much memory a model needs."""

from pathlib import Path

import msgspec

from mlxd.models.adapters import Adapter
from tests.support.pool import make_entry


def test_memory_is_the_sum_of_weights_cache_and_adapter(tmp_path: Path) -> None:
    (tmp_path / "adapters.safetensors").write_bytes(b"123")
    entry = msgspec.structs.replace(make_entry("a"), size_bytes=1000, cache_bytes=200)
    assert entry.memory_bytes == 1200
    adapted = msgspec.structs.replace(entry, adapter=Adapter("pirate", tmp_path))
    assert adapted.memory_bytes == 1203


def test_an_adapter_that_is_gone_needs_no_memory() -> None:
    assert Adapter("gone", Path("/nowhere")).size_bytes == 0


def test_the_cache_is_for_1024_tokens_or_a_shorter_context() -> None:
    entry = make_entry("a")
    lengths = [msgspec.structs.replace(entry, context_length=n) for n in (128, 9000, None)]
    assert [entry.cached_tokens for entry in lengths] == [128, 1024, 1024]
