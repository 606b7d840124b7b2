"""Adapters, draft models and chat templates of requests and of `[model."ID"]`, on real engines."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx
import pytest

from scripts.tiny_model import make_tiny_model
from tests.support.adapters import make_adapter
from tests.support.daemon_process import DaemonProcess, running_daemon

pytestmark = pytest.mark.slow

PROMPTS = ["Ahoy", "once upon a time", "x" * 90, '{"a": 1, "b": 1, "a": 1, "b":']
CONFIG = """
[model.sailor]
adapter = "pirate"

[model.hasty]
draft_model = "drafter"
num_draft_tokens = 4

[model.forgetful]
draft_model = "gone"

[model.bare]
adapter = "gone"

[model.mismatched]
draft_model = "foreign"

[model.terse]
chat_template = "{{ messages[0].content }}{{ tail }}"
chat_template_args = { tail = "!" }

[model.nobody]
num_draft_tokens = 1
"""


@pytest.fixture(scope="module")
def home(tiny_model: Path) -> Iterator[Path]:
    """One model under several ids, a model with other weights, one with other tokens, a LoRA."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        models = home / "models"
        models.mkdir()
        for name in ("tiny", "sailor", "hasty", "forgetful", "bare", "mismatched", "terse"):
            (models / name).symlink_to(tiny_model)
        make_tiny_model(models / "drafter", seed=1)
        make_model_with_one_more_token(models / "foreign", tiny_model)
        make_adapter(home / "adapters" / "pirate", tiny_model)
        make_useless_adapter(home / "adapters" / "useless")
        (home / "config.toml").write_text(CONFIG)
        yield home


@pytest.fixture(scope="module")
def daemon(home: Path) -> Iterator[DaemonProcess]:
    with running_daemon(home) as daemon:
        yield daemon


def make_useless_adapter(folder: Path) -> None:
    """Write an adapter for another model."""
    folder.mkdir(parents=True)
    weights = {"model.layers.7.mlp.up_proj.lora_a": mx.ones((3, 3))}
    mx.save_safetensors(str(folder / "adapters.safetensors"), weights)
    lora = {"rank": 4, "scale": 10.0, "dropout": 0.0}
    config = {"fine_tune_type": "lora", "num_layers": 2, "lora_parameters": lora}
    (folder / "adapter_config.json").write_text(json.dumps(config))


