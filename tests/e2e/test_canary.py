"""A word that is in every prompt, and a key, appear nowhere but in what keeps prompts on purpose.

The word goes through every dialect and every kind of error, with the most talkative log there is;
then all that the daemon wrote, shows and hands to its processes is searched.
"""

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from scripts.tiny_model import make_tiny_model
from tests.support.certificates import make_certificate, needs_openssl
from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon, wait_until
from tests.support.mlxctl_process import printed

pytestmark = [
    pytest.mark.slow,
    needs_openssl,
]

WORD = "quetzalcoatlus"
WRONG_KEY = "sk-archaeopteryx"
KEEPS_PROMPTS = ("cache/prompts", "responses")
MAX_BODY = 200_000
MAX_QUEUE = 30
CONFIG = f"""
models.default = "tiny"
server.max_body = {MAX_BODY}
server.max_queue = {MAX_QUEUE}
server.tls_cert = "{{home}}/cert.pem"
server.tls_key = "{{home}}/key.pem"
log.level = "debug"
[model.quoting]
trust_remote_code = true
"""
QUOTING = f"""
from mlx_lm.models import llama
from mlx_lm.models.llama import ModelArgs


class Model(llama.Model):
    def __call__(self, inputs, *arguments, **options):
        if 8 < inputs.shape[1] < 64:  # a prompt
            raise ValueError("{WORD[:7]}" "{WORD[7:]}")  # this file has the word nowhere
        return super().__call__(inputs, *arguments, **options)
"""
ENDS = ("response.completed", "response.incomplete", "response.failed", "error")
USER = [{"role": "user", "content": WORD}]
TOOL = {"name": WORD, "description": WORD, "parameters": {"type": "object"}}
SHOWN = ("/control/v1/status", "/control/v1/activity?hour=true", "/control/v1/cache", "/metrics")

CHAT, TEXT, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/messages"
RESPONSES, OLLAMA, OLLAMA_TEXT = "/v1/responses", "/api/chat", "/api/generate"
ASK: dict[str, dict[str, Any]] = {
    CHAT: {"messages": USER, "max_tokens": 4},
    TEXT: {"prompt": WORD, "max_tokens": 4},
    MESSAGES: {"messages": USER, "max_tokens": 4, "model": "tiny"},
    RESPONSES: {"input": WORD, "max_output_tokens": 4},
    OLLAMA: {"messages": USER, "options": {"num_predict": 4}, "model": "tiny"},
    OLLAMA_TEXT: {"prompt": WORD, "options": {"num_predict": 4}, "model": "tiny"},
}
BAD: dict[str, dict[str, Any]] = {
    CHAT: {
        "role": {"messages": [{"role": WORD, "content": WORD}]},
        "type": {"messages": WORD},
        "image": {"messages": [{"role": "user", "content": [{"type": WORD, "text": WORD}]}]},
        "template that fails": {"chat_template": f"{{{{ raise_exception('{WORD}') }}}}"},
        "template that breaks": {"chat_template": f"{{{{ {WORD}("},
        "template of unknown names": {"chat_template": f"{{{{ {WORD}.{WORD}.{WORD} }}}}"},
        "schema": {"response_format": {"type": "json_schema", "json_schema": WORD}},
        "strict schema": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "strict": True, "schema": {"not": {"const": WORD}}},
            }
        },
        "impossible schema": {"guided_json": {"enum": [WORD], "type": "integer"}},
        "grammar": {"guided_grammar": f"start: {WORD} ("},
        "regex": {"guided_regex": f"({WORD}"},
        "tool": {"tools": [{"type": "function", "function": {**TOOL, "parameters": WORD}}]},
        "tool choice": {"tool_choice": {"type": "function", "function": {"name": WORD}}},
        "calls": {"messages": [{"role": "assistant", "tool_calls": [{"id": WORD}]}]},
        "stop": {"stop": [WORD * 100]},
        "bias": {"logit_bias": {WORD: 1}},
        "length": {"messages": [{"role": "user", "content": WORD * 1000}]},
        "field": {"prediction": WORD, "n": 0, "user": WORD},
        "half a letter": {"chat_template": "{{ raise_exception('" + WORD + "\\ud800') }}"},
    },
    TEXT: {"type": {"prompt": {WORD: WORD}}, "echo": {"echo": WORD}},
    MESSAGES: {
        "type": {"messages": [{"role": "user", "content": [{"type": WORD, WORD: WORD}]}]},
        "tool": {"tools": [{"name": WORD, "input_schema": WORD}]},
        "system": {"system": [{"type": WORD}]},
    },
    RESPONSES: {
        "type": {"input": [{"type": WORD, "content": WORD}]},
        "reference": {"input": [{"type": "item_reference", "id": WORD}]},
        "before": {"previous_response_id": WORD},
        "format": {"text": {"format": {"type": "json_schema", "name": "x", "schema": WORD}}},
    },
    OLLAMA: {"type": {"messages": [WORD]}, "format": {"format": WORD}},
    OLLAMA_TEXT: {"type": {"prompt": [WORD]}, "images": {"images": [WORD]}},
}


