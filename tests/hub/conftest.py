"""Downloads in this process, from a hub on this machine and with short retries."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub import close_session

from mlxd.control_api import PullReply, PullStatus
from mlxd.hub.download import Download
from mlxd.hub.meter import Meter
from mlxd.hub.reference import parse
from mlxd.hub.repository import Repository
from mlxd.hub.retry import RetryPolicy
from mlxd.hub.staging import Pending, RepoFile, Staging
from tests.fakes.hub import FakeHub, fake_hub

IMPATIENT = RetryPolicy(first_pause=0.01, longest_pause=0.05, tries=4, first_tries=2)
CONFIG = b'{"model_type": "llama"}'
# Larger than what sockets buffer, and no two blocks of it alike.
WEIGHTS = b"".join(number.to_bytes(4, "big") for number in range(1_000_000))
TINY = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "tokenizer.json": b"{}"}


def unchecked(_repo: str, _files: Sequence[RepoFile], _folder: Path) -> None:
    """Take any tokenizer, as that of TINY is none."""


@dataclass
class Puller:
    """Pulls as the download process does; `reports` are its progress."""

    hub: FakeHub
    models_dir: Path
    check: Callable[[str, Sequence[RepoFile], Path], None] = unchecked
    connections: int = 8
    silence: float = 0.3
    policy: RetryPolicy = IMPATIENT
    reports: list[PullStatus] = field(default_factory=list)

    def __call__(self, name: str = "acme/tiny", memory_limit: int = 10**9) -> PullReply:
        reference = parse(name)
        self.staging(reference.repo).write(Pending(reference))  # as the daemon does
        repository = Repository(reference, self.hub.url, silence=self.silence)
        meter = Meter(reference, self.reports.append)
        options = (memory_limit, meter, self.connections, self.policy, self.check)
        return Download(repository, self.models_dir, *options).run()

    def staging(self, repo: str = "acme/tiny") -> Staging:
        return Staging(self.models_dir, repo)

    def notes(self) -> list[str]:
        return [status.cause for status in self.reports if status.cause]


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a model folder that are not hidden."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """A hub with the repository acme/tiny; no user is logged in."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    with fake_hub() as hub:
        hub.repos["acme/tiny"].commit(TINY)
        yield hub
        close_session()


@pytest.fixture
def pull(hub: FakeHub, tmp_path: Path) -> Puller:
    return Puller(hub, tmp_path / "models")
