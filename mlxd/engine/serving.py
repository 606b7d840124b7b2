"""An engine's life once everything is imported: wait for a model, load it, serve requests."""

import gc

from mlxd.engine.channel import Channel
from mlxd.engine.loader import LoadedModel, ModelUnusable, load_model
from mlxd.engine.preprocessing import Prepared, Preprocessor
from mlxd.engine.scheduler import Scheduler
from mlxd.engine.stats import device_memory_bytes, memory_bytes
from mlxd.messages import (
    Abort,
    DaemonMessage,
    EngineMessage,
    Failed,
    Fatal,
    Generate,
    Load,
    LoadProgress,
    Ping,
    Pong,
    Ready,
    Shutdown,
    Warm,
)

EngineMail = Channel[Prepared | Failed]


def serve(channel: EngineMail, first: DaemonMessage | Prepared | Failed | None) -> None:
    """Serve until `Shutdown`; `first` is a message received before this was imported, if any."""
    channel.send([Warm(memory_bytes())])
    if (load := _wait_for_load(channel, first)) is None:
        return
    try:
        model = load_model(load, lambda fraction: channel.send([LoadProgress(fraction)]))
    except ModelUnusable as error:
        channel.send([Fatal(str(error))])
        return
    _serve_model(channel, model, load)


def _wait_for_load(
    channel: EngineMail, message: DaemonMessage | Prepared | Failed | None
) -> Load | None:
    """Return the model to load, or None on `Shutdown`."""
    while not isinstance(message, Load):
        match message:
            case Ping():
                channel.send([Pong(memory_bytes())])
            case Shutdown():
                return None
        message = channel.receive_one(wait=True)
    return message


def _serve_model(channel: EngineMail, model: LoadedModel, load: Load) -> None:
    preprocessor = Preprocessor(model.tokenizer, model.vocabulary, model.context_length)
    scheduler = Scheduler(model, load, preprocessor.grammars.token_bytes)
    preprocessor.start(channel.put)
    # What exists now stays: looking for garbage in it would only delay a step.
    gc.freeze()
    gc.enable()
    channel.send([Ready(model.context_length, memory_bytes(), device_memory_bytes())])
    while True:
        events: list[EngineMessage] = []  # sent before a step, which may take long
        for message in channel.receive(wait=not scheduler.busy):
            match message:
                case Generate():
                    scheduler.expect(message.id)
                    if (prepared := preprocessor.take(message)) is not None:
                        events.extend(scheduler.admit(prepared))
                case Prepared() | Failed():
                    events.extend(scheduler.admit(message))
                case Abort():
                    events.extend(scheduler.abort(message.id))
                case Ping():
                    events.append(Pong(memory_bytes(), scheduler.speed.per_second()))
                case Shutdown():
                    return
        if events:
            channel.send(events)
        if stepped := scheduler.step():
            channel.send([*stepped])
