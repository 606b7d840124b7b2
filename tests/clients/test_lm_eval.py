"""lm-evaluation-harness gets from the daemon the log-likelihoods that mlx-lm's logits have."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import pytest

from tests.clients.conftest import ANSWER_SECONDS, Environments
from tests.support.daemon_process import running_daemon

pytestmark = pytest.mark.slow

TASK = Path(__file__).with_name("lm_eval")


@pytest.fixture
def samples(environments: Environments, tiny_model: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """What the evaluation of ten questions recorded; each has four answers to choose from."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny").symlink_to(tiny_model)
    with running_daemon(tmp_path) as daemon:
        model = f"base_url={daemon.url}/v1/completions,model=tiny,tokenizer={tiny_model}"
        command = [environments.command("client-lm-eval", "lm_eval")]
        command += ["--model", "local-completions", "--model_args"]
        command += [f"{model},tokenizer_backend=huggingface,num_concurrent=4"]
        command += ["--tasks", "ten_questions", "--include_path", "."]
        command += ["--output_path", tmp_path / "out", "--log_samples"]
        offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
        done = subprocess.run(
            command,
            cwd=TASK,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **offline},
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
        )
        assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "out").glob("*/samples_ten_questions_*.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_ten_questions(samples: list[dict[str, Any]], tiny_model: Path) -> None:
    model, tokenizer, *_ = mlx_lm.load(str(tiny_model))

    def log_likelihood(question: str, answer: str) -> tuple[float, bool]:
        begin, tokens = len(tokenizer.encode(question)), tokenizer.encode(question + answer)
        logits = model(mx.array([tokens[:-1]]))[0]
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        places = range(begin - 1, len(tokens) - 1)
        greedy = all(mx.argmax(logits[place]).item() == tokens[place + 1] for place in places)
        return sum(logprobs[place, tokens[place + 1]].item() for place in places), greedy

    assert len(samples) == 10
    for sample in samples:
        answers = [pair.values() for pair in sample["arguments"].values()]
        found = [(float(value), greedy == "True") for value, greedy in sample["filtered_resps"]]
        wanted = [log_likelihood(*answer) for answer in answers]
        assert [value for value, _ in found] == pytest.approx([v for v, _ in wanted], abs=1e-3)
        assert [greedy for _, greedy in found] == [greedy for _, greedy in wanted]