@dataclass
class World:
    """A daemon with two keys, over HTTPS.

    `seen` are the command lines and variables of its processes.
    """

    daemon: DaemonProcess
    client: httpx.Client
    key: str
    limited: str
    tls: ssl.SSLContext
    seen: list[str]

    def ask(self, path: str, /, **fields: Any) -> httpx.Response:
        return self.client.post(path, content=json.dumps({**ASK[path], **fields}))

    def look(self) -> None:
        """Note what the processes show to everybody on the machine."""
        assert self.daemon.process is not None
        daemon = psutil.Process(self.daemon.process.pid)
        for process in (daemon, *daemon.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                self.seen += [*process.cmdline(), *process.environ().values()]

    @property
    def engine(self) -> int | None:
        return next((model["pid"] for model in self.daemon.status()["models"]), None)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        make_tiny_model(home / "models" / "tiny", marked=True, context_length=1024)
        quoting = home / "models" / "quoting"
        shutil.copytree(home / "models" / "tiny", quoting)
        facts = json.loads((quoting / "config.json").read_text())
        (quoting / "config.json").write_text(json.dumps(facts | {"model_file": "own.py"}))
        (quoting / "own.py").write_text(QUOTING)
        (home / "tmp").mkdir()
        (home / "config.toml").write_text(CONFIG.format(home=home))
        make_certificate(home)
        rights = ("--may", "ask", "--may", "metrics")
        key = printed(home, "key", "create", "tester", *rights).splitlines()[0]
        limited = printed(home, "key", "create", "limited", "--requests-per-minute", "1")
        flags = ("--log-file", str(home / "logs" / "mlxd.log"))
        with running_daemon(home, *flags, TMPDIR=str(home / "tmp")) as daemon:
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            tls = ssl.create_default_context(cafile=home / "cert.pem")
            tls.check_hostname = False
            with httpx.Client(
                base_url=daemon.url, headers=headers, timeout=DEADLINE, verify=tls
            ) as client:
                yield World(daemon, client, key, limited.splitlines()[0], tls, [])


def test_prompts_and_keys_are_in_no_file_output_or_log(world: World) -> None:
    for send in (
        *(answered, refused, malformed, torn, kept_out, too_much, failing),
        *(on_a_websocket, in_the_background),
    ):
        send(world)
    killed_meanwhile(world, signal.SIGKILL)
    killed_meanwhile(world, signal.SIGABRT)
    world.look()
    shown = {path: world.daemon.local.get(path).text for path in SHOWN}
    assert json.loads(shown[SHOWN[0]])["models"][0]["last_crash"]
    for command in ("report", "status", "ps", "logs", "doctor"):
        shown[command] = printed(world.daemon.home, command)
    shown["processes"] = "\n".join(world.seen)
    draining(world)
    shown |= files(world.daemon.home)
    assert len(shown["logs/mlxd.log"].splitlines()) > 60
    for secret in forms(WORD, world.key, world.limited, WRONG_KEY):
        assert [name for name, text in shown.items() if secret in text] == [], secret


def answered(world: World) -> None:
    for path, body in ASK.items():
        for stream in (False, True):
            response = world.ask(path, stream=stream)
            assert response.status_code == 200, response.text
        assert body is ASK[path]
    world.look()
    assert world.ask(CHAT, tools=[{"type": "function", "function": TOOL}]).status_code == 200
    schema = {"type": "object", "properties": {WORD: {"const": WORD}}}
    assert world.ask(CHAT, guided_json=schema, max_tokens=60).status_code == 200
    template = f"{WORD}{{{{ messages }}}}"
    assert world.ask(CHAT, chat_template=template).status_code == 200
    world.look()  # with the process that renders templates
    count = world.client.post(f"{MESSAGES}/count_tokens", json=ASK[MESSAGES])
    assert count.status_code == 200
    stored = world.ask(RESPONSES).json()["id"]
    assert world.ask(RESPONSES, previous_response_id=stored).status_code == 200
    for path in (f"{RESPONSES}/{stored}", f"{RESPONSES}/{stored}/input_items", "/v1/models"):
        assert world.client.get(path, params={"secret": WORD}).status_code == 200
    assert world.client.post(
        f"{RESPONSES}/compact", json={"input": WORD, "model": "tiny"}
    ).is_success


def refused(world: World) -> None:
    """Send what is at fault, whole and streamed in turn; some of it is taken for what it may be."""
    refusals = 0
    for path, kinds in BAD.items():
        for number, (name, fields) in enumerate(kinds.items()):
            response = world.ask(path, **fields, stream=bool(number % 2))
            assert response.status_code < 500, (path, name, response.text)
            refusals += response.is_client_error
    assert refusals > 20


def malformed(world: World) -> None:
    for path in ASK:
        whole = json.dumps(ASK[path])
        for data in (
            whole[:-1],
            f"{WORD}{whole}",
            whole.encode() + b"\xff",
            f'["{WORD}"]',
            "[" * 999,
        ):
            assert world.client.post(path, content=data).status_code == 400
        large = json.dumps({**ASK[path], "padding": WORD * MAX_BODY})
        assert world.client.post(path, content=large).status_code == 413
        assert world.client.put(path, content=whole).status_code == 405
        other = {"origin": f"http://{WORD}.example"}
        assert world.client.post(path, content=whole, headers=other).status_code == 403
    assert world.client.post("/v1/nothing", json={"prompt": WORD}).status_code == 404
    raw = world.client.post(CHAT, content=iter([b'{"messages": "', WORD.encode()]))
    assert raw.status_code == 400


def kept_out(world: World) -> None:
    for path, body in ASK.items():
        for headers in (
            {"authorization": f"Bearer {WRONG_KEY}"},
            {"authorization": f"Basic {WRONG_KEY}"},
            {"authorization": "", "x-api-key": WRONG_KEY},
        ):
            assert world.client.post(path, json=body, headers=headers).status_code == 401
    by_other_name = {"authorization": "", "x-api-key": world.key}
    assert world.client.post(TEXT, json=ASK[TEXT], headers=by_other_name).status_code == 200
    pull = world.client.post("/api/pull", json={"model": f"acme/{WORD[:3]}"})
    assert pull.status_code == 403


def torn(world: World) -> None:
    """Send what is no HTTP, and leave in the middle; without TLS too."""
    where = world.daemon.url.removeprefix("https://").split(":")
    for sent in (
        f"{WORD}\r\n\r\n",
        f"POST {CHAT} HTTP/1.1\r\nAuthorization: Bearer {world.key}\r\n{WORD}\r\n\r\n",
        f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n"
        f"Authorization: Bearer {world.key}\r\n\r\n{WORD}",
    ):
        for wrap in (contextlib.nullcontext, world.tls.wrap_socket):
            with (
                contextlib.suppress(OSError),
                socket.create_connection((where[0], int(where[1])), DEADLINE) as plain,
                wrap(plain) as connection,
            ):
                connection.sendall(sent.encode())


def too_much(world: World) -> None:
    """Ask for more than a key may, and for more than the daemon queues."""
    bearer = {"authorization": f"Bearer {world.limited}"}
    for path, body in ASK.items():
        reply = world.client.post(path, json=body, headers=bearer)
        assert reply.status_code == (200 if path == CHAT else 429), reply.text
    with long_stream(world) as pieces:
        next(pieces)
        refused = world.ask(CHAT, n=MAX_QUEUE)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")


def failing(world: World) -> None:
    """Have errors happen that nobody expects, here and in an engine."""
    kept = world.ask(RESPONSES).json()["id"]
    (file,) = (world.daemon.home / "responses").rglob(f"{kept}.json")
    file.write_text(json.dumps({"response": {WORD: WORD}, "items": [{WORD: WORD}]}))
    for reply in (
        world.client.get(f"{RESPONSES}/{kept}"),
        world.ask(RESPONSES, previous_response_id=kept),
        world.ask(RESPONSES, previous_response_id=kept, stream=True),
    ):
        assert reply.status_code == 500, reply.text
    for path in ASK:
        for stream in (False, True):
            reply = world.ask(path, model="quoting", stream=stream)
            assert reply.is_server_error or "error" in reply.text, reply.text
    ended = {each["error"] for each in served(world) if each["model"] == "quoting"}
    assert {"engine_died", "request_ends_engine"} <= ended


def served(world: World) -> list[dict[str, Any]]:
    """Return the last requests, as the daemon tells of them."""
    return world.daemon.local.get("/control/v1/activity").json()["requests"]


def on_a_websocket(world: World) -> None:
    kinds = ({}, {"input": [WORD]}, {"previous_response_id": WORD}, {"type": WORD})
    for path in (RESPONSES, "/responses"):
        with pytest.raises(InvalidStatus, match="401"):
            opened(world, path, WRONG_KEY)
        with opened(world, path, world.key) as connection:
            for fields in (*kinds, {"model": "quoting"}):
                asked = {"type": "response.create", **ASK[RESPONSES], **fields}
                connection.send(json.dumps(asked))
                while json.loads(connection.recv(DEADLINE))["type"] not in ENDS:
                    pass
            connection.send(WORD)
            assert json.loads(connection.recv(DEADLINE))["type"] == "error"
            connection.send(WORD.encode())
            connection.send(WORD * MAX_BODY)
            with pytest.raises(ConnectionClosedError, match="message too big"):
                list(connection)


def opened(world: World, path: str, key: str) -> ClientConnection:
    url = world.daemon.url.replace("http", "ws", 1) + path
    headers = {"authorization": f"Bearer {key}"}
    return connect(url, additional_headers=headers, ssl=world.tls, open_timeout=DEADLINE)


def in_the_background(world: World) -> None:
    begun = world.ask(RESPONSES, background=True).json()["id"]
    ended = ("completed", "incomplete")
    at = f"{RESPONSES}/{begun}"
    wait_until(lambda: world.client.get(at).json()["status"] in ended, "the response is complete")
    endless = world.ask(RESPONSES, background=True, max_output_tokens=900).json()["id"]
    assert world.client.post(f"{RESPONSES}/{endless}/cancel").status_code == 200
    assert world.client.delete(f"{RESPONSES}/{endless}").status_code == 200


def killed_meanwhile(world: World, number: signal.Signals) -> None:
    """Kill the engine with requests running, in streams and not, and in the background."""
    world.ask(CHAT)  # which loads the model
    many = {"max_tokens": 900, "max_output_tokens": 900, "options": {"num_predict": 900}}
    begun = threading.Barrier(len(ASK) + 1)

    def stream(path: str) -> None:
        body = {**ASK[path], "stream": True}
        body |= {name: value for name, value in many.items() if name in ASK[path]}
        with world.client.stream("POST", path, json=body) as response:
            pieces = response.iter_bytes()
            while b"{" not in next(pieces):  # a comment
                pass
            begun.wait(DEADLINE)
            for _ in pieces:
                pass

    threads = [threading.Thread(target=stream, args=[path]) for path in ASK]
    for thread in threads:
        thread.start()
    begun.wait(DEADLINE)
    world.look()
    assert world.engine is not None
    os.kill(world.engine, number)
    for thread in threads:
        thread.join(DEADLINE)
    assert world.ask(CHAT).status_code == 200


def draining(world: World) -> None:
    """End the daemon while a stream is running, and ask it everything once more."""
    assert world.daemon.process is not None
    with long_stream(world) as pieces:
        next(pieces)
        world.daemon.process.send_signal(signal.SIGTERM)
        wait_until(lambda: world.ask(CHAT).status_code == 503, "it drains")
        for path in ASK:
            assert world.ask(path).status_code == 503
        assert b"[DONE]" in b"".join(pieces)
    assert world.daemon.process.wait(DEADLINE) == 0


@contextlib.contextmanager
def long_stream(world: World) -> Iterator[Iterator[bytes]]:
    long = {**ASK[CHAT], "stream": True, "max_tokens": 900, "ignore_eos": True}
    with world.client.stream("POST", CHAT, json=long) as response:
        yield response.iter_bytes()


def files(home: Path) -> dict[str, str]:
    """Return the content of every file, but for those of what keeps prompts; names count too."""
    found = {}
    for file in home.rglob("*"):
        name = str(file.relative_to(home))
        if file.is_file() and not name.startswith(KEEPS_PROMPTS):
            found[name] = name + file.read_bytes().decode("latin-1")
    return found


def forms(*secrets: str) -> list[str]:
    """Return each secret as it may be written."""
    return [
        form
        for secret in secrets
        for form in (secret, secret.encode().hex(), base64.b64encode(secret.encode()).decode()[:-4])
    ]
