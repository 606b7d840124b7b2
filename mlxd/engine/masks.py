"""The tokens that constraints allow, as a mask over the logits.

It is apart from `structured_output`, which runs in the sandbox too and must not import MLX.
"""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlxd.engine.structured_output import Constraint

_BITS = 32


def mask(constraints: Sequence[Constraint], vocabulary: int) -> mx.array:
    """Return which tokens are allowed next, a boolean array (constraints, vocabulary)."""
    words = np.zeros((len(constraints), -(-vocabulary // _BITS)), np.uint32)
    for row, constraint in zip(words, constraints, strict=True):
        allowed = constraint.allowed()[: row.size]
        row[: allowed.size] = allowed
    # Unpacked on the device of the logits: 32 times less to transfer.
    bits = (mx.array(words)[:, :, None] >> mx.arange(_BITS, dtype=mx.uint32)) & 1
    return bits.reshape(len(constraints), -1)[:, :vocabulary].astype(mx.bool_)
