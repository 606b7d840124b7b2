"""Tokenizers and chat templates from whichever files a folder has."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sentencepiece

from mlxd.engine.prompts import PromptReader
from mlxd.engine.tokenizer_loader import load_tokenizer, main
from mlxd.engine.tools import supports_tools
from mlxd.errors import LoadFailed
from mlxd.generate_request import ChatPrompt, Template

PLAIN = "{% for m in messages %}{{ m.content }}{% endfor %}"
WITH_TOOLS = "  {% for t in tools %}<tool_call>{{ t.function.name }}{% endfor %}tool_call.name\n"
BOTH = [{"name": "default", "template": PLAIN}, {"name": "tool_use", "template": WITH_TOOLS}]
TOOLS = [{"type": "function", "function": {"name": "look"}}]


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A model without a chat template."""
    folder = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    configure(folder, chat_template=None)
    return folder


def configure(folder: Path, **changes: Any) -> None:
    """Change the tokenizer's configuration; None removes a key."""
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: each for key, each in config.items() if each is not None}))


def rendered(folder: Path, tools: list[dict[str, Any]] | None = None) -> str:
    """Return the text of a prompt that says "hi"."""
    tokenizer = load_tokenizer(folder, {})
    prompt = ChatPrompt([{"role": "user", "content": "hi"}], Template())
    text: str = tokenizer.decode(PromptReader(tokenizer).read_chat(prompt, tools).tokens)
    return text


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("chat_template.jinja", PLAIN),
        ("chat_template.json", json.dumps({"chat_template": PLAIN})),  # Rapid-MLX#449
        ("chat_template.json", json.dumps({"chat_template": BOTH[:1]})),
        ("additional_chat_templates/rag.jinja", PLAIN),
    ],
)
def test_a_template_may_be_in_a_file_of_its_own(folder: Path, file: str, content: str) -> None:
    (folder / file).parent.mkdir(exist_ok=True)
    (folder / file).write_text(content)
    assert rendered(folder) == rendered(folder, TOOLS) == "hi"


@pytest.mark.parametrize("place", ["tokenizer_config.json", "chat_template.json", "additional"])
def test_of_templates_with_names_one_is_for_tools(folder: Path, place: str) -> None:
    """transformers#31429, and Hermes and Command R as they are on the hub."""
    if place == "tokenizer_config.json":
        configure(folder, chat_template=BOTH)
    elif place == "chat_template.json":
        (folder / place).write_text(json.dumps({"chat_template": BOTH}))
    else:
        configure(folder, chat_template=PLAIN)
        (folder / "additional_chat_templates").mkdir()
        (folder / "additional_chat_templates" / "tool_use.jinja").write_text(WITH_TOOLS)
    assert rendered(folder) == rendered(folder, []) == "hi"
    assert rendered(folder, TOOLS) == "<tool_call>looktool_call.name"
    tokenizer = load_tokenizer(folder, {})
    assert tokenizer.tool_call_start == "<tool_call>"
    assert supports_tools(tokenizer, Template())


def test_macros_of_named_templates_do_not_mix(folder: Path) -> None:
    """Those of Hermes call themselves."""
    deep = "{% macro show(x) %}{% for y in x %}{{ show(y) if y is sequence else y }}{% endfor %}"
    deep += "{% endmacro %}{{ show([[1], 2]) }}"
    flat = "{% macro show(x) %}flat{% endmacro %}{{ show(1) }}"
    names = {"tool_use": deep, "default": flat}
    templates = [{"name": name, "template": text} for name, text in names.items()]
    configure(folder, chat_template=templates)
    assert (rendered(folder), rendered(folder, TOOLS)) == ("flat", "12")


def test_a_template_for_transformers_comes_before_that_of_a_processor(folder: Path) -> None:
    configure(folder, chat_template=PLAIN)
    (folder / "chat_template.json").write_text('{"chat_template": "other"}')
    assert rendered(folder) == "hi"


def without_tokenizer(folder: Path) -> Path:
    (folder / "tokenizer.json").unlink()
    return folder


