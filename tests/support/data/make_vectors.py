"""Make vocabularies.json and vectors.json again; see README.md in this folder.

python -m tests.support.data.make_vectors NODE_FOLDER
"""

import json
import shutil
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from scripts.demo_model import DEFAULT_CACHE, MODELS, fetch
from tests.support.gguf_files import (
    DATA,
    byte_level_metadata,
    sentence_piece_metadata,
    write_vocabulary,
)

TEXTS = [
    "",
    "Hello world",
    "a  b   c    d",
    "0 1 12 123 1234 12345 3.14159",
    "def f(x):\n    return x**2  # square\n",
    "tab\tseparated\t\tvalues",
    "line\r\nbreak\r\n\r\nend",
    "👩‍👩‍👧‍👦 family 🏳️‍🌈",
    "e\u0301 vs é, n\u0303, Z͑ͫ̓",
    "I'm you're WE'LL they'Ve don't",
    "你好，世界。中文测试",
    "مرحبا بالعالم ١٢٣",
    "नमस्ते दुनिया",
    "สวัสดีชาวโลก",
    "  leading and trailing  ",
    "\n\n\n\n",
    "   ",
    " \n \t\n  x",
    "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
    "<|im_start|> spaces around <|im_end|> them",
    "<s>[INST] hi [/INST] there </s> again",
    "call <tool>now</tool>",
    "ﷺ ½ ² Ⅷ ①",
    '{"a": [1, 2.5e-3, null]}',
    "https://example.com/?q=a%20b&c=d#e",
    "$100 += <tag> ^~|",
    "Ünïcödé straße İstanbul",
    "\u00a0no-break\u3000wide\u200bzero",
    "$$$€€ @#!?... ---",
    "x\u0000y\u0007",
    "'S 'T ' s",
    "<bos><start_of_turn>user\n\n\n   hi\t\t<end_of_turn>\n<table> <td>[multimodal]<unused7>",
    "<0x0A>  a   b    c\n\n  d\n     e",
]
_PRE_TOKENIZERS = ["smollm", "gpt-2", "default", "llama-bpe", "qwen2"]
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6
_MERGES, _LONGEST, _CHARACTERS = 400, 4, 80


def byte_level() -> dict[str, list]:
    """Return merges that cross every boundary, so that each pre-tokenizer has other ids."""
    control, user_defined = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"], ["<tool>", "</tool>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=256 + _MERGES,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        max_token_length=_LONGEST,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    tokens, merges = _trained(tokenizer)
    tokens.append("Hello")  # made by no merge: Llama 3 takes a word that is a token as a whole
    return {
        "tokens": tokens + control + user_defined,
        "token_type": [_NORMAL] * len(tokens)
        + [_CONTROL] * len(control)
        + [_USER_DEFINED] * len(user_defined),
        "merges": [" ".join(merge) for merge in merges],
    }


def sentence_piece() -> dict[str, list]:
    """Return tokens with scores in the order in which their merges were learnt."""
    first = ["<unk>", "<s>", "</s>"]
    data = [f"<0x{byte:02X}>" for byte in range(256)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(
        vocab_size=_CHARACTERS + _MERGES,
        limit_alphabet=_CHARACTERS,  # the others fall back to bytes
        max_token_length=_LONGEST,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_sentences(), trainer)
    learnt = _trained(tokenizer)[0]
    return {
        "tokens": first + data + learnt,
        "token_type": [_UNKNOWN, _CONTROL, _CONTROL]
        + [_BYTE] * len(data)
        + [_NORMAL] * len(learnt),
        "scores": [0.0] * (len(first) + len(data)) + [float(-rank) for rank in range(len(learnt))],
    }


def _sentences() -> list[str]:
    """Return the texts without special tokens and NUL."""
    return [text for text in TEXTS if not {"<", "\0"} & set(text)]


def _trained(tokenizer: Tokenizer) -> tuple[list[str], list[list[str]]]:
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), model["merges"]


def main() -> None:
    node_folder = Path(sys.argv[1])
    vocabularies = {"byte_level": byte_level(), "sentence_piece": sentence_piece()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {name: fetch(DEFAULT_CACHE, model) for name, model in MODELS.items()}
        for pre in _PRE_TOKENIZERS:
            metadata = byte_level_metadata(pre, vocabularies["byte_level"])
            files[pre] = write_vocabulary(folder / f"{pre}.gguf", metadata)
        for name, prefix in (("sentence-piece", True), ("sentence-piece-no-prefix", False)):
            metadata = sentence_piece_metadata(
                vocabularies["sentence_piece"], add_space_prefix=prefix
            )
            files[name] = write_vocabulary(folder / f"{name}.gguf", metadata)
        ids = _tokenize(node_folder, folder, TEXTS, files)
        # Qwen's own tokenizer composes to NFC first; llama.cpp leaves that to the caller
        composed = [unicodedata.normalize("NFC", text) for text in TEXTS]
        ids |= _tokenize(node_folder, folder, composed, {"qwen2": files["qwen2"]})
    _write("vocabularies.json", vocabularies)
    _write("vectors.json", {"texts": TEXTS, "ids": ids})


def _tokenize(
    node_folder: Path, folder: Path, texts: list[str], files: dict[str, Path]
) -> dict[str, list]:
    script = shutil.copy(DATA / "make_vectors.mjs", node_folder)
    (folder / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    command = ["node", str(script), str(folder / "texts.json"), str(folder / "ids.json")]
    command += [f"{name}={file}" for name, file in files.items()]
    subprocess.run(command, check=True)
    return json.loads((folder / "ids.json").read_text(encoding="utf-8"))


def _write(name: str, value: object) -> None:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (DATA / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
