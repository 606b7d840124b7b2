"""Loading a folder: its progress, and what cannot be served."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import mlx.core as mx
import pytest
from mlx_lm.models.cache import KVCache, make_prompt_cache

from mlxd.engine import loader
from mlxd.engine.loader import load_model
from mlxd.engine.quantized_cache import CacheFormat
from mlxd.errors import LoadFailed
from mlxd.messages import Load


def progress_of(model: Path) -> list[float]:
    fractions: list[float] = []
    load_model(Load(str(model)), fractions.append)
    return fractions


def test_progress_follows_the_weights_and_never_falls(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "_SMALLEST_PART_BYTES", 1)
    fractions = progress_of(tiny_model)
    assert len(fractions) >= 15
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert max(after - before for before, after in pairwise(fractions)) < 0.2


def test_progress_is_what_is_in_memory(tmp_path: Path, tiny_model: Path) -> None:
    """A model of 68 MB, half of which is its embedding."""
    wide = _widened(tiny_model, tmp_path / "wide", vocabulary=130_000)
    seen: list[tuple[float, int]] = []
    before = mx.get_active_memory()
    load_model(Load(str(wide)), lambda share: seen.append((share, mx.get_active_memory() - before)))
    total = seen[-1][1]
    assert total > 60_000_000
    for share, held in seen[1:-1]:
        assert held / total == pytest.approx((share - 0.05) / 0.9, abs=0.05)


@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_truncated_weights_are_not_loaded(tmp_path: Path, tiny_model: Path, kept: float) -> None:
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    weights = broken / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(LoadFailed) as caught:
        progress_of(broken)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"{", b"[1]", b"null", b"\xff\xfe", b'{"eos_token_id": "end"}', b"[" * 9000, None],
)
def test_a_broken_generation_config_stops_no_model(
    tmp_path: Path, tiny_model: Path, content: bytes | None
) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    file = model / "generation_config.json"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    assert progress_of(model)[-1] == 1


def test_a_model_with_a_broken_tokenizer_is_not_loaded(tmp_path: Path, tiny_model: Path) -> None:
    broken = Path(shutil.copytree(tiny_model, tmp_path / "broken"))
    (broken / "tokenizer.json").write_text('{"model": {"type": "no-such-type"}}')
    with pytest.raises(LoadFailed):
        progress_of(broken)


def test_a_model_makes_quantized_caches(tiny_model: Path) -> None:
    loaded = load_model(Load(str(tiny_model), kv_bits=8), lambda _: None)
    assert [layer.format for layer in make_prompt_cache(loaded.model)] == [CacheFormat(8, 32)] * 2


def test_a_model_whose_cache_cannot_be_quantized_is_loaded(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = Path(shutil.copytree(tiny_model, tmp_path / "narrow"))
    config = json.loads((narrow / "config.json").read_text())
    narrower = {**config, "num_attention_heads": 4, "num_key_value_heads": 4}
    (narrow / "config.json").write_text(json.dumps(narrower))
    loaded = load_model(Load(str(narrow), kv_bits=8), lambda _: None)
    assert [type(layer) for layer in make_prompt_cache(loaded.model)] == [KVCache, KVCache]
    (line,) = capsys.readouterr().out.splitlines()
    reason = "heads of 16 values cannot be divided into groups of 32"
    assert line == f"kv_bits = 8 has no effect: {reason}"


def _widened(model: Path, path: Path, *, vocabulary: int) -> Path:
    shutil.copytree(model, path)
    weights = mx.load(str(model / "model.safetensors"))
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        weights[name] = mx.zeros((vocabulary, weights[name].shape[1]))
    mx.save_safetensors(str(path / "model.safetensors"), weights)
    config = json.loads((model / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "vocab_size": vocabulary}))
    return path


def test_an_architecture_whose_package_is_missing_is_not_loaded(
    tmp_path: Path, tiny_model: Path
) -> None:
    shutil.copytree(tiny_model, tmp_path / "olmo")
    config = json.loads((tiny_model / "config.json").read_text())
    (tmp_path / "olmo" / "config.json").write_text(json.dumps({**config, "model_type": "olmo"}))
    with pytest.raises(LoadFailed, match="needs a package that is missing"):
        progress_of(tmp_path / "olmo")
