"""What the HTTP side needs of the rest of the daemon, as shapes."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from mlxd import control_api
from mlxd.config import ModelSettings, Server
from mlxd.messages import ChoiceEvent, GenerateRequest
from mlxd.models.catalog import Adapter, Entry

Reply = TypeVar("Reply", covariant=True)


class Settings(Protocol):
    """The part of the configuration that a request depends on."""

    @property
    def server(self) -> Server:
        """Who may talk to the daemon, and how much is accepted."""

    def for_model(self, model_id: str) -> ModelSettings:
        """Give what holds for that model, where a request does not say otherwise."""


class Catalog(Protocol):
    """The models and adapters on disk."""

    def resolve(self, name: str | None, *, settled: bool = False) -> Entry:
        """Give the model that `name` means, None being the default; raises ModelNotFound.

        `settled` leaves out of account what is only about to become the default.
        """

    def entries(self) -> list[Entry]:
        """Give all models."""

    def adapter(self, name: str) -> Adapter:
        """Give the adapter of that name; raises InvalidRequest."""


class Timing(Protocol):
    """How long the parts of a request took, in seconds; None where they are not known."""

    @property
    def queue(self) -> float | None:
        """Until an engine took it."""

    @property
    def prefill(self) -> float | None:
        """From there to the first piece of the answer."""

    @property
    def decode(self) -> float | None:
        """From the first piece to the end."""


class Answer(Protocol):
    """One accepted request: lists of events, the last of which ends the last choice.

    Whatever goes wrong is raised as an MlxdError from the iteration.
    """

    def __aiter__(self) -> AsyncIterator[list[ChoiceEvent]]:
        """Iterate over the events, a list at a time."""

    @property
    def progress(self) -> str:
        """One short phrase, such as `prefill 2048/9000`."""

    @property
    def timing(self) -> Timing:
        """How long its parts took."""

    async def aclose(self) -> None:
        """Abort what has not ended; any number of times."""


class Pool(Protocol):
    """The models in memory."""

    def submit(
        self,
        entry: Entry,
        requests: Sequence[GenerateRequest],
        *,
        stream: bool,
        keep_alive: float | None,
    ) -> Answer:
        """Accept a request, one of `requests` for each choice; raises QueueFull or Draining."""

    async def healthy(self) -> None:
        """Return when every ready engine can generate; raises an MlxdError when one cannot."""


class StatusControl(Protocol):
    """What runs."""

    async def read(self) -> control_api.Status:
        """Give what runs, and where everything is."""


class CatalogControl(Protocol):
    """The models on disk, as a person looks at them."""

    def models(self) -> control_api.ModelList:
        """Give every model that can be asked for, and what is broken."""

    async def show(self, name: str) -> control_api.ModelDetails:
        """Give what there is to know of a model, broken or not; raises ModelNotFound."""

    async def remove(self, name: str, *, dry_run: bool) -> control_api.Removal:
        """Remove a model, or say what would be; raises an MlxdError when it stays."""


class AliasControl(Protocol):
    """The other names of models."""

    def list(self) -> control_api.AliasList:
        """Give every alias."""

    def set(self, name: str, model: str) -> control_api.Alias:
        """Make `name` another name for a model; raises an MlxdError when nothing was changed."""

    def remove(self, name: str) -> control_api.AliasRemoval:
        """Take an alias out; raises an MlxdError when nothing was changed."""


class Work(Protocol[Reply]):
    """Something that goes on, whoever watches."""

    @property
    def progress(self) -> Callable[[], msgspec.Struct]:
        """Give how far it is."""

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until it is done, for at most `seconds`; tell whether it is."""

    async def result(self) -> Reply:
        """Give what comes of it; raises an MlxdError where nothing does."""


class MemoryControl(Protocol):
    """The models in memory, as a person moves them."""

    def load(self, name: str | None, keep_alive: float | None) -> Work[control_api.ModelStatus]:
        """Bring a model into memory."""

    def unload(self, name: str | None) -> Work[control_api.UnloadReply]:
        """Take one model, or all, out of memory."""

    def use(self, name: str, *, drained: bool) -> Work[control_api.UseReply]:
        """Make a model the default."""


class PullsControl(Protocol):
    """The models on their way from the hub."""

    def pull(self, name: str) -> Work[control_api.PullReply]:
        """Download a model, or watch its download."""

    def list(self) -> control_api.PullList:
        """Give the downloads that run, wait or have failed."""

    async def cancel(self, name: str) -> control_api.CancelPullReply:
        """End a download and remove what has come of it."""


class Handover(Protocol):
    """The sockets, on their way to the next daemon."""

    def give(self, receiver: str) -> control_api.HandoverReply:
        """Send them to a Unix socket and end; raises an MlxdError when they stay."""


class Control(Protocol):
    """What `mlxctl` asks for, by subject."""

    @property
    def status(self) -> StatusControl:
        """What runs."""

    @property
    def catalog(self) -> CatalogControl:
        """The models on disk."""

    @property
    def aliases(self) -> AliasControl:
        """The other names of models."""

    @property
    def memory(self) -> MemoryControl:
        """The models in memory."""

    @property
    def pulls(self) -> PullsControl:
        """The models on their way from the hub."""

    @property
    def handover(self) -> Handover:
        """The sockets, on their way to the next daemon."""


@dataclass(frozen=True)
class Context:
    """Everything an endpoint may use; `config` is read anew for each request."""

    config: Settings
    catalog: Catalog
    pool: Pool
    control: Control
