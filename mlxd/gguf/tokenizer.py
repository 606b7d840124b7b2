"""Turns a GGUF file's vocabulary into tokenizer.json and its companions.

`gpt2` vocabularies are byte-level BPE, with a pre-tokenizer that the file names; `llama`
vocabularies are SentencePiece's BPE, with scores in place of merges.

Sources: llama.cpp's llama-vocab.cpp for pre-tokenizers and defaults, and the public tokenizer.json
of each model family for the same in the form of Hugging Face.
"""

from collections.abc import Callable

import msgspec
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from mlxd.errors import InvalidRequest
from mlxd.gguf.metadata import Metadata

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4
_SPACE = "▁"

# Tokens that end a turn or a text, whichever of them the file names as its end of sequence.
_ENDINGS = ("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|endoftext|>")
_ENDING_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
_ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "pad_token": "padding_token_id",
    "unk_token": "unknown_token_id",
}

_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA3_OR_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class _PreTokenizer(msgspec.Struct, frozen=True):
    """How text is split before byte-level BPE: by one pattern after the other."""

    patterns: tuple[str, ...]
    whole_words: bool = False  # a word that is a token is not made of merges
    composed: bool = False  # normalised to Unicode's NFC first
    begins: bool = False  # text starts with BOS unless the file says otherwise


_LLAMA3 = _PreTokenizer((_LLAMA3_OR_QWEN2 % "{1,3}",), whole_words=True, begins=True)
_QWEN2 = _PreTokenizer((_LLAMA3_OR_QWEN2 % "",), composed=True)
_PRE_TOKENIZERS = {
    "smollm": _PreTokenizer((r"\p{N}", _GPT2)),
    "gpt-2": _PreTokenizer((_GPT2,)),
    "default": _PreTokenizer((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]")),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "deepseek-r1-qwen": _QWEN2,
}


class ImportedTokenizer(msgspec.Struct, frozen=True):
    """The tokenizer files of a model folder, and its special tokens; `bos_id` may be missing."""

    tokenizer: Tokenizer
    config: dict[str, str | bool]
    chat_template: str
    bos_id: int | None
    eos_ids: list[int]


class _Vocabulary(msgspec.Struct, frozen=True):
    """The tokens by id, with their kinds."""

    tokens: list[str]
    kinds: list[int]
    ids: dict[str, int]


def build_tokenizer(metadata: Metadata, model_type: str) -> ImportedTokenizer:
    """Return the tokenizer of a file with that metadata, for models of that type.

    Raises:
        InvalidRequest: its tokenizer or pre-tokenizer cannot be imported, or it is damaged.
    """
    chat_template = metadata.get("tokenizer.chat_template", str, "")
    metadata = metadata.under("tokenizer.ggml.")
    build = _BUILDERS.get(metadata.get("model", str, ""))
    if build is None:
        raise metadata.refuse("model", " or ".join(_BUILDERS))
    vocabulary = _vocabulary(metadata)
    tokenizer, begins = build(metadata, vocabulary, model_type)
    for kind in (_UNKNOWN, _CONTROL):
        tokenizer.add_special_tokens(_added(vocabulary, kind, special=True))
    tokenizer.add_tokens(_added(vocabulary, _USER_DEFINED, special=False))

    roles = {
        role: vocabulary.tokens[index]
        for role, key in _ROLES.items()
        if (index := _token_id(metadata, key, vocabulary)) is not None
    }
    bos = roles.get("bos_token")
    if bos is not None and metadata.get("add_bos_token", bool, begins):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", "$B"], special_tokens=[(bos, vocabulary.ids[bos])]
        )
    return ImportedTokenizer(
        tokenizer=tokenizer,
        config={
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **roles,
        },
        chat_template=chat_template,
        bos_id=None if bos is None else vocabulary.ids[bos],
        eos_ids=_eos_ids(metadata, vocabulary),
    )


