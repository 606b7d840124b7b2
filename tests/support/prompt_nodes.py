"""Nodes of a prompt cache, as an engine would make them, with random numbers."""

import hashlib
import random
from collections.abc import Sequence

from mlxd.engine.node_file import StoredNode, Tensor

FINGERPRINT = "0123456789abcdef" * 2


def node(tokens: Sequence[int], parent: StoredNode | None = None, size: int = 64) -> StoredNode:
    """Return the node of `tokens` after `parent`, about as large as `2 * size` bytes."""
    before = parent.key if parent else b""
    seed = random.Random(repr((before, tokens)))
    return StoredNode(
        key=hashlib.sha256(before + repr(tuple(tokens)).encode()).digest(),
        parent=before,
        tokens=tuple(tokens),
        start=parent.start + len(parent.tokens) if parent else 0,
        tensors={
            "0.offsets": Tensor("int32", (2,), seed.randbytes(8)),
            "0.keys": Tensor("bfloat16", (1, size // 2), seed.randbytes(size)),
            "0.values": Tensor("bfloat16", (1, size // 2), seed.randbytes(size)),
        },
        meta='{"layers": 1}',
    )


def chain(*prompts: Sequence[int], size: int = 64) -> list[StoredNode]:
    """Return nodes of which each follows the one before."""
    nodes: list[StoredNode] = []
    for tokens in prompts:
        nodes.append(node(tokens, nodes[-1] if nodes else None, size))
    return nodes
