"""The Responses API with the `openai` package for JavaScript, unchanged."""

import json
import tempfile
from pathlib import Path

import pytest

from tests.clients.conftest import Environments
from tests.support.daemon_process import running_daemon
from tests.support.talkative_model import make_talkative_model

pytestmark = pytest.mark.slow


def test_openai_for_javascript(environments: Environments) -> None:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        make_talkative_model(Path(folder) / "models" / "talkative")
        with running_daemon(Path(folder), "--model", "talkative") as daemon:
            node = environments.node_client(daemon, "responses.mjs")
            report = json.loads(node.run(f"{daemon.url}/v1", "talkative").splitlines()[-1])
    assert report["text"] == "".join(report["deltas"]) == report["later"][1]
    assert all(set(city) == {"name", "capital"} for city in report["schemas"])
    first, joined, count = report["joined"]
    assert (joined, count > 3) == (first, True)
    assert report["items"] == ["Hi"]
    assert report["gone"] == 404