def _vocabulary(metadata: Metadata) -> _Vocabulary:
    tokens, kinds = metadata.get("tokens", list[str]), metadata.get("token_type", list[int])
    if len(kinds) != len(tokens):
        raise metadata.refuse("token_type", f"one value for each of {len(tokens)} tokens")
    ids = {token: index for index, token in enumerate(tokens)}
    if len(ids) != len(tokens):
        raise metadata.refuse("tokens", "a list without duplicates")
    return _Vocabulary(tokens, kinds, ids)


def _byte_level(
    metadata: Metadata, vocabulary: _Vocabulary, model_type: str
) -> tuple[Tokenizer, bool]:
    pre = _PRE_TOKENIZERS.get(metadata.get("pre", str, ""))
    if pre is None:
        raise metadata.refuse("pre", ", ".join(_PRE_TOKENIZERS))
    if model_type == "qwen2" and pre is not _QWEN2:
        raise metadata.refuse("pre", "qwen2 with this architecture")
    merges = []
    for merge in metadata.get("merges", list[str]):
        left, _, right = merge.partition(" ")
        if not {left, right, left + right} <= vocabulary.ids.keys():
            raise InvalidRequest(f"tokenizer.ggml.merges has {merge!r}, which is not a token")
        merges.append((left, right))
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary.ids, merges=merges, ignore_merges=pre.whole_words)
    )
    if pre.composed:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), behavior="isolated") for pattern in pre.patterns]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer, pre.begins


def _sentence_piece(
    metadata: Metadata, vocabulary: _Vocabulary, model_type: str
) -> tuple[Tokenizer, bool]:
    if model_type == "qwen2":
        raise metadata.refuse("model", "gpt2 with this architecture")
    scores = metadata.get("scores", list[float])
    if len(scores) != len(vocabulary.tokens):
        raise metadata.refuse("scores", f"one value for each of {len(vocabulary.tokens)} tokens")
    unknown = vocabulary.tokens[_token_id(metadata, "unknown_token_id", vocabulary) or 0]
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary.ids,
            merges=_merges_of_scores(vocabulary, scores),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces: normalizers.Normalizer = normalizers.Replace(" ", _SPACE)
    back = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if metadata.get("add_space_prefix", bool, True):
        spaces = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces])
        back.append(decoders.Strip(" ", left=1))
    tokenizer.normalizer = spaces
    tokenizer.decoder = decoders.Sequence(back)
    return tokenizer, True


def _merges_of_scores(vocabulary: _Vocabulary, scores: list[float]) -> list[tuple[str, str]]:
    """Return every way to make a token of two others, those of the best token first."""
    ids = vocabulary.ids
    ranked = sorted(range(len(scores)), key=lambda index: -scores[index])
    merges = []
    for index in ranked:
        token = vocabulary.tokens[index]
        if vocabulary.kinds[index] not in (_NORMAL, _USER_DEFINED):
            continue
        halves = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [(left, right) for left, right in halves if left in ids and right in ids]
        merges += sorted(known, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
    return merges


_BUILDERS: dict[str, Callable[[Metadata, _Vocabulary, str], tuple[Tokenizer, bool]]] = {
    "gpt2": _byte_level,
    "llama": _sentence_piece,
}


def _added(vocabulary: _Vocabulary, kind: int, *, special: bool) -> list[AddedToken]:
    return [
        AddedToken(token, special=special, normalized=False)
        for token, its_kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True)
        if its_kind == kind
    ]


def _token_id(metadata: Metadata, key: str, vocabulary: _Vocabulary) -> int | None:
    if not metadata.has(key):
        return None
    index = metadata.count(key)
    if index >= len(vocabulary.tokens):
        raise metadata.refuse(key, f"a token below {len(vocabulary.tokens)}")
    return index


def _eos_ids(metadata: Metadata, vocabulary: _Vocabulary) -> list[int]:
    named = [_token_id(metadata, key, vocabulary) for key in _ENDING_KEYS]
    known = [
        vocabulary.ids[token]
        for token in _ENDINGS
        if token in vocabulary.ids and vocabulary.kinds[vocabulary.ids[token]] == _CONTROL
    ]
    found = [index for index in named + known if index is not None]
    if not found:
        raise InvalidRequest("the file lacks the key tokenizer.ggml.eos_token_id")
    return list(dict.fromkeys(found))
