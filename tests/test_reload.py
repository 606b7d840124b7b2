"""A running daemon reads its configuration again: `mlxctl reload`, and SIGHUP."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxd.config import Config, ModelsConfig, ServerConfig, changed
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until


def test_which_keys_need_a_restart() -> None:
    new = Config(
        server=ServerConfig(port=1, max_queue=7, api_key="a-secret"),
        models=ModelsConfig(keep_alive=1, aliases={"a": "b"}),
    )
    taken, restart = changed(Config(), new)
    assert sorted(taken) == ["models.aliases", "models.keep_alive", "server.max_queue"]
    assert sorted(restart) == ["server.api_key", "server.port"]
    assert changed(new, new) == ([], [])


@pytest.fixture
def home(tiny_model: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models" / "tiny").symlink_to(tiny_model)
        yield Path(folder)


def reload(daemon: DaemonProcess) -> dict:
    return daemon.local.post("/control/v1/reload").json()


@pytest.mark.slow
def test_a_reload(home: Path) -> None:
    file = home / "config.toml"
    with running_daemon(home) as daemon:
        body = {"prompt": "hi", "max_tokens": 1}
        assert daemon.local.post("/v1/completions", json=body).status_code == 200
        assert reload(daemon) == {"taken": [], "restart": []}

        file.write_text(
            'models.keep_alive = "-1"\nmodels.aliases = { a = "tiny" }\nserver.port = 9'
        )
        reply = reload(daemon)
        assert sorted(reply["taken"]) == ["models.aliases", "models.keep_alive"]
        assert reload(daemon) == {"taken": [], "restart": reply["restart"]}
        assert daemon.local.post("/v1/completions", json={**body, "model": "a"}).status_code == 200
        assert daemon.status()["models"][0]["expires_in_s"] is None

        file.write_text("models.keep_alive = nonsense")
        assert "not valid TOML" in reload(daemon)["error"]["message"]
        assert daemon.local.get("/v1/models/a").json()["id"] == "tiny"

        file.write_text('models.aliases = { b = "tiny" }')
        os.kill(daemon.process.pid, signal.SIGHUP)
        wait_until(
            lambda: daemon.local.get("/v1/models/b").status_code == 200, "the alias is known"
        )
        assert daemon.local.get("/v1/models/a").status_code == 404
