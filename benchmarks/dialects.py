"""The dialects of mlxd beside each other: throughput, and requests that join running chats.

Chat is the measure of the others: the same questions, the same number of tokens.
"""

import random
import re
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench import Bench
from prompts import Prompts
from report import Row, Tables

from mlxctl.bench.client import StreamingClient
from mlxctl.bench.streams import Stream
from mlxctl.errors import BenchmarkError

_PROMPT_TOKENS = 48
_STREAMS = 32
_RUNNING, _RUNNING_TOKENS, _JOINER_TOKENS = 8, 3000, 8
_PAUSE_SECONDS = 0.3
_STATUS = b" 200 OK\r\n"


@dataclass(frozen=True)
class _Dialect:
    """Where a dialect is asked, with what, and how its streams show text and their end."""

    path: str
    body: Callable[[str, int], dict[str, object]]
    text: re.Pattern[bytes]
    end: bytes


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


_DIALECTS = {
    "chat": _Dialect(
        "/v1/chat/completions",
        lambda text, tokens: {"messages": _messages(text), "max_tokens": tokens},
        re.compile(rb'"content":"[^"]'),
        b"data: [DONE]",
    ),
    "messages": _Dialect(
        "/v1/messages",
        lambda text, tokens: {"messages": _messages(text), "max_tokens": tokens},
        re.compile(rb'"text_delta"'),
        b"event: message_stop",
    ),
    "responses": _Dialect(
        "/v1/responses",
        lambda text, tokens: {"input": text, "max_output_tokens": tokens, "store": False},
        re.compile(rb"event: response.output_text.delta"),
        b"event: response.incomplete",
    ),
    "ollama": _Dialect(
        "/api/chat",
        lambda text, tokens: {"messages": _messages(text), "options": {"num_predict": tokens}},
        re.compile(rb'"content":"[^"]'),
        b'"done":true',
    ),
}


class _Session:
    """One running daemon, asked in every dialect."""

    def __init__(self, client: StreamingClient, prompts: Prompts) -> None:
        self._client = client
        self._prompts = prompts
        self._chance = random.Random(0)

    def throughput(self, dialect: _Dialect, tokens: int) -> float:
        """Return the tokens a second of streams that begin together."""
        streams = [self._start(dialect, tokens) for _ in range(_STREAMS)]
        self._client.wait(streams)
        for stream in streams:
            _check_whole(dialect, stream)
        ended = max(stream.times[-1] for stream in streams)
        return _STREAMS * tokens / (ended - streams[0].started)

    def join(self, joiners: int) -> dict[str, list[float]]:
        """Return the times to first text of requests that join running chats, in seconds."""
        chat = _DIALECTS["chat"]
        running = [self._start(chat, _RUNNING_TOKENS) for _ in range(_RUNNING)]
        while not all(_first_text(chat, stream) for stream in running):
            self._client.read_for(0.1)
        samples: dict[str, list[float]] = {name: [] for name in _DIALECTS}
        for _ in range(joiners):
            for name, dialect in _DIALECTS.items():
                self._client.read_for(self._chance.uniform(0, _PAUSE_SECONDS))
                joiner = self._start(dialect, _JOINER_TOKENS)
                self._client.wait([joiner])
                _check_whole(dialect, joiner)
                samples[name].append(_first_text(dialect, joiner) or 0.0)
        if any(stream.ended for stream in running):
            raise BenchmarkError("a running stream ended before the last joiner did")
        self._client.abandon(running)
        return samples

    def _start(self, dialect: _Dialect, tokens: int) -> Stream:
        return self._client.start(
            dialect.path, dialect.body(self._prompts.take(_PROMPT_TOKENS), tokens)
        )


def measure(bench: Bench) -> Tables:
    """Ask each daemon in each dialect, in turns."""
    tables: Tables = {}
    for server_name, daemon in bench.daemons.items():
        rates: dict[str, list[float]] = {name: [] for name in _DIALECTS}
        joins: dict[str, list[float]] = {name: [] for name in _DIALECTS}
        for number in range(bench.options.rounds):
            bench.progress(f"dialects: {server_name}, {number + 1}")
            with daemon(bench.model) as server, server.client() as client:
                session = _Session(client, Prompts(bench.model.path))
                for dialect in _DIALECTS.values():
                    session.throughput(dialect, _JOINER_TOKENS)  # warms up
                for name, dialect in _DIALECTS.items():
                    rates[name].append(session.throughput(dialect, bench.options.tokens))
                for name, samples in session.join(bench.options.joiners).items():
                    joins[name] += samples
        tables[f"dialects of {server_name}"] = _rows(rates, joins)
    return tables


def _rows(rates: dict[str, list[float]], joins: dict[str, list[float]]) -> list[Row]:
    rate = {name: statistics.median(samples) for name, samples in rates.items()}
    join = {name: statistics.median(samples) for name, samples in joins.items()}
    return [
        {
            "dialect": name,
            f"tok/s, {_STREAMS} streams": rate[name],
            "tok/s / chat": rate[name] / rate["chat"],
            "first token of a joiner ms": 1000 * join[name],
            "joiner / chat": join[name] / join["chat"],
        }
        for name in _DIALECTS
    ]


def _first_text(dialect: _Dialect, stream: Stream) -> float | None:
    """Return how many seconds after its start a stream had text, None if it has none."""
    data = b""
    for arrived, piece in zip(stream.times, stream.pieces, strict=True):
        data += piece
        if dialect.text.search(data):
            return arrived - stream.started
    return None


def _check_whole(dialect: _Dialect, stream: Stream) -> None:
    data = b"".join(stream.pieces)
    if _STATUS not in data[:100] or dialect.end not in data:
        raise BenchmarkError(f"{dialect.path}: not a whole stream: {data[-300:]!r}")
