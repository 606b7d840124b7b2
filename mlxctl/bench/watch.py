"""The daemon while it is measured: its memory, and the requests of others."""

import contextlib
import sys
import threading
from collections.abc import Iterator

from mlxctl.bench.figures import MeasuredMemory
from mlxctl.client import Client
from mlxctl.errors import CommandFailed
from mlxd import control_api
from mlxd.control_api import ModelStatus, Status

_INTERVAL_SECONDS = 0.5


class Watch:
    """Asks the daemon for its status while the block runs, every half second.

    `others` is how many requests of others there were at the same time, at most.
    """

    def __init__(self, client: Client, model: str) -> None:
        self.others = 0
        self._own = 0
        self._most_own = 0  # since the last look
        self._more = sys.maxsize  # requests of others at the last look
        self._client = client
        self._model = model
        self._seen: list[ModelStatus] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch")

    def __enter__(self) -> "Watch":
        self.look()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def memory(self) -> MeasuredMemory | None:
        """The memory of the model as far as it was seen; None if it never was in memory."""
        taken = [model.memory_bytes for model in self._seen if model.memory_bytes is not None]
        if not taken:
            return None
        return MeasuredMemory(
            ready_bytes=taken[0],
            peak_bytes=max(taken),
            prompt_cache_bytes=max(model.prompt_cache_bytes or 0 for model in self._seen),
            limit_bytes=self._seen[0].memory_limit_bytes,
        )

    @contextlib.contextmanager
    def expecting(self, requests: int) -> Iterator[None]:
        """Count `requests` requests as this benchmark's own while the block runs."""
        self._own = requests
        self._most_own = max(self._most_own, requests)
        try:
            yield
        finally:
            self._own = 0

    def look(self) -> Status | None:
        """Ask now; return the status, None if the daemon does not answer."""
        status = None
        with contextlib.suppress(CommandFailed):  # the measurement fails too, and says why
            status = self._client.call(control_api.STATUS)
            requests = sum(model.requests for model in status.models)
            # A request that has ended here may still run there, even at the next look.
            more = requests - self._most_own
            self.others = max(self.others, min(more, self._more))
            self._more, self._most_own = more, self._own
            self._seen += [
                model
                for model in status.models
                if model.id == self._model and model.adapter is None
            ]
        return status

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL_SECONDS):
            self.look()
