"""What the daemon and its processes write is their user's alone, whatever the umask of the shell.

So nobody else on the machine reads a prompt, an answer, a key or a model.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.fakes.hub import FakeHub, Hold, fake_hub
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until
from tests.support.mlxctl_process import finish, mlxctl

pytestmark = pytest.mark.slow

REPO = "acme/tiny"
WEIGHTS = "model.safetensors"
EXPECTED = (
    "cache/prompts",
    "keys.json",
    "logs/mlxd.log",
    f"models/{REPO}/{WEIGHTS}",
    "models/.pulls",
    "responses",
    "run/mlxd.sock",
    "settings.toml",
)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.repos[REPO].commit({file.name: file.read_bytes() for file in tiny_model.iterdir()})
        yield hub


@pytest.fixture
def daemon(hub: FakeHub) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder, umask(0):
        home = Path(folder)
        reach = {"HF_ENDPOINT": hub.url, "HF_TOKEN": "", "HF_HOME": str(home / "hf")}
        log = str(home / "logs" / "mlxd.log")
        with running_daemon(home, "--log-file", log, **reach) as daemon:
            yield daemon


def open_to_others(home: Path) -> dict[str, str]:
    """Return the modes of what others may read, write or enter."""
    modes = {file: file.lstat().st_mode for file in home.rglob("*") if not file.is_symlink()}
    return {
        str(file.relative_to(home)): oct(mode)
        for file, mode in modes.items()
        if mode & 0o077 and file.name != "daemon.out"  # which this test has made
    }


def umasks(daemon: DaemonProcess) -> dict[str, str]:
    """Return the umask of the daemon and of each of its processes, by its command line."""
    found = {}
    top = psutil.Process(daemon.process.pid)
    for process in (top, *top.children(recursive=True)):
        status = Path(f"/proc/{process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("Umask:")]
        found[" ".join(process.cmdline()[1:])] = line.split()[1]
    return found


def cached(daemon: DaemonProcess) -> int:
    """Return how many bytes of prompts are on the disk."""
    return daemon.local.get("/control/v1/cache").json()["size_bytes"]


def test_nothing_is_open_to_others(daemon: DaemonProcess, hub: FakeHub) -> None:
    home = daemon.home
    hub.fails(WEIGHTS, hold := Hold(after=1000))
    pulling = mlxctl(home, "pull", REPO)
    wait_until(lambda: [*(home / "models" / ".pulls").glob("*/*.part")], "a part of it has come")
    if Path("/proc").exists():
        assert set(umasks(daemon).values()) == {"0077"}
        assert len(umasks(daemon)) > 1
    assert open_to_others(home) == {}
    hold.go_on.set()
    assert finish(pulling)[0] == 0

    body = {"model": REPO, "input": "Once " * 300, "max_output_tokens": 5}
    assert daemon.local.post("/v1/responses", json=body).status_code == 200
    for words in (("key", "create", "guest"), ("alias", "other", REPO)):
        assert finish(mlxctl(home, *words))[0] == 0
    wait_until(lambda: cached(daemon), "the prompt is on the disk")
    if Path("/proc").exists():
        assert set(umasks(daemon).values()) == {"0077"}
        assert len(umasks(daemon)) > 1
    assert [name for name in EXPECTED if not (home / name).exists()] == []
    assert open_to_others(home) == {}
