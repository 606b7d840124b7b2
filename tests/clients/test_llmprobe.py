"""What the conformance suite `llmprobe` says of the daemon, with a model that knows nothing."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import ANSWER_SECONDS, Environments
from tests.support.daemon_process import DaemonProcess, running_daemon
from tests.support.talkative_model import make_talkative_model

pytestmark = pytest.mark.slow

# Enough for its checks of the server. What comes after them asks how clever the model is.
TOKENS = 60_000

LATER = {"embeddings", "vision"}
CLEVER = {"responses-chain-remembers"}
"""What only a model that remembers a name can pass; tests/e2e/test_responses.py has our part."""


@pytest.fixture(scope="module")
def talkative_daemon() -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        make_talkative_model(home / "models" / "talkative")
        with running_daemon(home, "--model", "talkative", "--max-tokens", "100") as daemon:
            yield daemon


@pytest.fixture(scope="module")
def report(environments: Environments, talkative_daemon: DaemonProcess) -> dict[str, Any]:
    command = [environments.node_command("llmprobe"), talkative_daemon.url.removeprefix("http://")]
    command += ["-m", "talkative", "--no-bench", "--no-save", "--json", "--budget", str(TOKENS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_every_must_holds(report: dict[str, Any]) -> None:
    results = report["conformance"]["results"]
    failures = [failure for result in results for failure in result["failures"]]
    broken = {failure["id"] for failure in failures if failure["severity"] == "MUST"}
    assert broken <= CLEVER
    assert report["conformance"]["total"] >= 70


def test_it_finds_everything_that_there_is(report: dict[str, Any]) -> None:
    tiers = {tier["tier"]: tier for tier in report["coverage"]["byTier"]}
    assert not tiers["core"]["missing"]
    assert set(tiers["extended"]["missing"]) <= LATER
