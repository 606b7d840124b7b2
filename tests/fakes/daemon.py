"""A daemon that has one engine and nothing else, to be ended however a test likes.

Run as `python tests/fakes/daemon.py [MODEL]`: it spawns an engine, which inherits its output, has
it load MODEL if there is one and then read a long prompt, and prints the engine's process id and
the name of every message.
"""

import socket
import subprocess
import sys

from mlxd.frames import FrameSplitter, decode_engine_frame, encode_frame
from mlxd.generate_request import GenerateRequest, Sampling, TokensPrompt
from mlxd.messages import Generate, Load, Ready

LONG_PROMPT = TokensPrompt([65] * 3000)


def main(models: list[str]) -> None:
    connection, its_connection = socket.socketpair()
    engine = [sys.executable, "-P", "-m", "mlxd.engine"]
    process = subprocess.Popen(engine, stdin=its_connection, start_new_session=True)
    print(process.pid, flush=True)
    its_connection.close()
    for model in models:
        connection.sendall(encode_frame([Load(model)]))
    splitter = FrameSplitter()
    while data := connection.recv(65536):
        for payload in splitter.feed(data):
            for message in decode_engine_frame(payload):
                print(type(message).__name__, flush=True)
                if isinstance(message, Ready):
                    request = GenerateRequest(LONG_PROMPT, 1, Sampling())
                    connection.sendall(encode_frame([Generate(1, request)]))


if __name__ == "__main__":
    main(sys.argv[1:])
