"""Turns a GGUF file's vocabulary into tokenizer.json and its companions.

`gpt2` vocabularies are byte-level BPE, with a pre-tokenizer that the file names; `llama`
vocabularies are SentencePiece's BPE, with scores in place of merges.

Sources: llama.cpp's llama-vocab.cpp for pre-tokenizers and defaults, and the public tokenizer.json
of each model family for the same in the form of Hugging Face.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, TypeAlias

import msgspec
from gguf import TokenType
from msgspec import field
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
from mlxd.gguf.reader import Metadata, read_keys, unsupported

_SPACE = "▁"

_LONGEST_TOKEN = 1024  # characters
_MOST_CHARACTERS = 16_000_000  # the largest vocabularies known have 3 million
_MOST_MERGES = 3_000_000  # Gemma's vocabulary needs 600,000

# Tokens that end a turn or a text, whichever of them the file names as its end of sequence.
_ENDING_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")
_ENDINGS = (
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<|endoftext|>",
    "<end_of_turn>",
)

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
    composed: bool = False  # normalized to Unicode's NFC first
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


_TokenId: TypeAlias = Annotated[int, msgspec.Meta(ge=0)] | None


class _Vocabulary(
    msgspec.Struct, frozen=True, kw_only=True, dict=True, rename=lambda name: f"ggml.{name}"
):
    """The keys under `tokenizer.`; tokens, their types and scores are in the order of the ids."""

    model: str = ""
    pre: str = ""
    tokens: Annotated[list[str], msgspec.Meta(min_length=1)]
    token_type: list[int]
    scores: list[float] = []
    merges: list[str] = []
    add_bos_token: bool | None = None
    add_space_prefix: bool = True
    bos_token_id: _TokenId = None
    eos_token_id: _TokenId = None
    eot_token_id: _TokenId = None
    eom_token_id: _TokenId = None
    padding_token_id: _TokenId = None
    unknown_token_id: _TokenId = None
    chat_template: str = field(name="chat_template", default="")

    @cached_property
    def ids(self) -> dict[str, int]:
        return {token: index for index, token in enumerate(self.tokens)}

    def of(self, *kinds: TokenType) -> list[str]:
        """Return the tokens of these types."""
        pairs = zip(self.tokens, self.token_type, strict=True)
        return [token for token, kind in pairs if kind in kinds]

    def refuse(self, key: str, allowed: str) -> InvalidRequest:
        return unsupported(f"tokenizer.ggml.{key}", getattr(self, key), allowed)

    def token(self, key: str) -> str | None:
        """Return the token that the key names by its id."""
        index: int | None = getattr(self, key)
        if index is not None and index >= len(self.tokens):
            raise self.refuse(key, f"a token below {len(self.tokens)}")
        return None if index is None else self.tokens[index]


def build_tokenizer(metadata: Metadata, model_type: str) -> ImportedTokenizer:
    """Return the tokenizer of a file with that metadata, for models of that type.

    Raises:
        InvalidRequest: its tokenizer or pre-tokenizer cannot be imported, or it is damaged.
    """
    vocabulary = read_keys(metadata, "tokenizer.", _Vocabulary)
    count = len(vocabulary.tokens)
    if len(vocabulary.token_type) != count:
        raise vocabulary.refuse("token_type", f"one value for each of {count} tokens")
    if len(vocabulary.ids) != count:
        raise vocabulary.refuse("tokens", "a list without duplicates")
    _check_size(vocabulary.tokens)
    if vocabulary.model not in _BUILDERS:
        raise vocabulary.refuse("model", " or ".join(_BUILDERS))
    if model_type == "qwen2" and _PRE_TOKENIZERS.get(vocabulary.pre) is not _QWEN2:
        raise vocabulary.refuse("pre", "qwen2 with this architecture")
    tokenizer, begins = _BUILDERS[vocabulary.model](vocabulary)
    for kind in (TokenType.UNKNOWN, TokenType.CONTROL, TokenType.USER_DEFINED):
        special = kind != TokenType.USER_DEFINED
        tokenizer.add_tokens(
            [AddedToken(token, special=special, normalized=False) for token in vocabulary.of(kind)]
        )
    roles = {role: token for role, key in _ROLES.items() if (token := vocabulary.token(key))}
    bos = roles.get("bos_token")
    if vocabulary.add_bos_token is not None:
        begins = vocabulary.add_bos_token
    if begins and bos:
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
        chat_template=vocabulary.chat_template,
        bos_id=vocabulary.bos_token_id,
        eos_ids=_eos_ids(vocabulary),
    )


def _check_size(tokens: list[str]) -> None:
    """Refuse tokens whose halves would take all memory: their size is the square of a length."""
    longest, characters = max(map(len, tokens)), sum(map(len, tokens))
    if longest > _LONGEST_TOKEN:
        found = f"a token of {longest:,} characters; {_LONGEST_TOKEN:,}"
    elif characters > _MOST_CHARACTERS:
        found = f"{characters:,} characters; {_MOST_CHARACTERS:,}"
    else:
        return
    raise InvalidRequest(f"tokenizer.ggml.tokens has {found} can be imported")


def _byte_level(vocabulary: _Vocabulary) -> tuple[Tokenizer, bool]:
    pre = _PRE_TOKENIZERS.get(vocabulary.pre)
    if pre is None:
        raise vocabulary.refuse("pre", ", ".join(_PRE_TOKENIZERS))
    if not vocabulary.merges:
        raise vocabulary.refuse("merges", "one or more")
    merges = []
    for merge in vocabulary.merges:
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


def _sentence_piece(vocabulary: _Vocabulary) -> tuple[Tokenizer, bool]:
    if len(vocabulary.scores) != len(vocabulary.tokens):
        raise vocabulary.refuse("scores", f"one value for each of {len(vocabulary.tokens)} tokens")
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary.ids,
            merges=_merges_of_scores(vocabulary),
            unk_token=vocabulary.token("unknown_token_id") or vocabulary.tokens[0],
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    spaces: normalizers.Normalizer = normalizers.Replace(" ", _SPACE)
    back = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if vocabulary.add_space_prefix:
        spaces = normalizers.Sequence([normalizers.Prepend(_SPACE), spaces])
        back.append(decoders.Strip(" ", left=1))
    tokenizer.normalizer = spaces
    tokenizer.decoder = decoders.Sequence(back)
    return tokenizer, True


def _merges_of_scores(vocabulary: _Vocabulary) -> list[tuple[str, str]]:
    """Return every way to make a token of two others, those of the best token first."""
    ids, scores = vocabulary.ids, vocabulary.scores
    mergeable = vocabulary.of(TokenType.NORMAL, TokenType.USER_DEFINED)
    merges = []
    for token in sorted(mergeable, key=lambda token: -scores[ids[token]]):
        halves = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        known = [(left, right) for left, right in halves if left in ids and right in ids]
        merges += sorted(known, key=lambda pair: (ids[pair[0]], ids[pair[1]]))
        if len(merges) > _MOST_MERGES:
            found = f"make each other in more than {_MOST_MERGES:,} ways"
            raise InvalidRequest(f"tokenizer.ggml.tokens {found}, which cannot be imported")
    return merges


_BUILDERS: dict[str, Callable[[_Vocabulary], tuple[Tokenizer, bool]]] = {
    "gpt2": _byte_level,
    "llama": _sentence_piece,
}


def _eos_ids(vocabulary: _Vocabulary) -> list[int]:
    controls = vocabulary.of(TokenType.CONTROL)
    named = [vocabulary.token(key) for key in _ENDING_KEYS]
    known = [token for token in _ENDINGS if token in controls]
    found = [vocabulary.ids[token] for token in named + known if token is not None]
    if not found:
        raise InvalidRequest("the file lacks the key tokenizer.ggml.eos_token_id")
    return list(dict.fromkeys(found))
