"""Use mlxd through the `openai` package: chat, streaming, tools, structured output.

    python openai_client_example.py                           # over TCP
    python openai_client_example.py --socket                  # over the Unix socket

It needs `pip install openai` and a running mlxd with a default model (`mlxctl use MODEL`).
"""

import argparse
import json
import subprocess
import sys

import httpx
from openai import APIConnectionError, APIStatusError, OpenAI
from pydantic import BaseModel

MODEL = "default_model"
QUESTION = {"role": "user", "content": "What is the capital of France?"}


def main() -> None:
    """Run each example."""
    parser = argparse.ArgumentParser(description="mlxd through the openai package")
    parser.add_argument("--url", default="http://127.0.0.1:8080/v1")
    parser.add_argument(
        "--socket", nargs="?", const="", help="Unix socket (default: as mlxctl says)"
    )
    parser.add_argument("--key", default="none", help="server.api_key, if it is set")
    options = parser.parse_args()
    if options.socket is None:
        client = OpenAI(base_url=options.url, api_key=options.key)
    else:
        client = over_socket(options.socket or socket_of_daemon())
    try:
        chat(client)
        stream(client)
        call_a_function(client)
        fill_a_schema(client)
    except APIConnectionError:
        sys.exit("mlxd does not answer there (try: mlxctl start)")
    except APIStatusError as error:
        sys.exit(error.message)


def over_socket(path: str) -> OpenAI:
    """Return a client that uses a Unix socket. The host name in the URL does not matter."""
    http_client = httpx.Client(transport=httpx.HTTPTransport(uds=path), timeout=600)
    return OpenAI(base_url="http://localhost/v1", api_key="none", http_client=http_client)


def socket_of_daemon() -> str:
    """Return the path of the daemon's Unix socket."""
    command = ["mlxctl", "status", "--json"]
    status = subprocess.run(command, capture_output=True, text=True)
    if status.returncode:
        sys.exit(status.stderr.strip() or "mlxd is not running (try: mlxctl start)")
    path: str = json.loads(status.stdout)["socket"]
    return path


def chat(client: OpenAI) -> None:
    """Ask a question and print the answer."""
    reply = client.chat.completions.create(model=MODEL, messages=[QUESTION], max_tokens=30)
    print("chat:  ", reply.choices[0].message.content)


def stream(client: OpenAI) -> None:
    """Print an answer while it arrives."""
    print("stream:", end=" ")
    chunks = client.chat.completions.create(
        model=MODEL, messages=[QUESTION], max_tokens=30, stream=True
    )
    for chunk in chunks:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


def call_a_function(client: OpenAI) -> None:
    """Let the model call a function, and send it the result."""
    weather = {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Tell the weather in a city.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    }
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    reply = client.chat.completions.create(
        model=MODEL,
        messages=messages,
        tools=[weather],
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=60,
    )
    message = reply.choices[0].message
    (call,) = message.tool_calls
    arguments = json.loads(call.function.arguments)
    print("call:  ", call.function.name, arguments)

    result = f"It is sunny in {arguments['city']}, 24 degrees."
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": result}]
    reply = client.chat.completions.create(
        model=MODEL, messages=messages, tools=[weather], max_tokens=60
    )
    print("answer:", reply.choices[0].message.content)


class City(BaseModel):
    """A city."""

    name: str
    capital: bool


def fill_a_schema(client: OpenAI) -> None:
    """Get the answer as an object."""
    reply = client.chat.completions.parse(
        model=MODEL,
        messages=[{"role": "user", "content": "Paris"}],
        response_format=City,
        max_tokens=60,
    )
    print("schema:", reply.choices[0].message.parsed)


if __name__ == "__main__":
    main()
