"""A running daemon reads its configuration again: `mlxctl reload`, and SIGHUP."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlxd.config import (
    Config,
    GenerationConfig,
    ModelsConfig,
    ModelSettings,
    ServerConfig,
    changed,
    merged,
)
from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon, wait_until


def test_which_keys_need_a_restart() -> None:
    old, new = (
        Config(
            server=ServerConfig(port=port, max_queue=7, tls_key="key.pem"),
            models=ModelsConfig(keep_alive=port, aliases={"a": "b"}),
        )
        for port in (1, 2)
    )
    assert changed(Config(), new) == (
        ["server.max_queue", "models.keep_alive", "models.aliases"],
        ["server.port", "server.tls_key"],
    )
    assert changed(new, new) == ([], [])
    assert changed(new, merged(old, new)) == ([], ["server.port"])
    assert changed(old, merged(old, new)) == (["models.keep_alive"], [])


def test_of_a_models_first_settings_only_those_that_differ_have_changed() -> None:
    hot = ModelSettings(generation=GenerationConfig(temperature=1.5))
    new = Config(model={"owner/name": hot})
    key = 'model."owner/name".generation.temperature'
    assert changed(Config(), new) == changed(new, Config()) == ([key], [])


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


@pytest.mark.slow
def test_who_may_ask_and_how_much_is_taken_without_a_restart(home: Path) -> None:
    file = home / "config.toml"

    def write(**keys: str) -> dict:
        file.write_text("".join(f"{name} = {value}\n" for name, value in keys.items()))
        return reload(daemon)

    def ask(key: str = "none", **headers: str) -> int:
        body = {"prompt": "hi", "max_tokens": 1}
        headers = {"authorization": f"Bearer {key}", **headers}
        url = f"{daemon.url}/v1/completions"
        return httpx.post(url, json=body, headers=headers, timeout=DEADLINE).status_code

    page = {"origin": "https://a.test"}
    with running_daemon(home) as daemon:
        assert (ask(), ask(**page), ask(host="box.test")) == (200, 403, 403)
        reply = write(
            **{
                "server.api_key": '"first-key"',
                "server.allowed_hosts": '["box.test"]',
                "server.allowed_origins": '["https://a.test"]',
                "server.max_body": '"1kB"',
                "limits.requests_per_minute": "2",
            }
        )
        assert (len(reply["taken"]), reply["restart"]) == (5, [])
        assert (ask(), ask("first-key", **page), ask("first-key", host="box.test")) == (
            401,
            200,
            200,
        )
        assert ask("first-key") == 429
        write(**{"server.api_key": '"second-key"', "server.max_body": "10"})
        assert (ask("first-key"), ask("second-key")) == (401, 413)


@pytest.mark.slow
def test_the_key_of_a_daemon_that_others_reach_stays(home: Path) -> None:
    file = home / "config.toml"
    file.write_text('server = { host = "0.0.0.0", api_key = "the-first-key" }')
    with running_daemon(home) as daemon:
        file.write_text("")  # which goes together, but 0.0.0.0 stays until a restart
        assert "can be reached from other machines" in reload(daemon)["error"]["message"]
        assert httpx.get(f"{daemon.url}/v1/models").status_code == 401
