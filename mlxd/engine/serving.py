"""An engine's life once everything is imported: wait for a model, load it, serve requests."""

import gc
import time
from collections import deque
from contextlib import nullcontext
from pathlib import Path

import mlx.core as mx

from mlxd.engine.alarm import Alarm, alarm_seconds
from mlxd.engine.channel import Channel
from mlxd.engine.disk_cache import DiskCache
from mlxd.engine.disk_reader import DiskReader, Restored
from mlxd.engine.fingerprint import fingerprint
from mlxd.engine.loader import LoadedModel, load_model
from mlxd.engine.memory import Memory
from mlxd.engine.preprocessing import Prepared, Preprocessor
from mlxd.engine.scheduler import Scheduler, needs_boundaries
from mlxd.engine.stats import device_memory_bytes, memory_bytes, wired_weights
from mlxd.engine.stored_layers import LAYOUT
from mlxd.errors import LoadFailed
from mlxd.messages import (
    Abort,
    Budget,
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
from mlxd.prompt_files import FolderInfo

EngineMail = Channel[Prepared | Failed | Restored]
_SECONDS_BEFORE_REST = 5.0
_SECONDS_BESIDE_STEP = 0.03
"""How long messages may take between two steps; each may bring a prompt to tokenize."""


def serve(channel: EngineMail) -> None:
    """Serve until `Shutdown`."""
    channel.send([Warm(memory_bytes())])
    if (load := _wait_for_load(channel)) is None:
        return
    alarm = Alarm(alarm_seconds(load.hang_timeout))
    alarm.work()

    def report(fraction: float) -> None:
        channel.send([LoadProgress(fraction)])

    try:
        model = load_model(load, report)
    except LoadFailed as error:
        channel.send([Fatal(error.message)])
    else:
        with wired_weights() if load.wired else nullcontext():
            _serve_model(channel, model, load, alarm)


def _wait_for_load(channel: EngineMail) -> Load | None:
    """Return the model to load, or None on `Shutdown`."""
    while not isinstance(message := channel.receive(), Load | Shutdown):
        if isinstance(message, Ping):
            channel.send([Pong(memory_bytes())])
    return message if isinstance(message, Load) else None


def _serve_model(channel: EngineMail, model: LoadedModel, load: Load, alarm: Alarm) -> None:
    preprocessor = Preprocessor(
        model.tokenizer,
        model.vocabulary,
        model.context_length,
        find_boundaries=needs_boundaries(model, load),
    )
    memory = Memory.of_process(model.model)
    disk = _open_disk_cache(load)
    reader = DiskReader(disk, channel.put) if disk is not None else None
    scheduler = Scheduler(model, load, preprocessor.grammars.token_bytes, memory, reader)
    preprocessor.start(channel.put)
    # What exists now stays: looking for garbage in it would only delay a step.
    gc.freeze()
    gc.enable()
    kv_bits = load.kv_bits if model.quantization else 0
    ready = Ready(model.context_length, memory_bytes(), device_memory_bytes(), kv_bits)
    channel.send([ready])
    rested = True
    waiting: deque[DaemonMessage | Prepared | Failed | Restored] = deque()
    while True:
        events: list[EngineMessage] = []  # sent before a step, which may take long
        patience = _SECONDS_BEFORE_REST if scheduler.wants_rest and not rested else None
        if scheduler.idle and not waiting:
            alarm.rest()
        wait = not (scheduler.busy or waiting)
        waiting.extend(channel.receive_all(wait=wait, seconds=patience))
        alarm.work()
        rested = not waiting and not scheduler.busy
        if rested:
            scheduler.rest()
        began = time.monotonic()
        while waiting and not (scheduler.busy and time.monotonic() > began + _SECONDS_BESIDE_STEP):
            match message := waiting.popleft():
                case Generate():
                    scheduler.expect(message.id)
                    if (prepared := preprocessor.take(message)) is not None:
                        events.extend(scheduler.admit(prepared))
                case Prepared() | Failed():
                    events.extend(scheduler.admit(message))
                case Restored():
                    events.extend(scheduler.restored(message))
                case Abort():
                    preprocessor.withdraw(message.id)
                    events.extend(scheduler.abort(message.id))
                case Budget():
                    memory.budget = message.memory_bytes
                    mx.set_cache_limit(memory.workspace)
                    events.append(scheduler.figures())
                case Ping():
                    events.append(scheduler.figures())
                case Shutdown():
                    if disk is not None:
                        disk.close()
                    return
        if events:
            _send(channel, events, scheduler, preprocessor)
        if stepped := scheduler.step():
            _send(channel, [*stepped], scheduler, preprocessor)


def _send(
    channel: EngineMail,
    messages: list[EngineMessage],
    scheduler: Scheduler,
    preprocessor: Preprocessor,
) -> None:
    """Send messages, and end the sequences that failed because theirs could not be sent."""
    for request_id in channel.send(messages):
        preprocessor.withdraw(request_id)
        scheduler.abort(request_id)


def _open_disk_cache(load: Load) -> DiskCache | None:
    """Open what is kept on disk for the model, unless that is off or its files cannot be read."""
    settings = load.disk_cache
    if settings is None:
        return None
    adapter = Path(load.adapter_path) if load.adapter_path else None
    try:
        name = fingerprint(
            Path(load.path),
            adapter,
            layout=LAYOUT,
            kv_bits=load.kv_bits,
            kv_group_size=load.kv_group_size,
            quantized_kv_start=load.quantized_kv_start,
        )
    except OSError:
        return None
    info = FolderInfo(settings.model, settings.adapter)
    return DiskCache(
        Path(settings.folder), name, settings.max_bytes, info, keep_free=settings.keep_free
    )
