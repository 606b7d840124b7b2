"""Key-value caches of earlier prompts, kept in memory for prompts that begin alike.

What is kept is a tree of nodes of up to 256 tokens. Prompts share the nodes of what they have in
common, so a conversation's next turn adds only what is new. A cache that can be cut at any token
needs nothing else: the longest common beginning is found, to the token. Any other is found again at
its checkpoints, which whoever reads a prompt makes where conversations part.

Prompts of different salts share nothing: each salt has a tree of its own, whose keys begin with it.

With a `DiskCache`, what is kept is written behind as well, and found again when memory has lost it.
"""

import hashlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile

import mlx.core as mx

from mlxd.engine.cache_layers import (
    Blocks,
    Cache,
    CacheSnapshot,
    arrays_of,
    can_be_cut,
    checkpointed,
    restore,
)
from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.node_file import StoredNode
from mlxd.engine.stored_layers import NotStorable, from_tensors, to_tensors

NODE_TOKENS = 256
_MOST_GUESSES = 2
_Tokens = tuple[int, ...]


@dataclass(frozen=True)
class Found:
    """What the prompt cache has of a prompt.

    `cache` holds its first `covered` tokens, and is the caller's own. Some earlier prompt began
    with the same `common` tokens, at least that many.
    """

    cache: Cache | None = None
    covered: int = 0
    common: int = 0


@dataclass(eq=False)
class _Node:
    parent: "_Node | None"
    key: bytes
    tokens: _Tokens
    start: int
    blocks: Blocks = field(default_factory=dict)
    checkpoint: Cache | None = None
    lasting: bool = False
    children: dict[_Tokens, "_Node"] = field(default_factory=dict)
    nbytes: int = 0

    @property
    def end(self) -> int:
        return self.start + len(self.tokens)

    @property
    def path(self) -> list["_Node"]:
        """The nodes from the first tokens to this one."""
        nodes = list(takewhile(lambda node: node.parent is not None, _upwards(self)))
        return nodes[::-1]