def make_model_with_one_more_token(folder: Path, model_folder: Path) -> None:
    shutil.copytree(model_folder, folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["added_tokens"].append({**tokenizer["added_tokens"][-1], "id": 259, "content": "<x>"})
    file.write_text(json.dumps(tokenizer))


def ask(daemon: DaemonProcess, **fields: object) -> list[str]:
    """Return the greedy answers to PROMPTS."""
    body = {"model": "tiny", "prompt": PROMPTS, "max_tokens": 40, "temperature": 0, **fields}
    reply = daemon.local.post("/v1/completions", json=body)
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == body["model"]
    return [choice["text"] for choice in reply.json()["choices"]]


def refused(daemon: DaemonProcess, **fields: object) -> tuple[int, str | None, str]:
    """Return the status, param and message of the error that a request gets."""
    reply = daemon.local.post("/v1/completions", json={"model": "tiny", "prompt": "x", **fields})
    error = reply.json()["error"]
    return reply.status_code, error["param"], error["message"]


def listed_state(daemon: DaemonProcess) -> str:
    """Return the state of the tiny model in the list of models."""
    models = daemon.local.get("/control/v1/models").json()["models"]
    return next(model["state"] for model in models if model["id"] == "tiny")


@pytest.fixture(scope="module")
def plain(daemon: DaemonProcess) -> list[str]:
    """The answers of the model alone."""
    return ask(daemon)


def test_an_adapter_changes_only_the_answers_that_request_it(
    daemon: DaemonProcess, plain: list[str]
) -> None:
    adapted = ask(daemon, adapters="pirate")
    assert all(one != other for one, other in zip(adapted, plain, strict=True))
    running = [model for model in daemon.status()["models"] if model["state"] == "ready"]
    assert ("tiny", "pirate") in [(model["id"], model["adapter"]) for model in running]
    assert listed_state(daemon) == "ready"
    assert ask(daemon) == plain
    assert ask(daemon, adapters="pirate") == adapted


def test_a_chat_with_an_adapter_streams(daemon: DaemonProcess) -> None:
    messages = [{"role": "user", "content": "Ahoy"}]
    fields = {"messages": messages, "max_tokens": 20, "model": "tiny", "adapters": "pirate"}
    whole = daemon.local.post("/v1/chat/completions", json=fields).json()
    stream = daemon.local.post("/v1/chat/completions", json=fields | {"stream": True}).text
    data = [line.removeprefix("data: ") for line in stream.splitlines() if line[:5] == "data:"]
    assert data.pop() == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") or "" for event in data]
    assert "".join(deltas) == whole["choices"][0]["message"]["content"]


def test_a_configured_adapter_is_used_unless_the_request_overrides_it(
    daemon: DaemonProcess, plain: list[str]
) -> None:
    adapted = ask(daemon, adapters="pirate")
    assert ask(daemon, model="sailor") == adapted
    assert ask(daemon, model="sailor", adapters="default_model") == adapted
    assert ask(daemon, model="sailor", adapters="") == plain


def test_only_names_of_adapters_reach_the_disk(daemon: DaemonProcess, home: Path) -> None:
    pirate = home / "adapters" / "pirate"
    for name in ("gone", str(pirate), "../adapters/pirate", "..", "pirate/", "~/pirate"):
        status, param, message = refused(daemon, adapters=name)
        assert (status, param) == (400, "adapters")
        assert message.endswith("does not exist; installed: pirate, useless")


def test_an_adapter_is_not_a_model(daemon: DaemonProcess) -> None:
    listed = daemon.local.get("/v1/models").json()["data"]
    assert "pirate" not in {model["id"] for model in listed}
    assert refused(daemon, model="pirate")[:2] == (404, "model")


def test_an_adapter_for_another_model_is_an_error_and_the_model_stays_up(
    daemon: DaemonProcess, plain: list[str]
) -> None:
    status, _, message = refused(daemon, adapters="useless")
    assert status == 503
    assert message.startswith("tiny with adapter useless cannot be loaded: ")
    assert "not an adapter parameter in the model" in message
    assert ask(daemon) == plain
    assert listed_state(daemon) == "ready"


def test_a_missing_configured_adapter_is_an_error(daemon: DaemonProcess) -> None:
    status, _, message = refused(daemon, model="bare")
    assert status == 503
    assert message.startswith(
        "model.bare.adapter: adapter 'gone' does not exist; installed: pirate"
    )
    assert message in daemon.log(), "it was logged at startup"
    used = daemon.local.post("/control/v1/use", json={"model": "bare"})
    assert (used.status_code, used.json()["error"]["message"]) == (503, message)


@pytest.mark.parametrize("tokens", [1, 3, 8])
def test_a_draft_model_does_not_change_answers(
    daemon: DaemonProcess, plain: list[str], tokens: int
) -> None:
    assert ask(daemon, draft_model="drafter", num_draft_tokens=tokens) == plain
    assert ask(daemon, draft_model="sailor", num_draft_tokens=tokens) == plain


def test_a_draft_model_helps_a_model_with_an_adapter(daemon: DaemonProcess) -> None:
    adapted = ask(daemon, adapters="pirate")
    assert ask(daemon, adapters="pirate", draft_model="drafter") == adapted


def test_a_configured_draft_model_does_not_change_answers(
    daemon: DaemonProcess, plain: list[str]
) -> None:
    assert ask(daemon, model="hasty") == plain
    assert ask(daemon, model="hasty", num_draft_tokens=0) == plain


def test_a_missing_configured_draft_model_is_only_a_warning(
    daemon: DaemonProcess, plain: list[str]
) -> None:
    assert ask(daemon, model="forgetful") == plain
    warning = "model.forgetful.draft_model: model 'gone' does not exist"
    assert daemon.log().count(warning) == 2, "at startup, and for the request"


def test_a_draft_model_with_other_tokens_is_an_error_of_whoever_named_it(
    daemon: DaemonProcess, plain: list[str]
) -> None:
    status, param, message = refused(daemon, draft_model="foreign")
    assert (status, param) == (400, "draft_model")
    assert "foreign cannot be the draft model: its vocabulary differs" in message
    status, _, message = refused(daemon, model="mismatched")
    assert status == 503
    assert message.startswith("model.mismatched.draft_model: foreign cannot be the draft model")
    assert ask(daemon, model="mismatched", num_draft_tokens=0) == plain


@pytest.mark.parametrize("name", ["gone", "../drafter", "tiny/../drafter", "/drafter"])
def test_only_names_of_models_reach_the_disk(daemon: DaemonProcess, name: str) -> None:
    assert refused(daemon, draft_model=name)[:2] == (404, "draft_model")


def test_a_configured_chat_template_is_used_unless_the_request_overrides_it(
    daemon: DaemonProcess,
) -> None:
    def chat(**fields: object) -> str:
        messages = [{"role": "user", "content": "Ahoy"}]
        body = {"model": "terse", "messages": messages, "max_tokens": 20, **fields}
        reply = daemon.local.post("/v1/chat/completions", json=body)
        return reply.json()["choices"][0]["message"]["content"]

    shouted, asked = ask(daemon, prompt=["Ahoy!", "Ahoy?"], max_tokens=20)
    assert chat() == shouted
    assert chat(chat_template_kwargs={"tail": "?"}) == asked
    assert chat(chat_template="Ahoy?") == asked
    assert chat(model="tiny") not in (shouted, asked)


def test_a_table_for_an_unknown_model_is_logged(daemon: DaemonProcess) -> None:
    assert "model.nobody: there is no model with this ID" in daemon.log()
