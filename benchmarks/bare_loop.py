"""The yardstick: mlx-lm's BatchGenerator in a loop, greedy, without server or detokenizing.

    echo '{"tokens": 400, "batches": [["a prompt", …], …]}' | python benchmarks/bare_loop.py MODEL

Runs one batch after the other in this process and prints, as JSON, for each batch a list with one
`{"prompt_tokens", "completion_tokens", "text_times"}` a prompt; times are in seconds after the
batch was handed over.
"""

import json
import sys
import time
from typing import Any

from mlx_lm.generate import BatchGenerator
from mlx_lm.utils import load

_WARM_UP_STREAMS, _WARM_UP_TOKENS = 4, 32  # as scenarios.Session does


def main() -> int:
    question = json.load(sys.stdin)
    model, tokenizer = load(sys.argv[1])
    batches = [[tokenizer.encode(text) for text in batch] for batch in question["batches"]]
    _run(
        model,
        tokenizer,
        [prompt[::-1] for prompt in batches[-1][:_WARM_UP_STREAMS]],
        _WARM_UP_TOKENS,
    )
    json.dump([_run(model, tokenizer, batch, question["tokens"]) for batch in batches], sys.stdout)
    return 0


def _run(model: Any, tokenizer: Any, prompts: list[list[int]], tokens: int) -> list[dict[str, Any]]:
    generator = BatchGenerator(model, stop_tokens=[[token] for token in tokenizer.eos_token_ids])
    started = time.perf_counter()
    uids = generator.insert(prompts, max_tokens=[tokens] * len(prompts))
    times: dict[int, list[float]] = {uid: [] for uid in uids}
    running = set(uids)
    while running:
        _, responses = generator.next()
        now = time.perf_counter() - started
        for response in responses:
            times[response.uid].append(now)
            if response.finish_reason is not None:
                running.discard(response.uid)
    generator.close()
    return [
        {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(times[uid]),
            "text_times": times[uid],
        }
        for uid, prompt in zip(uids, prompts, strict=True)
    ]


if __name__ == "__main__":
    sys.exit(main())
