import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mlxd import model_flags
from mlxd.__main__ import main
from mlxd.config import Config, ModelsConfig, ModelSettings
from mlxd.errors import ConfigError
from tests.fakes.model_folder import add_model
from tests.support.adapters import make_adapter
from tests.support.daemon_process import running_daemon

THINK = {"chat_template_args": '{"enable_thinking": false}'}


@pytest.mark.slow
def test_mlxd_has_every_flag_of_mlx_lms_server() -> None:
    usage = subprocess.run(
        [sys.executable, "-m", "mlx_lm", "server", "--help"], capture_output=True, text=True
    ).stdout
    theirs = set(re.findall(r"^  (--[a-z-]+)", usage, re.MULTILINE))
    ours = {name for parameter in main.params for name in parameter.opts}
    assert len(theirs) > 20
    assert theirs <= ours


def test_templates_are_for_every_model() -> None:
    config = Config(model={"known": ModelSettings(keep_alive=5.0)})
    made = model_flags.apply(config, THINK)
    for name in ("known", "another"):
        assert made.for_model(name).chat_template_args == {"enable_thinking": False}
    assert made.for_model("known").keep_alive == 5.0


@pytest.mark.parametrize(
    ("configured", "meant"),
    [
        (ModelsConfig(default="tiny"), "owner/tiny"),
        (ModelsConfig(default="short", aliases={"short": "owner/tiny"}), "owner/tiny"),
        (ModelsConfig(), "owner/tiny"),
        (ModelsConfig(default="to-be-pulled"), "to-be-pulled"),
    ],
)
def test_a_draft_model_is_for_the_default_model(
    models: Path, configured: ModelsConfig, meant: str
) -> None:
    add_model(models / "owner" / "tiny")
    flags = {"draft_model": "small", "num_draft_tokens": 2}
    made = model_flags.apply(Config(models=configured), flags)
    own = made.for_model(meant)
    assert (own.draft_model, own.num_draft_tokens) == ("small", 2)
    assert made.for_model("another").draft_model == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"chat_template_args": "thinking=no"}, "--chat-template-args: expected a JSON object"),
        ({"chat_template_args": "[1]"}, "--chat-template-args: expected a JSON object"),
        ({"adapter": "/nowhere"}, "--adapter-path: /nowhere has no adapter_config.json"),
        ({"num_draft_tokens": 100}, "--num-draft-tokens: found 100, expected 0 to 64"),
        ({"draft_model": "small"}, "--draft-model needs a default model: give --model too"),
    ],
)
def test_a_mistake_is_named(models: Path, flags: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        model_flags.apply(Config(), flags)


def test_a_pipeline_needs_a_start_that_mlxd_does_not_have(models: Path) -> None:
    done = CliRunner().invoke(main, ["--pipeline"], env={"MLX_RANK": "0"})
    assert done.exit_code == 78
    assert "--pipeline" in done.output


@pytest.mark.slow
def test_a_command_of_mlx_lms_server_starts_the_daemon(tiny_model: Path) -> None:
    """`mlx_lm server --model … --adapter-path … --chat-template-args …` with another name."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        make_adapter(home / "pirate", tiny_model)
        flags = ["--model", str(tiny_model), "--adapter-path", str(home / "pirate")]
        flags += ["--chat-template", "{{ messages[0].content }}{{ mark }}"]
        flags += ["--chat-template-args", json.dumps({"mark": "123"}), "--pipeline"]
        flags += ["--prompt-cache-size", "10", "--log-level", "INFO", "--num-draft-tokens", "2"]
        with running_daemon(home, *flags) as daemon:
            body = {"messages": [{"role": "user", "content": "abc"}], "max_tokens": 9}
            reply = daemon.local.post("/v1/chat/completions", json=body).json()
            assert reply["usage"]["prompt_tokens"] == 6
            plain = daemon.local.post("/v1/chat/completions", json={**body, "adapters": ""}).json()
            assert plain["choices"][0]["message"] != reply["choices"][0]["message"]
