"""`mlxctl pull` with a real daemon, from a hub on this machine that stops in the middle."""

import hashlib
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import mlx.core as mx
import pytest

from mlxd.hub.partial_file import bytes_here
from mlxd.hub.staging import Staging
from tests.fakes.hub import Break, FakeHub, Hold, Refuse, Wrong, fake_hub
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until
from tests.support.mlxctl_process import finish, mlxctl

pytestmark = pytest.mark.slow

REPO = "acme/tiny"
PADDING = "model-padding.safetensors"
# Which mlx_lm's llama drops, so that the model may be larger than what sockets buffer.
DROPPED = "model.layers.0.self_attn.rotary_emb.inv_freq"

Files = dict[str, bytes]
RunDaemon = Callable[[], AbstractContextManager[DaemonProcess]]


@pytest.fixture(scope="module")
def files(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The tiny model with 12 MB more."""
    padding = tmp_path_factory.mktemp("padding") / PADDING
    mx.save_safetensors(str(padding), {DROPPED: mx.random.normal((3_000_000,))})
    return {file.name: file.read_bytes() for file in (*tiny_model.iterdir(), padding)}


@pytest.fixture
def hub(files: Files) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.repos[REPO].commit(files)
        yield hub


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        yield Path(folder)


def daemon_of(home: Path, hub: FakeHub, **environ: str) -> AbstractContextManager[DaemonProcess]:
    reach = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "HF_HOME": str(home / "hf")}
    return running_daemon(home, **reach, **environ)


@pytest.fixture
def run_daemon(home: Path, hub: FakeHub) -> RunDaemon:
    """Return a function that starts a daemon with that hub, no token and one connection."""
    return lambda: daemon_of(home, hub, MLXD_HUB__CONNECTIONS="1")


@pytest.fixture
def daemon(run_daemon: RunDaemon) -> Iterator[DaemonProcess]:
    with run_daemon() as daemon:
        yield daemon


def pulls(daemon: DaemonProcess) -> list[dict]:
    return daemon.local.get("/control/v1/pulls").json()["pulls"]


def wait_for_part(home: Path, size: int) -> None:
    """Wait until `size` bytes of the file that is held back have come."""
    folder = home / "models" / ".pulls" / "acme--tiny"

    def has_come() -> bool:
        return any(bytes_here(part) == size for part in folder.glob("*.part"))

    wait_until(has_come, f"{size} bytes are here")


def installed(home: Path) -> Files:
    folder = home / "models" / REPO
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.name[0] != "."}


def is_there(home: Path) -> bool:
    return (home / "models" / REPO).is_dir()


def sizes(files: Files) -> dict[str, int]:
    return {name: len(content) for name, content in files.items()}


def test_a_pulled_model_is_installed_and_answers(
    daemon: DaemonProcess, home: Path, hub: FakeHub, files: Files
) -> None:
    status, out, err = finish(mlxctl(home, "pull", REPO))
    assert status == 0, err
    assert out == f"downloaded {REPO}: 12 MB in {home}/models/{REPO}\n"
    assert installed(home) == files
    reply = daemon.local.post("/v1/completions", json={"model": REPO, "prompt": "hi"})
    assert reply.json()["model"] == REPO
    address = f"{hub.url}/{REPO}/tree/main?library=mlx"
    assert finish(mlxctl(home, "pull", address))[1].startswith(f"{REPO} is up to date")
    assert finish(mlxctl(home, "pull"))[1] == "no downloads\n"


def test_the_next_daemon_resumes_a_pull_without_fetching_bytes_twice(
    run_daemon: RunDaemon, home: Path, hub: FakeHub, files: Files
) -> None:
    half = len(files[PADDING]) // 2
    hub.fails(PADDING, Hold(after=half))
    with run_daemon() as daemon:
        client = mlxctl(home, "pull", REPO)
        wait_for_part(home, half)
        daemon.stop(signal.SIGKILL)
        status, _, err = finish(client)
        assert (status, "Traceback" in err) == (1, False)
    assert not is_there(home)

    with run_daemon() as daemon:
        wait_until(lambda: is_there(home), "the model is there without being asked for again")
        hashes = {name: hashlib.sha256(content).digest() for name, content in files.items()}
        assert hashes == {
            name: hashlib.sha256(content).digest() for name, content in installed(home).items()
        }
        assert dict(hub.sent) == sizes(files)
        chat = {"model": REPO, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        reply = daemon.local.post("/v1/chat/completions", json=chat)
        assert reply.json()["choices"][0]["message"]["content"]


def test_a_daemon_that_stops_says_that_it_will_resume(
    run_daemon: RunDaemon, home: Path, hub: FakeHub, files: Files
) -> None:
    hub.fails(PADDING, Hold(after=1000))
    with run_daemon() as daemon:
        client = mlxctl(home, "pull", REPO)
        wait_for_part(home, 1000)
        assert daemon.stop() == 0
        status, _, err = finish(client)
        assert (status, "it resumes the download when it is back" in err) == (1, True)
    with run_daemon():
        wait_until(lambda: is_there(home), "the model is there")
    assert dict(hub.sent) == sizes(files)


def test_two_pulls_are_one_download(
    daemon: DaemonProcess, home: Path, hub: FakeHub, files: Files
) -> None:
    hold = Hold(after=1000)
    hub.fails(PADDING, hold)
    clients = [mlxctl(home, "pull", REPO, "--json")]
    wait_for_part(home, 1000)
    clients += [mlxctl(home, "pull", REPO, "--json") for _ in range(2)]
    refused = finish(mlxctl(home, "pull", f"{REPO}@other"))
    assert (refused[0], f"{REPO} is being pulled" in refused[2]) == (1, True)
    hold.go_on.set()
    replies = [finish(client) for client in clients]
    assert [status for status, _, _ in replies] == [0, 0, 0]
    assert len({json.loads(out)["commit"] for _, out, _ in replies}) == 1
    assert dict(hub.sent) == sizes(files)


def test_ctrl_c_leaves_the_download_running(
    daemon: DaemonProcess, home: Path, hub: FakeHub
) -> None:
    hold = Hold(after=1000)
    hub.fails(PADDING, hold)
    client = mlxctl(home, "pull", REPO)
    wait_for_part(home, 1000)
    client.send_signal(signal.SIGINT)
    status, _, err = finish(client)
    assert status == -signal.SIGINT
    assert "the download continues in the daemon" in err
    assert "Traceback" not in err
    listed = finish(mlxctl(home, "pull"))[1]
    assert "downloading" in listed
    hold.go_on.set()
    wait_until(lambda: is_there(home), "the model is there")


def test_cancel_ends_the_pull_and_removes_its_files(
    daemon: DaemonProcess, home: Path, hub: FakeHub
) -> None:
    hub.fails(PADDING, Hold(after=1_000_000))
    client = mlxctl(home, "pull", REPO)
    wait_for_part(home, 1_000_000)
    status, out, _ = finish(mlxctl(home, "pull", REPO, "--cancel"))
    assert (status, out) == (0, f"cancelled the download of {REPO}; deleted 1.0 MB\n")
    assert finish(client)[::2] == (1, f"mlxctl: the pull of {REPO} was cancelled\n")
    assert os.listdir(home / "models" / ".pulls") == []
    assert pulls(daemon) == []
    status, _, err = finish(mlxctl(home, "pull", REPO, "--cancel"))
    assert (status, err) == (1, f"mlxctl: {REPO} is not being pulled\n")


def test_a_failed_pull_is_listed_until_it_is_asked_for_again(
    run_daemon: RunDaemon, home: Path, hub: FakeHub, files: Files
) -> None:
    hub.fails(PADDING, Wrong(), Wrong())
    with run_daemon():
        status, _, err = finish(mlxctl(home, "pull", REPO))
        assert (status, "a wrong hash twice" in err) == (1, True)
    with run_daemon() as daemon:
        (failed,) = pulls(daemon)
        assert failed["state"] == "failed"
        assert "wrong hash" in failed["cause"]
        assert failed["bytes_done"] == len(files["config.json"]) + sum(
            len(content) for name, content in files.items() if name.startswith("tokenizer")
        )
        assert not is_there(home)
        assert finish(mlxctl(home, "pull", REPO))[0] == 0
    assert hub.sent["config.json"] == len(files["config.json"])


def test_a_refusal_is_one_line_and_leaves_no_files(
    daemon: DaemonProcess, home: Path, hub: FakeHub
) -> None:
    hub.repos["acme/gguf"].commit({"a.gguf": b"GGUF"})
    for name, why in {
        "acme/gguf": "is not an MLX model: it has GGUF files",
        "acme/none": "there is no model acme/none",
        "no such/name": "is not a repository name",
        "../tiny": "is not a repository name",
        "acme/tiny@": "after the @",
        f"{hub.url}/datasets/acme/tiny": "is a data set, not a model",
    }.items():
        status, out, err = finish(mlxctl(home, "pull", name))
        *tries, refused = err.splitlines()  # on a busy machine it may be told that it tries again
        assert (status, out) == (1, "")
        assert why in refused
        assert all("next try in" in line for line in tries)
    assert pulls(daemon) == []
    assert not any((home / "models" / ".pulls").iterdir())
    whole = daemon.local.post("/control/v1/pull", json={"model": "acme/gguf"})
    assert (whole.status_code, whole.json()["error"]["code"]) == (400, "pull_refused")


def test_retries_are_shown(daemon: DaemonProcess, home: Path, hub: FakeHub, files: Files) -> None:
    hub.fails(PADDING, Break(after=6_000_000), Refuse(503))
    status, _, err = finish(mlxctl(home, "pull", REPO))
    assert status == 0
    assert "the connection to the hub broke; next try in 1 s" in err
    assert "the hub answered with status 503; next try in 2 s" in err
    assert dict(hub.sent) == sizes(files)


def test_several_connections_fetch_no_byte_twice_after_the_daemon_was_killed(
    home: Path, hub: FakeHub, files: Files
) -> None:
    large = {**files, PADDING: os.urandom(40_000_000)}
    hub.repos[REPO].commit(large)
    hub.rate = 4_000_000
    staging = Staging(home / "models", REPO)
    with daemon_of(home, hub) as daemon:
        client = mlxctl(home, "pull", REPO)
        wait_until(lambda: staging.size_bytes() > 20_000_000, "half of it is here")
        daemon.stop(signal.SIGKILL)
        assert finish(client)[0] == 1
    wait_until(lambda: hub.at_once == 0, "the download process has ended")
    assert hub.most_at_once >= 4
    here, sent = staging.size_bytes(), len(hub.served)

    hub.rate = 0
    with daemon_of(home, hub):
        wait_until(lambda: is_there(home), "the model is there")
    assert installed(home) == large
    fetched = sum(end - start for _, start, end in hub.served[sent:])
    assert fetched == sum(sizes(large).values()) - here
