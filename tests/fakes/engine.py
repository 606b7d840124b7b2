"""An engine without a model, whose answers, crashes and hangs are scripted.

Run as `python tests/fakes/engine.py SCRIPT`, SCRIPT being a comma-separated list of:

    die-before-hello, wrong-protocol, garbage, unloadable, hang-on-load: the start goes wrong
    die-in-load-once=FILE: kills itself in the load, if FILE is absent
    die-once=FILE: kills itself at the first request, if FILE is absent
    die-after=N: kills itself after N deltas
    poison=WORD: kills itself when an answer comes to this word
    fatal, fatal-and-stays, garbage-later, hang-up: at the first request it sends Fatal and exits,
        sends Fatal and does not exit, sends what is no message, or closes its socket and stays
    leaves-a-child, leaves-last-words: at the first request it starts a child and dies; the child
        holds its output and socket for minutes, or until it has printed a line
    stubborn: ignores Shutdown and the end of the socket
    memory=N, device=N: reports N bytes as its own memory, and as the memory of the device
    alone: says that it computes one sequence at a time, with caches of 8 bits
    grows=N: reports N bytes as its own memory when asked
    prints=LINE: prints LINE first
    prints-long: prints a line of a million characters first, and then another line
    last-words=LINE: prints LINE when it is told to shut down
    mute: never answers a Ping
    slow-abort: ends an aborted request only when it is pinged
    silent: sends nothing after Started
    endless: an answer has no end

An answer is the words of its prompt, one Delta each.
"""

import os
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from mlxd.frames import FrameSplitter, decode_daemon_frame, encode_frame
from mlxd.generate_request import TextPrompt
from mlxd.messages import (
    PROTOCOL_VERSION,
    Abort,
    Budget,
    Delta,
    EngineMessage,
    Failed,
    Fatal,
    Finished,
    Generate,
    Hello,
    Load,
    LoadProgress,
    Ping,
    Pong,
    Ready,
    Shutdown,
    Started,
    Usage,
    Warm,
)

GARBAGE = b"\x00\x00\x00\x01\xc1"


class FakeEngine:
    def __init__(self, script: dict[str, str]) -> None:
        self.script = script
        self.connection = socket.socket(fileno=os.dup(0))
        self.running: dict[int, list[str]] = {}
        self.aborted: list[int] = []
        self.deltas = 0

    def send(self, *messages: EngineMessage) -> None:
        try:
            self.connection.sendall(encode_frame(list(messages)))
        except OSError:
            self.leave()

    def run(self) -> None:
        if line := self.script.get("prints"):
            print(line, flush=True)
        if "prints-long" in self.script:
            print("x" * 1_000_000 + "\nand another", flush=True)
        if "die-before-hello" in self.script:
            print("cannot breathe", flush=True)
            sys.exit(3)
        if "garbage" in self.script:
            self.connection.sendall(GARBAGE)
        version = 99 if "wrong-protocol" in self.script else PROTOCOL_VERSION
        self.send(Hello(version, os.getpid()), Warm(500))
        splitter = FrameSplitter()
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            while True:
                if selector.select(timeout=0.001 if self.running else None):
                    if not (data := self.connection.recv(65536)):
                        self.leave()
                    for payload in splitter.feed(data):
                        for message in decode_daemon_frame(payload):
                            self.take(message)
                self.step()

    def take(self, message: object) -> None:
        match message:
            case Load():
                self.load()
            case Generate(id=id_, request=request):
                if not isinstance(request.prompt, TextPrompt):
                    self.send(Failed(id_, "invalid_request", "only text", "messages"))
                    return
                words = request.prompt.text.split()
                self.running[id_] = words
                self.send(Started(id_, len(words), 0))
            case Abort(id=id_):
                if self.running.pop(id_, None) is not None:
                    self.aborted.append(id_)
                if "slow-abort" not in self.script:
                    self.finish_aborted()
            case Ping() if "mute" not in self.script:
                self.finish_aborted()
                self.send_figures()
            case Budget():
                self.send_figures()
            case Shutdown():
                if line := self.script.get("last-words"):
                    print(line, flush=True)
                self.leave()

    def send_figures(self) -> None:
        memory = self.script.get("grows") or self.script.get("memory", "4242")
        running = len(self.running)
        self.send(
            Pong(
                int(memory),
                tokens_per_second=10.0 * running,
                cache_bytes=100 * running,
                batched="alone" not in self.script,
                context_fits=77,
            )
        )

    def leave(self) -> NoReturn:
        if "stubborn" in self.script:
            while True:
                signal.pause()
        sys.exit(0)

    def finish_aborted(self) -> None:
        while self.aborted:
            self.send(Finished(self.aborted.pop(), "abort", Usage(0, 0, 0)))

    def load(self) -> None:
        if "unloadable" in self.script:
            self.send(Fatal("no safetensors found"))
            sys.exit(1)
        self.send(LoadProgress(0.5))
        self.die_once("die-in-load-once")
        if "hang-on-load" not in self.script:
            memory = int(self.script.get("memory", "1000"))
            device = int(self.script.get("device", "0"))
            self.send(Ready(128, memory, device, 8 if "alone" in self.script else 0))

    def die_once(self, name: str) -> None:
        if (file := self.script.get(name)) and not Path(file).exists():
            Path(file).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def step(self) -> None:
        if self.running:
            self.die_once("die-once")
        if self.running and "fatal" in self.script:
            self.send(Fatal("the GPU is gone"))
            sys.exit(1)
        if self.running and "fatal-and-stays" in self.script:
            self.send(Fatal("the GPU is gone"))
            signal.pause()
        if self.running and "garbage-later" in self.script:
            self.connection.sendall(GARBAGE)
        if self.running and "hang-up" in self.script:
            self.connection.shutdown(socket.SHUT_RDWR)
            signal.pause()
        if self.running and "leaves-a-child" in self.script:
            os.set_inheritable(self.connection.fileno(), True)
            subprocess.Popen(["sleep", "600"], close_fds=False)
            os.kill(os.getpid(), signal.SIGKILL)
        if self.running and "leaves-last-words" in self.script:
            subprocess.Popen(["sh", "-c", "sleep 0.1; echo the last words"])
            os.kill(os.getpid(), signal.SIGKILL)
        if "silent" in self.script:
            return
        for id_, words in list(self.running.items()):
            if str(self.deltas) == self.script.get("die-after"):
                os.kill(os.getpid(), signal.SIGKILL)
            if words and words[0] == self.script.get("poison"):
                os.kill(os.getpid(), signal.SIGKILL)
            if words:
                word = words[0] if "endless" in self.script else words.pop(0)
                self.deltas += 1
                self.send(Delta(id_, word))
            else:
                del self.running[id_]
                self.send(Finished(id_, "stop", Usage(1, 0, 1)))


if __name__ == "__main__":
    items = (item.partition("=") for item in sys.argv[1].split(",") if item)
    FakeEngine({name: value for name, _, value in items}).run()
