"""`python -m mlxd.engine`: one model, served over the socket that is this process's standard input.

Reads top-down: shake hands, load, then turn the loop until the daemon says so or goes away.
"""

import os
import socket
import sys
from types import TracebackType
from typing import TYPE_CHECKING

from mlxd.engine.channel import Channel
from mlxd.messages import (
    PROTOCOL_VERSION,
    Abort,
    EngineMessage,
    Failed,
    Fatal,
    Generate,
    Hello,
    Load,
    LoadProgress,
    Ping,
    Pong,
    Ready,
    Shutdown,
)

if TYPE_CHECKING:
    from mlxd.engine.preparation import Prepared

    EngineChannel = Channel[Prepared | Failed]


def main() -> None:
    """Run one engine from handshake to shutdown."""
    channel: EngineChannel = Channel(_take_standard_input())
    _report_crashes_to(channel)
    channel.send([Hello(protocol_version=PROTOCOL_VERSION, pid=os.getpid())])
    load = _wait_for_load(channel)
    if load is not None:
        _serve(channel, load)


def _take_standard_input() -> socket.socket:
    """Keep the inherited socket to ourselves, so that no library can read from it."""
    connection = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return connection


def _report_crashes_to(channel: "EngineChannel") -> None:
    """Tell the daemon about an exception that ends this process; the traceback is its log's."""

    def report(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sys.__excepthook__(kind, error, traceback)
        channel.send([Fatal(f"{kind.__name__}: {error}")])

    sys.excepthook = report


def _wait_for_load(channel: "EngineChannel") -> Load | None:
    """Give the model to load, or None when there will be none."""
    while True:
        for message in channel.receive(wait=True):
            if isinstance(message, Load):
                return message
            if isinstance(message, Shutdown):
                return None


def _serve(channel: "EngineChannel", load: Load) -> None:
    """Load the model and answer until `Shutdown`."""
    # Importing MLX and transformers takes a second; the handshake should not wait for it.
    from mlxd.engine.loader import ModelUnusable, load_model, memory_bytes
    from mlxd.engine.preparation import Prepared, Preparer
    from mlxd.engine.scheduler import Scheduler

    def report(fraction: float) -> None:
        channel.send([LoadProgress(fraction)])

    try:
        model = load_model(load, report)
    except ModelUnusable as error:
        channel.send([Fatal(str(error))])
        return
    preparer = Preparer(model.tokenizer, model.vocabulary, model.context_length)
    scheduler = Scheduler(model, load, preparer.grammars.token_bytes)
    preparer.start(channel.put)
    channel.send([Ready(context_length=model.context_length, memory_bytes=memory_bytes())])

    while True:
        events: list[EngineMessage] = []
        for message in channel.receive(wait=not scheduler.busy):
            match message:
                case Generate():
                    scheduler.expect(message.id)
                    if (prepared := preparer.take(message)) is not None:
                        events.extend(scheduler.admit(prepared))
                case Prepared() | Failed():
                    events.extend(scheduler.admit(message))
                case Abort():
                    events.extend(scheduler.abort(message.id))
                case Ping():
                    events.append(Pong(memory_bytes=memory_bytes()))
                case Shutdown():
                    return
        events.extend(scheduler.step())
        if events:
            channel.send(events)


if __name__ == "__main__":
    main()
