"""One server that is measured: its model, and the form of the requests to it."""

from collections.abc import Sequence

from mlxctl.bench.address import ServerAddress
from mlxctl.bench.client import StreamingClient
from mlxctl.bench.runs import CHAT, TEXT, Run, together
from mlxctl.bench.streams import Stream
from mlxctl.errors import BenchmarkError, BenchmarkRefused

_WITHOUT_END = {"ignore_eos": True}
_NO_SUCH_PATH = (404, 405, 501)
_NO_SUCH_FIELD = (400, 422)


class Session:
    """A server called `name`, with a client to be closed by `with`."""

    def __init__(self, name: str, address: ServerAddress, model: str) -> None:
        self.name = name
        self.model = model
        self.url = address.url
        self.path = TEXT
        self._client = StreamingClient(address, model)
        self._more: dict[str, object] = dict(_WITHOUT_END)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *error: object) -> None:
        self._client.__exit__(*error)

    def run(self, texts: Sequence[str], tokens: int, seconds: float) -> Run:
        """Run one stream for each prompt of `texts`, all begun at once, to `tokens` tokens each.

        Servers that have no `ignore_eos` may end answers earlier.

        Raises:
            BenchmarkError: one fails, or they take longer than `seconds`.
        """
        try:
            return together(
                self._client, lambda text: self._start(text, tokens), texts, timeout=seconds
            )
        except BenchmarkError:
            self._client.abandon_all()
            raise

    def try_out(self, path: str, text: str, tokens: int, seconds: float) -> Run:
        """Run one stream at `path`, and learn whether the server supports `ignore_eos`.

        Raises:
            BenchmarkError: as `run` does.
        """
        self.path = path
        try:
            return self.run([text], tokens, seconds)
        except BenchmarkRefused as refusal:
            if refusal.answered not in _NO_SUCH_FIELD or not self._more:
                raise
        self._more = {}
        return self.run([text], tokens, seconds)

    def _start(self, text: str, tokens: int) -> Stream:
        asked: dict[str, object] = {"prompt": text}
        if self.path == CHAT:
            asked = {"messages": [{"role": "user", "content": text}]}
        return self._client.start(self.path, {**asked, "max_tokens": tokens, **self._more})


def try_out_all(
    sessions: Sequence[Session], text: str, tokens: int, seconds: float
) -> dict[str, Run]:
    """Ask every server once, in the same way; return its run by its name.

    Text completions are asked for, or chat where one of the servers has none.

    Raises:
        BenchmarkError: a server does not answer as OpenAI's would; the message names it.
    """
    path = TEXT
    runs: dict[str, Run] = {}
    for session in sessions:
        try:
            try:
                runs[session.name] = session.try_out(path, text, tokens, seconds)
            except BenchmarkRefused as refusal:
                if refusal.answered not in _NO_SUCH_PATH:
                    raise
                path = CHAT
                runs[session.name] = session.try_out(path, text, tokens, seconds)
        except BenchmarkError as error:
            raise BenchmarkError(f"{session.name}: {error}") from error
    for session in sessions:
        session.path = path
    return runs