class PromptCache:
    """The caches of one model's prompts, `max_bytes` in all at most; 0 keeps nothing."""

    def __init__(
        self,
        max_bytes: int,
        new_cache: Callable[[int], Cache],
        convert: Callable[[Blocks, int], Blocks] | None = None,
        disk: DiskCache | None = None,
    ) -> None:
        """Take the limit in bytes, what makes caches, and the prompt cache on disk, if any.

        `new_cache` returns an empty cache for a prompt of a number of tokens, and `convert` returns
        blocks of another prompt's cache in the form of that cache.
        """
        self.enabled = max_bytes > 0
        self.needs_checkpoints = self.enabled and not can_be_cut(new_cache(0))
        self.nbytes = 0
        self.max_bytes = max_bytes
        self._new_cache = new_cache
        self._convert = convert
        self._disk = disk if self.enabled else None
        self._by_key: dict[bytes, _Node] = {}
        self._roots: dict[str, _Node] = {}
        # The least recently used first; a node is always before its parent.
        self._nodes: dict[_Node, None] = {}

    def covered(self, tokens: list[int], salt: str = "") -> int:
        """Return how many tokens `fetch` would find."""
        return self._find(tokens, salt)[1]

    def fetch(self, tokens: list[int], salt: str = "") -> Found:
        """Return the cache of the longest beginning of `tokens` that is known.

        At least the last token is left to compute: generation starts from its output.
        """
        node, covered, common = self._find(tokens, salt)
        if not covered:
            return Found(common=common)
        self._touch(node)
        length = len(tokens)
        blocks = [each.blocks for each in node.path]
        if self._convert is not None:
            blocks = [self._convert(each, length) for each in blocks]
        cache = restore(self._new_cache(length), blocks, covered, node.checkpoint or [])
        return Found(cache, covered, common)

    def keep(
        self,
        tokens: list[int],
        snapshot: CacheSnapshot,
        *,
        lasting: bool = False,
        salt: str = "",
    ) -> None:
        """Keep the cache of one sequence, which covers exactly `tokens`.

        A `lasting` one, which other conversations begin with too, is dropped later than others.
        """
        if not self.enabled or not tokens:
            return
        node = self._root(salt)
        added: list[_Node] = []
        for start in range(0, len(tokens), NODE_TOKENS):
            part = tuple(tokens[start : start + NODE_TOKENS])
            child = node.children.get(part)
            if child is None and not self.needs_checkpoints:
                child = _longer(node, part)
            if child is None:
                blocks = snapshot.cut(start, start + len(part))
                child = _Node(node, _key(node.key, part), part, start, blocks)
                added.append(child)
            node = child
        if self.needs_checkpoints and node.checkpoint is None:
            node.checkpoint = snapshot.checkpoint()
            added.append(node)
        node.lasting = node.lasting or lasting
        mx.eval([list(_arrays(each)) for each in added])
        for each in added:
            self._add(each)
        self._touch(node)
        self._write(node, again=added)
        self.shrink_to(self.max_bytes)

    def on_disk(self, tokens: list[int], salt: str = "") -> list[bytes]:
        """Return the keys of the nodes on disk with which `fetch` would find more, in order."""
        if self._disk is None:
            return []
        root = self._root(salt)
        node = self._walk(tokens, root)
        # Each is where a prompt may go on, and what must be read to come there.
        places = [(each.key, each.end, 0) for each in (root, *node.path)]
        keys: list[bytes] = []
        key, end = node.key, node.end
        while len(part := tuple(tokens[end : end + NODE_TOKENS])) == NODE_TOKENS:
            key = _key(key, part)
            if key not in self._disk:
                break
            keys.append(key)
            end += NODE_TOKENS
            places.append((key, end, len(keys)))
        covered = self.covered(tokens, salt)
        for key, end, count in reversed(places):
            rest = tuple(tokens[end : min(end + NODE_TOKENS, len(tokens) - 1)])
            files = sorted(
                self._disk.children(b"" if end == 0 else key), key=lambda file: -file.length
            )
            for file in files:
                length = min(file.length, len(rest))
                if file.length < NODE_TOKENS and _key(key, rest[:length]) == file.key:
                    return [*keys[:count], file.key] if end + length > covered else []
            if not self.needs_checkpoints:
                # Part of a node may be of use, which only its tokens tell. A prompt that has begun
                # like others is likely to go on like one of them.
                unknown = [file.key for file in files if end and file.key not in self._by_key]
                return keys + unknown[:_MOST_GUESSES] if end + len(rest) > covered else []
        # A whole node may be a checkpoint too.
        return keys if places[-1][1] > covered else []

    def restore(self, nodes: list[StoredNode]) -> None:
        """Take nodes that were read from disk, in order."""
        last = self._root("")
        for stored in nodes:
            parent = self._by_key.get(stored.parent) if stored.parent else self._root_of(stored)
            if parent is None or _key(parent.key, stored.tokens) != stored.key:
                break
            empty = checkpointed(self._new_cache(0))
            blocks, checkpoint = from_tensors(stored.tensors, stored.meta, empty)
            node = parent.children.get(stored.tokens)
            if node is None:
                node = _Node(parent, stored.key, stored.tokens, parent.end, blocks)
            node.checkpoint = node.checkpoint or checkpoint
            if parent is not last:
                self._touch(last)  # this one is beside it, and may replace it
            self._add(node)
            last = node
        self._touch(last)
        self.shrink_to(self.max_bytes)

    def leave_to_disk(self) -> None:
        """Drop what is on disk from memory."""
        if self._disk is not None:
            for node in [each for each in self._nodes if each.key in self._disk]:
                if not node.children:  # those come first
                    self._drop(node)

    def limit_to(self, max_bytes: int) -> None:
        """Set the limit, and drop what exceeds it."""
        self.max_bytes = max_bytes
        self.shrink_to(max_bytes)

    def shrink_to(self, max_bytes: int) -> None:
        """Drop what was used least recently until what is left takes `max_bytes` at most."""
        while self.nbytes > max_bytes and self._nodes:
            node = next(iter(self._nodes))
            if node.lasting:
                node.lasting = False
                self._touch(node)
            else:
                self._drop(node)

    def _root(self, salt: str) -> _Node:
        """Return where the prompts of a salt begin."""
        root = self._roots.get(salt)
        if root is None:
            key = hashlib.sha256(salt.encode()).digest() if salt else b""
            root = self._roots[salt] = self._by_key[key] = _Node(None, key, (), 0)
        return root

    def _root_of(self, stored: StoredNode) -> _Node | None:
        """Return where a node belongs that is at the beginning of a prompt; on disk it is salted.

        Its key tells: who does not know the salt cannot find it.
        """
        roots = self._roots.values()
        return next((root for root in roots if _key(root.key, stored.tokens) == stored.key), None)

    def _find(self, tokens: list[int], salt: str) -> tuple[_Node, int, int]:
        """Return the node to restore, how many tokens that gives, and how many are known."""
        node = self._walk(tokens, self._root(salt))
        nearest, common = _nearest(node, tokens)
        if not self.needs_checkpoints:
            return nearest, min(common, len(tokens) - 1), common
        node = _last_checkpoint(node, tokens)
        return node, node.end, common

    def _walk(self, tokens: list[int], node: _Node) -> _Node:
        """Return the last whole node that the tokens pass through, from a root."""
        while len(part := tuple(tokens[node.end : node.end + NODE_TOKENS])) == NODE_TOKENS:
            child = node.children.get(part)
            if child is None:
                break
            node = child
        return node

    def _add(self, node: _Node) -> None:
        parent = node.parent or self._root("")
        if not self.needs_checkpoints:
            for other in [each for each in parent.children.values() if _begins(each, node.tokens)]:
                self._drop(other)
        parent.children[node.tokens] = node
        self._by_key[node.key] = node
        self.nbytes -= node.nbytes
        node.nbytes = sum(array.nbytes for array in _arrays(node))
        self.nbytes += node.nbytes

    def _write(self, node: _Node, again: list[_Node]) -> None:
        """Write what is not on disk of the nodes up to `node`, and those of `again` in any case."""
        if self._disk is None:
            return
        for each in node.path:
            parent = each.parent or self._root("")
            above = parent.key if parent.parent else b""  # there all beginnings are beside another
            self._disk.touch(each.key)
            if each.key in self._disk and each not in again:
                continue
            try:
                tensors, meta = to_tensors(each.blocks, each.checkpoint)
            except NotStorable:
                return
            stored = StoredNode(each.key, above, each.tokens, each.start, tensors, meta)
            if not self._disk.write(stored):
                return
            for shorter in () if self.needs_checkpoints else self._disk.children(above):
                if shorter.key == _key(parent.key, each.tokens[: shorter.length]) != each.key:
                    self._disk.remove(shorter.key)

    def _touch(self, node: _Node) -> None:
        for each in _upwards(node):
            if each.parent is not None:
                self._nodes.pop(each, None)
                self._nodes[each] = None

    def _drop(self, node: _Node) -> None:
        parent = node.parent or self._root("")
        del parent.children[node.tokens]
        del self._by_key[node.key]
        del self._nodes[node]
        self.nbytes -= node.nbytes


