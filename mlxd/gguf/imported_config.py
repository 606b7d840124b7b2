"""What an import writes into config.json: the keys that mlx_lm and transformers read."""

import msgspec
from msgspec import UNSET, UnsetType


class RopeScaling(msgspec.Struct, kw_only=True):
    """As the `rope_scaling` of Hugging Face configurations."""

    rope_type: str
    factor: float
    original_max_position_embeddings: int | UnsetType = UNSET
    low_freq_factor: float | UnsetType = UNSET
    high_freq_factor: float | UnsetType = UNSET


class ImportedConfig(msgspec.Struct, kw_only=True):
    """config.json. In `quantization`, a layer's path maps to how it differs from the rest."""

    architectures: list[str]
    model_type: str
    hidden_size: int
    num_hidden_layers: int
    intermediate_size: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    vocab_size: int
    max_position_embeddings: int
    rope_theta: float
    rope_traditional: bool | UnsetType = UNSET
    rope_scaling: RopeScaling | UnsetType = UNSET
    tie_word_embeddings: bool
    torch_dtype: str | UnsetType = UNSET
    bos_token_id: int | UnsetType = UNSET
    eos_token_id: list[int] | UnsetType = UNSET
    quantization: dict[str, object] | UnsetType = UNSET
