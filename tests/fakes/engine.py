"""An engine that speaks `mlxd.messages` without a model, with scripted delay, crash and hang.

Run as `python tests/fakes/engine.py SCRIPT`, SCRIPT being a comma-separated list of:

    die-before-hello, wrong-protocol, garbage, unloadable, hang-on-load: how the start goes wrong
    die-in-load-once=FILE: kills itself in the load, if FILE is absent
    memory=N, device=N: says that it takes, and that the device has, so many bytes
    prints=LINE: prints a line first
    grows=N: says, when asked, that it takes so many bytes
    mute: never answers a Ping
    die-after=N: kills itself after N deltas
    die-once=FILE: kills itself at the first request, if FILE is absent
    endless: an answer has no end
    leaves-a-child: at its first answer, one that outlives it and holds its output and socket

An answer is the words of its prompt, one Delta each.
"""

import os
import selectors
import signal
import socket
import subprocess
import sys
from pathlib import Path

from mlxd.messages import (
    PROTOCOL_VERSION,
    Abort,
    Delta,
    EngineMessage,
    Failed,
    Fatal,
    Finished,
    FrameSplitter,
    Generate,
    Hello,
    Load,
    LoadProgress,
    Ping,
    Pong,
    Ready,
    Shutdown,
    Started,
    TextPrompt,
    Usage,
    Warm,
    decode_daemon_frame,
    encode_frame,
)


class FakeEngine:
    def __init__(self, script: dict[str, str]) -> None:
        self.script = script
        self.connection = socket.socket(fileno=os.dup(0))
        self.running: dict[int, list[str]] = {}
        self.deltas = 0

    def send(self, *messages: EngineMessage) -> None:
        self.connection.sendall(encode_frame(list(messages)))

    def run(self) -> None:
        if line := self.script.get("prints"):
            print(line, flush=True)
        if "die-before-hello" in self.script:
            print("cannot breathe", flush=True)
            sys.exit(3)
        if "garbage" in self.script:
            self.connection.sendall(b"\x00\x00\x00\x01\xc1")
        version = 99 if "wrong-protocol" in self.script else PROTOCOL_VERSION
        self.send(Hello(version, os.getpid()), Warm(500))
        splitter = FrameSplitter()
        with selectors.DefaultSelector() as selector:
            selector.register(self.connection, selectors.EVENT_READ)
            while True:
                if selector.select(timeout=0.001 if self.running else None):
                    if not (data := self.connection.recv(65536)):
                        return
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
                    self.send(Finished(id_, "abort", Usage(0, 0, 0)))
            case Ping() if "mute" not in self.script:
                memory = self.script.get("grows") or self.script.get("memory", "4242")
                self.send(Pong(int(memory)))
            case Shutdown():
                sys.exit(0)

    def load(self) -> None:
        if "unloadable" in self.script:
            self.send(Fatal("no safetensors found"))
            sys.exit(1)
        self.send(LoadProgress(0.5))
        self.die_once("die-in-load-once")
        if "hang-on-load" not in self.script:
            memory = int(self.script.get("memory", "1000"))
            device = int(self.script.get("device", "0"))
            self.send(Ready(128, memory, device))

    def die_once(self, name: str) -> None:
        if (file := self.script.get(name)) and not Path(file).exists():
            Path(file).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def step(self) -> None:
        if self.running:
            self.die_once("die-once")
        if self.running and "leaves-a-child" in self.script:
            os.set_inheritable(self.connection.fileno(), True)
            subprocess.Popen(["sleep", "600"], close_fds=False)
            os.kill(os.getpid(), signal.SIGKILL)
        for id_, words in list(self.running.items()):
            if str(self.deltas) == self.script.get("die-after"):
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
