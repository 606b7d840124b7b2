"""Follow-up requests: how many tokens of a prompt come from the prompt cache, by architecture.

The requests, in this order: a system prompt and a question; the same with an edited answer and a
second question; the same system prompt with another question; the first again. Then a conversation
of three turns with a model that thinks, whose thoughts its template leaves out of the history.
"""

from bench import Bench
from models import Model
from prompts import Prompts
from report import Row, Tables
from servers import Start

from mlxctl.bench.client import StreamingClient
from mlxctl.bench.streams import TimedReply
from mlxctl.errors import BenchmarkError

ARCHITECTURES = ("gpt_oss", "gemma4", "qwen3_5", "kimi_linear", "laguna", "lfm2", "llama")
_SYSTEM, _QUESTION, _OTHER_QUESTION, _SHORT = 580, 280, 30, 16  # tokens; one is a character
_ANSWER_TOKENS = 16
_TIMEOUT_SECONDS = 120.0
_COLUMNS = ("edited answer", "other question", "the first again", "thoughts left out")

Message = dict[str, str]


def measure(bench: Bench) -> Tables:
    """Run the requests with each architecture and server."""
    rows: list[Row] = []
    for architecture in bench.options.architectures or ARCHITECTURES:
        bench.progress(f"follow-ups: {architecture}")
        try:
            model = bench.random_model(architecture)
        except BenchmarkError as error:
            bench.leave_out(f"follow-ups of {architecture}: {error}")
            continue
        for name, start in bench.starts.items():
            row: Row = {"architecture": architecture, "server": name}
            try:
                replies = [reply.cached_of_prompt for reply in _replies(start, model)]
            except BenchmarkError as error:
                bench.leave_out(f"follow-ups of {architecture} with {name}: {error}")
                rows.append(row | dict.fromkeys(_COLUMNS, "failed"))
                continue
            rows.append(row | dict(zip(_COLUMNS, replies, strict=True)))
    return {"follow-ups: cached tokens of the prompt's": rows}


def _replies(start: Start, model: Model) -> list[TimedReply]:
    """The replies to the second, third and fourth request, and to the thinking third turn."""
    prompts = Prompts(model.path)
    system, question = prompts.take(_SYSTEM), prompts.take(_QUESTION)
    other, edited, second = map(prompts.take, (_OTHER_QUESTION, _SHORT, _SHORT))
    first = [_message("system", system), _message("user", question)]
    follow_up = [*first, _message("assistant", edited), _message("user", second)]
    with start(model) as server, server.client() as client:
        _ask(client, first)
        replies = [
            _ask(client, follow_up),
            _ask(client, [first[0], _message("user", other)]),
            _ask(client, first),
        ]
        history = [_message("system", prompts.take(_SYSTEM))]
        for turn in range(3):
            history.append(_message("user", prompts.take(_QUESTION)))
            reply = _ask(client, history, thinking=True)
            history.append(_message("assistant", f"{turn}: {prompts.take(_SHORT)}"))
        return [*replies, reply]


def _ask(client: StreamingClient, messages: list[Message], *, thinking: bool = False) -> TimedReply:
    body: dict[str, object] = {
        "messages": messages,
        "max_tokens": _ANSWER_TOKENS,
        "chat_template_kwargs": {"enable_thinking": thinking},
    }
    stream = client.start("/v1/chat/completions", body)
    client.wait([stream], timeout=_TIMEOUT_SECONDS)
    return stream.reply(text=False)


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}