def test_a_sentencepiece_model_is_enough(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("the quick brown fox\n" * 9)
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(without_tokenizer(folder) / "tokenizer"),
        vocab_size=300,
        model_type="bpe",
        byte_fallback=True,
        minloglevel=2,
    )
    configure(folder, tokenizer_class="LlamaTokenizer", eos_token="</s>", pad_token=None)
    tokenizer = load_tokenizer(folder, {})
    assert tokenizer.decode(tokenizer.encode("the fox é")) == "the fox é"
    assert tokenizer.eos_token_ids == {2}


def test_a_tekken_file_is_enough(folder: Path) -> None:
    """vmlx-swift#85; its special tokens come first, and a text begins with one."""
    (without_tokenizer(folder) / "tokenizer_config.json").unlink()
    pieces = [bytes([byte]) for byte in range(256)] + [b"th", b"the"]
    special = ["<unk>", "<s>", "</s>", "[INST]"]
    tekken = {
        "config": {
            "pattern": r"\p{L}+|\p{N}|[^\p{L}\p{N}]+",
            "num_vocab_tokens": len(pieces),
            "default_vocab_size": len(pieces) + len(special),
            "default_num_special_tokens": len(special),
            "version": "v7",
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(piece).decode(), "token_str": None}
            for rank, piece in enumerate(pieces)
        ],
        "special_tokens": [
            {"rank": rank, "token_str": text, "is_control": True}
            for rank, text in enumerate(special)
        ],
    }
    (folder / "tekken.json").write_text(json.dumps(tekken))
    tokenizer = load_tokenizer(folder, {})
    assert tokenizer.encode("the") == [1, len(special) + pieces.index(b"the")]
    assert tokenizer.encode("[INST]", add_special_tokens=False) == [3]
    assert tokenizer.eos_token_ids == {2}


def test_a_tokenizer_with_its_own_code_needs_trust(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    auto_map = {"AutoTokenizer": [None, "mine.MyTokenizer"]}
    configure(folder, tokenizer_class="MyTokenizer", auto_map=auto_map)
    told = "its tokenizer cannot be loaded: it needs Python code of the model's own, which is not"
    with pytest.raises(LoadFailed, match=told):
        load_tokenizer(folder, {}, trusted=True)
    code = "from transformers import PreTrainedTokenizerFast as Base\nclass MyTokenizer(Base): pass"
    (folder / "mine.py").write_text(code)
    monkeypatch.setattr("sys.argv", ["", str(folder)])
    main()
    assert capsys.readouterr().out.startswith(told)
    assert load_tokenizer(folder, {}, trusted=True).encode("a") == [97]


def test_code_that_is_not_needed_may_be_missing(folder: Path) -> None:
    configure(folder, auto_map={"AutoTokenizer": [None, "mine.MyTokenizer"]})
    assert load_tokenizer(folder, {}, trusted=True).encode("a") == [97]


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "there is none in its files that transformers can read"),
        ({"qwen.tiktoken": "YQ== 0"}, "there is none in its files"),
        ({"tiktoken.model": "YQ== 0"}, "it is a tiktoken file, which transformers cannot read"),
        ({"tokenizer.json": "{"}, "Failed to parse tokenizer.json"),
        ({"tokenizer.json": "{}"}, "KeyError: 'added_tokens'"),
    ],
)
def test_any_other_is_refused_in_one_line(folder: Path, files: dict[str, str], why: str) -> None:
    without_tokenizer(folder)
    for name, text in files.items():
        (folder / name).write_text(text)
    with pytest.raises(LoadFailed, match=f"its tokenizer cannot be loaded: {why}") as caught:
        load_tokenizer(folder, {})
    assert "\n" not in caught.value.message


def test_a_broken_tokenizer_is_one_line(folder: Path) -> None:
    """The library of tokenizers raises nothing but `Exception`."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text())
    content["model"]["merges"] = [["a", "b"]]
    file.write_text(json.dumps(content))
    with pytest.raises(LoadFailed, match=r"^its tokenizer cannot be loaded: .*`ab`"):
        load_tokenizer(folder, {})
