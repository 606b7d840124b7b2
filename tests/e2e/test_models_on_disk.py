"""`mlxctl list`, `show`, `alias` and `rm` with a daemon and real models."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon

pytestmark = pytest.mark.slow

PART = "model.safetensors"
LISTED = """\
MODEL         SIZE    QUANT    CONTEXT  STATE
owner/copied  466 kB  float32  4096     unloaded
tiny          464 kB  float32  4096     unloaded

in the Hugging Face cache (read-only):
owner/cached  464 kB  float32  4096     unloaded

broken:
cut  {size}  partial: model.safetensors is cut short: {there} of {whole} bytes
"""


@pytest.fixture
def home(tiny_model: Path, marked_model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Models that are linked, copied and in the Hugging Face cache, and one that is cut short."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder).resolve()
        (home / "models").mkdir()
        (home / "models" / "tiny").symlink_to(tiny_model)
        shutil.copytree(marked_model, home / "models" / "owner" / "copied")
        shutil.copytree(tiny_model, home / "models" / "cut")
        os.truncate(home / "models" / "cut" / PART, 400_000)
        repository = home / "hub" / "models--owner--cached"
        shutil.copytree(tiny_model, repository / "snapshots" / "abc")
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text("abc")
        monkeypatch.setenv("HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setenv("MLXD_HOME", str(home))
        yield home


def mlxctl(*arguments: str) -> str:
    """Return what `mlxctl` prints, on either stream."""
    done = subprocess.run(
        [sys.executable, "-m", "mlxctl", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE,
    )
    return done.stdout


def answers(daemon: DaemonProcess, model: str) -> tuple[int, str]:
    """Ask `model`; return the status and the message of the error, if there is one."""
    body = {"model": model, "prompt": "x", "max_tokens": 1}
    reply = daemon.local.post("/v1/completions", json=body)
    return reply.status_code, reply.json().get("error", {}).get("message", "")


def test_models_on_disk_are_listed_shown_and_served(home: Path, tiny_model: Path) -> None:
    whole = (tiny_model / PART).stat().st_size
    size = sum(file.stat().st_size for file in (home / "models" / "cut").iterdir())
    expected = LISTED.format(size=f"{size // 1000} kB", there=400_000, whole=whole)
    with running_daemon(home) as daemon:
        assert mlxctl("list") == expected
        offered = [model["id"] for model in daemon.local.get("/v1/models").json()["data"]]
        assert offered == ["owner/cached", "owner/copied", "tiny"]
        shown = json.loads(mlxctl("show", "copied", "--json"))
        assert (shown["id"], shown["template"]) == (
            "owner/copied",
            {"tools": True, "thinking": True},
        )
        for name in ("owner/cached", "cached", "copied", "tiny"):
            assert answers(daemon, name) == (200, "")
        status, message = answers(daemon, "cut")
        assert (status, message.startswith("model 'cut' is broken: partial: ")) == (404, True)


def test_a_model_answers_by_any_of_its_names_and_as_its_template_file_says(
    home: Path, tiny_model: Path
) -> None:
    folder = Path(shutil.copytree(tiny_model, home / "models" / "Smol-4bit"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    template = config.pop("chat_template")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "x" * 99 + template}))
    (home / "models" / "Icon\r").write_text("")
    messages = [{"role": "user", "content": "hi"}]
    with running_daemon(home) as daemon:
        tokens = []
        for name in ("tiny", "acme/smol-4bit:latest", "https://hf.co/acme/Smol-4bit?library=mlx"):
            body = {"model": name, "messages": messages, "max_tokens": 1}
            reply = daemon.local.post("/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            tokens.append(reply.json()["usage"]["prompt_tokens"])
        assert [each - tokens[0] for each in tokens] == [0, 99, 99]
        assert json.loads(mlxctl("show", str(folder), "--json"))["id"] == "Smol-4bit"
        assert "is a data set, not a model" in mlxctl("load", "hf.co/datasets/acme/words")
        assert mlxctl("use", "hf://acme/smol-4bit").startswith("Smol-4bit is now the default")


def test_an_alias_works_at_once_and_after_a_restart(home: Path) -> None:
    (home / "config.toml").write_text('[models.aliases]\nsmall = "tiny"\n')
    with running_daemon(home) as daemon:
        assert mlxctl("alias", "gpt-4", "copied") == "gpt-4 is now an alias for owner/copied\n"
        assert answers(daemon, "gpt-4")[0] == answers(daemon, "small")[0] == 200
        daemon.stop()
    with running_daemon(home) as daemon:
        assert answers(daemon, "gpt-4")[0] == answers(daemon, "small")[0] == 200
        assert mlxctl("alias", "--rm", "gpt-4") == "removed the alias gpt-4\n"
        assert answers(daemon, "gpt-4")[0] == 404


def test_a_model_can_be_removed_once_it_is_unloaded(home: Path, tiny_model: Path) -> None:
    models = home / "models"
    with running_daemon(home) as daemon:
        assert answers(daemon, "copied")[0] == 200
        assert "owner/copied is in memory; unload it first: mlxctl unload owner/copied" in mlxctl(
            "rm", "-y", "copied"
        )
        mlxctl("unload", "copied")
        assert "cannot ask for confirmation without a terminal" in mlxctl("rm", "copied")
        assert (models / "owner" / "copied" / PART).is_file()
        assert mlxctl("rm", "-y", "copied").startswith("deleted owner/copied, ")
        assert mlxctl("rm", "-y", "cut").startswith("deleted cut, ")
        assert mlxctl("rm", "-y", "tiny") == f"deleted tiny, the link {models}/tiny\n"
        assert "hf cache rm model/owner/cached" in mlxctl("rm", "-y", "cached")
        assert answers(daemon, "owner/copied")[0] == 404
        assert os.listdir(models) == []
        assert (tiny_model / PART).is_file()


def test_the_next_daemon_finishes_a_removal(home: Path) -> None:
    (home / "models" / "cut").rename(home / "models" / ".removed-0123")
    with running_daemon(home):
        assert sorted(os.listdir(home / "models")) == ["owner", "tiny"]
