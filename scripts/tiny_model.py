"""Write the tiny random model that tests and benchmarks run: a llama too small to cost anything.

    python scripts/tiny_model.py DIR [--seed N] [--context N] [--marked]

Two layers, 64 wide, float32, over a vocabulary of 259 tokens: ids 0 to 255 are the bytes, then come
three special tokens. The output head knows printable ASCII only, so that greedy decoding gives one
character a token and never ends by itself: what is measured or tested is the server. A `--marked`
one has four more tokens, which mark thoughts and tool calls, and a template that knows both.
"""

import argparse
import json
import sys
from pathlib import Path

import mlx.core as mx
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL_IDS = {PAD: 256, START: 257, END: 258}
EOS_ID = SPECIAL_IDS[END]
VOCAB_SIZE = 259
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]

_WIDTH, _HEADS, _LAYERS, _FEED_FORWARD = 64, 2, 2, 128
_PRINTABLE = range(0x20, 0x7F)
_HEAD_GAIN = 4.0  # keeps sampling at temperature 1 mostly within printable ASCII

_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_MARKED_CHAT_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n"
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"
    "Call them in <tool_call></tool_call>.<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for tool_call in message.tool_calls or [] %}"
    "{% set tool_call = tool_call.function %}"
    "<tool_call>{{ tool_call.name }} {{ tool_call.arguments | tojson }}</tool_call>"
    "{% endfor %}<|im_end|>\n"
    "{% endfor %}"
    "{% if reasoning_effort %}<|im_start|>effort\n{{ reasoning_effort }}<|im_end|>\n{% endif %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking %}<think>\n{% endif %}{% endif %}"
)


def make_tiny_model(
    path: Path, *, seed: int = 0, context_length: int = 4096, marked: bool = False
) -> Path:
    """Write the model into the folder `path`, made when absent, and give `path` back.

    Equal seeds give equal weights; `context_length` is in tokens. A `marked` one has MARKS.
    """
    path.mkdir(parents=True, exist_ok=True)
    vocabulary = VOCAB_SIZE + (len(MARKS) if marked else 0)
    weights = _weights(seed, vocabulary)
    mx.save_safetensors(str(path / "model.safetensors"), weights, metadata={"format": "mlx"})
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": _WIDTH,
        "num_hidden_layers": _LAYERS,
        "intermediate_size": _FEED_FORWARD,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "vocab_size": vocabulary,
        "max_position_embeddings": context_length,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "eos_token_id": EOS_ID,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": context_length,
        "clean_up_tokenization_spaces": False,
        "chat_template": _MARKED_CHAT_TEMPLATE if marked else _CHAT_TEMPLATE,
    }
    _write_json(path / "config.json", config)
    _write_json(path / "tokenizer_config.json", tokenizer_config)
    _tokenizer(MARKS if marked else []).save(str(path / "tokenizer.json"))
    return path


def _write_json(path: Path, value: dict[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _weights(seed: int, vocabulary: int) -> dict[str, mx.array]:
    keys = iter(mx.random.split(mx.random.key(seed), 2 + 7 * _LAYERS))

    def matrix(rows: int, columns: int, gain: float = 1.0) -> mx.array:
        return mx.random.normal((rows, columns), scale=gain * columns**-0.5, key=next(keys))

    weights = {
        "model.embed_tokens.weight": matrix(vocabulary, _WIDTH, _WIDTH**0.5),
        "model.norm.weight": mx.ones(_WIDTH),
    }
    ids = mx.arange(vocabulary)
    printable = (ids >= _PRINTABLE.start) & (ids < _PRINTABLE.stop)
    weights["lm_head.weight"] = mx.where(
        printable[:, None], matrix(vocabulary, _WIDTH, _HEAD_GAIN), 0.0
    )
    for layer in range(_LAYERS):
        prefix = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            weights[f"{prefix}self_attn.{name}.weight"] = matrix(_WIDTH, _WIDTH, 2.0)
        weights[f"{prefix}mlp.gate_proj.weight"] = matrix(_FEED_FORWARD, _WIDTH)
        weights[f"{prefix}mlp.up_proj.weight"] = matrix(_FEED_FORWARD, _WIDTH)
        weights[f"{prefix}mlp.down_proj.weight"] = matrix(_WIDTH, _FEED_FORWARD)
        weights[f"{prefix}input_layernorm.weight"] = mx.ones(_WIDTH)
        weights[f"{prefix}post_attention_layernorm.weight"] = mx.ones(_WIDTH)
    return weights


def _tokenizer(marks: list[str]) -> Tokenizer:
    characters = _byte_characters()
    vocabulary = {character: byte for byte, character in enumerate(characters)} | SPECIAL_IDS
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in SPECIAL_IDS]
    )
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in marks])
    return tokenizer


def _byte_characters() -> list[str]:
    """The character that byte-level BPE writes for each byte, as GPT-2 defined it."""
    shown = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in shown else next(hidden)) for byte in range(256)]


def main(arguments: list[str] | None = None) -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="tiny_model", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dir", type=Path, metavar="DIR", help="the folder to write")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights (0)")
    parser.add_argument("--context", type=int, default=4096, help="context length in tokens (4096)")
    parser.add_argument("--marked", action="store_true", help="with marks for thoughts and calls")
    options = parser.parse_args(arguments)
    path = make_tiny_model(
        options.dir, seed=options.seed, context_length=options.context, marked=options.marked
    )
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
