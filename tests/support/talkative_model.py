"""A tiny random model that talks as real ones do: it closes what it opens, and it ends."""

import json
from pathlib import Path

import mlx.core as mx

from scripts.tiny_model import EOS_ID, make_tiny_model

_CONTENT = "{{ message['content'] }}"
_THOUGHTS = (
    "{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}"
)
_CLOSING = frozenset(b'"}]')


def make_talkative_model(path: Path, context_length: int = 16384) -> Path:
    """Write the model into the folder `path`, and return it; its template shows past thoughts.

    A greedy answer of the tiny model never ends, nor does a string in it.
    """
    make_tiny_model(path, context_length=context_length)
    file = path / "tokenizer_config.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["chat_template"] = tokenizer["chat_template"].replace(_CONTENT, _THOUGHTS + _CONTENT)
    file.write_text(json.dumps(tokenizer))
    weights = mx.load(str(path / "model.safetensors"))
    head = weights["lm_head.weight"]
    # The longer the row of a token, the likelier that it wins.
    gain = mx.array([2.0 if token in _CLOSING else 1.0 for token in range(head.shape[0])])
    width = head.shape[1]
    end = mx.random.normal((width,), scale=3.0 * width**-0.5, key=mx.random.key(2))
    ends = (mx.arange(head.shape[0]) == EOS_ID)[:, None]
    weights["lm_head.weight"] = mx.where(ends, end, head * gain[:, None])
    mx.eval(weights)
    mx.save_safetensors(str(path / "model.safetensors"), weights, metadata={"format": "mlx"})
    return path