def _key(parent: bytes, tokens: _Tokens) -> bytes:
    """Return what stands for all tokens up to the last one of a node."""
    return hashlib.sha256(parent + array("I", tokens).tobytes()).digest()


def common_length(first: Sequence[object], second: Sequence[object]) -> int:
    """Return how many items two sequences of the same type begin with alike."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # to compare slices is far quicker than to compare items
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _upwards(node: _Node | None) -> Iterator[_Node]:
    while node is not None:
        yield node
        node = node.parent


def _nearest(node: _Node, tokens: list[int]) -> tuple[_Node, int]:
    """Return the node below `node`, or itself, that has most of the tokens, and how many."""
    rest = tuple(tokens[node.end : node.end + NODE_TOKENS])
    best, most = node, 0
    for child in node.children.values():
        common = common_length(child.tokens, rest)
        if common > most:
            best, most = child, common
    return best, node.end + most


def _last_checkpoint(node: _Node, tokens: list[int]) -> _Node:
    """Return the last node with a checkpoint that the tokens pass, or the root."""
    last = len(tokens) - 1
    for each in _upwards(node):
        rest = tuple(tokens[each.end : each.end + NODE_TOKENS])
        passed = [
            child
            for child in each.children.values()
            if child.checkpoint is not None
            and child.end <= last
            and child.tokens == rest[: len(child.tokens)]
        ]
        if passed:
            return max(passed, key=lambda child: child.end)
        if each.parent is None:
            return each
    return node


def _longer(node: _Node, part: _Tokens) -> _Node | None:
    """Return a node below `node` whose tokens begin with `part`."""
    children = node.children.values()
    return next((child for child in children if child.tokens[: len(part)] == part), None)


def _begins(node: _Node, tokens: _Tokens) -> bool:
    """Return whether a longer node has all of a node's tokens."""
    return len(node.tokens) < len(tokens) and tokens[: len(node.tokens)] == node.tokens


def _arrays(node: _Node) -> Iterator[mx.array]:
    for arrays in node.blocks.values():
        yield from arrays
    yield from arrays_of(node.checkpoint or [])
