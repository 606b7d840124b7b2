"""Whose requests the daemon has while it is measured."""

import pytest

from mlxctl.bench.watch import Watch
from mlxctl.errors import NotRunning
from mlxd.control_api import ModelStatus, Status


class ScriptedClient:
    """A daemon that has as many requests as it is told."""

    def __init__(self) -> None:
        self.requests = 0
        self.memory_bytes = 100
        self.runs = True

    def call(self, _endpoint: object) -> Status:
        if not self.runs:
            raise NotRunning
        model = ModelStatus(
            id="tiny",
            state="ready",
            requests=self.requests,
            memory_bytes=self.memory_bytes,
            prompt_cache_bytes=self.memory_bytes // 4,
        )
        paths = dict.fromkeys(("socket", "config", "settings", "models_dir", "adapters_dir"), "")
        return Status(running=True, log="", models=[model], **paths)


@pytest.fixture
def client() -> ScriptedClient:
    return ScriptedClient()


def test_others_before_the_first_own_request(client: ScriptedClient) -> None:
    client.requests = 2
    watch = Watch(client, "tiny")
    watch.look()
    assert watch.others == 2


def test_own_requests_are_not_those_of_others(client: ScriptedClient) -> None:
    watch = Watch(client, "tiny")
    watch.look()
    with watch.expecting(8):
        client.requests = 8
        watch.look()
    watch.look()  # they have not ended there
    watch.look()
    assert watch.others == 0


def test_requests_of_others_beside_own_ones(client: ScriptedClient) -> None:
    watch = Watch(client, "tiny")
    watch.look()
    with watch.expecting(8):
        client.requests = 11
        watch.look()
        watch.look()
    assert watch.others == 3


def test_memory(client: ScriptedClient) -> None:
    watch = Watch(client, "tiny")
    for taken in (100, 400, 200):
        client.memory_bytes = taken
        watch.look()
    client.runs = False
    assert watch.look() is None
    memory = watch.memory
    assert memory is not None
    assert (memory.ready_bytes, memory.peak_bytes, memory.prompt_cache_bytes) == (100, 400, 100)
