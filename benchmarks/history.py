"""A long history: the time to the first token of a turn, and what keeps it short.

One conversation begins with a prompt of 6,000 tokens. Its second turn finds the prompt cache in
memory; the next ones come after `mlxctl unload`, after the daemon was restarted, and after daemon
and engine were killed. A short request before each of them loads the model, so that what is
measured is the prompt, not the load.
"""

import os
import signal
import statistics
import time

from bench import Bench
from models import Model
from prompts import Prompts
from report import Row, Tables, milliseconds
from servers import Daemon, Server, Start, new_home

from mlxctl.bench.client import StreamingClient

ARCHITECTURES = ("gpt_oss", "qwen3_5", "gemma4", "llama")
_ANSWER_TOKENS, _QUESTION_TOKENS = 16, 30
_SETTLE_SECONDS = 3.0  # for what an engine still does after an answer, such as writing to disk
_STAGES = ("cold", "second turn", "after unload", "after restart", "after kill -9")

Turn = tuple[float, str]
"""Seconds to the first token; what of the prompt was cached."""


def measure(bench: Bench) -> Tables:
    """Run the conversation with each architecture and server, several times."""
    times: list[Row] = []
    cached: list[Row] = []
    for architecture in bench.options.architectures or ARCHITECTURES:
        model = bench.random_model(architecture)
        samples: dict[str, list[list[Turn]]] = {name: [] for name in bench.starts}
        for number in range(bench.options.turns):
            for name, start in list(bench.starts.items()):
                bench.progress(f"history: {architecture}, {name}, {number + 1}")
                conversation = _Conversation(model, bench.options.long_tokens)
                with bench.tolerate(name):
                    if name in bench.daemons:
                        samples[name].append(_all_stages(bench.daemons[name], conversation))
                    else:
                        samples[name].append(_two_stages(start, conversation))
        for name in bench.starts:
            row: Row = {"architecture": architecture, "server": name}
            times.append(row | _times(samples[name]))
            cached.append(row | _cached(samples[name][-1]))
    title = f"history of {bench.options.long_tokens:,} tokens"
    return {f"{title}: first token, ms": times, f"{title}: cached tokens": cached}


class _Conversation:
    """A conversation that grows by a question and an answer in each turn."""

    def __init__(self, model: Model, tokens: int) -> None:
        self.model = model
        self._prompts = Prompts(model.path)
        self._next = self._prompts.take(tokens)
        self._messages: list[dict[str, str]] = []

    def turn(self, server: Server) -> Turn:
        """Ask the next question; load the model first, if need be, with a short one."""
        with server.client() as client:
            short = [{"role": "user", "content": self._prompts.take(_QUESTION_TOKENS)}]
            _ask(client, short)
            self._messages.append({"role": "user", "content": self._next})
            text, turn = _ask(client, self._messages)
        self._messages.append({"role": "assistant", "content": text})
        self._next = self._prompts.take(_QUESTION_TOKENS)
        return turn


def _ask(client: StreamingClient, messages: list[dict[str, str]]) -> tuple[str, Turn]:
    body: dict[str, object] = {"messages": messages, "max_tokens": _ANSWER_TOKENS}
    stream = client.start("/v1/chat/completions", body)
    client.wait([stream])
    reply = stream.reply()
    return reply.text, (reply.text_times[0], reply.cached_of_prompt)


def _two_stages(start: Start, conversation: _Conversation) -> list[Turn]:
    with start(conversation.model) as server:
        return [conversation.turn(server), conversation.turn(server)]


def _all_stages(daemon: Daemon, conversation: _Conversation) -> list[Turn]:
    with new_home() as home:
        with daemon(conversation.model, home=home) as server:
            turns = [conversation.turn(server), conversation.turn(server)]
            server.mlxctl("unload", "--all")
            turns.append(conversation.turn(server))
        with daemon(conversation.model, home=home) as server:
            turns.append(conversation.turn(server))
            time.sleep(_SETTLE_SECONDS)
            for pid in (server.pid, *server.engine_pids()):
                os.kill(pid, signal.SIGKILL)
        with daemon(conversation.model, home=home) as server:
            turns.append(conversation.turn(server))
    return turns


def _times(samples: list[list[Turn]]) -> Row:
    medians = [
        statistics.median(seconds for seconds, _ in turns) for turns in zip(*samples, strict=True)
    ]
    cold, second = medians[:2]
    row = _stage_columns([milliseconds([seconds]) for seconds in medians])
    row["cold / second"] = cold / second
    row["cold / restart"] = cold / medians[3] if len(medians) > 3 else "-"
    return row


def _cached(turns: list[Turn]) -> Row:
    return _stage_columns([cached for _, cached in turns])


def _stage_columns(values: list[float] | list[str]) -> Row:
    row: Row = dict.fromkeys(_STAGES, "-")
    return row | dict(zip(_STAGES, values, strict=False))
