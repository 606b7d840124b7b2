"""docs/api.md is right: its examples are run, its tables compared with the types."""

import json
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from mlxd import errors
from scripts.api_tables import PAGE, tables
from tests.support.daemon_process import DEADLINE, DaemonProcess

pytestmark = pytest.mark.slow

ADDRESS = "http://127.0.0.1:8080"
EXAMPLE = re.compile(
    r"```sh\n(?P<command>.*?)```\n\n```(?P<kind>json|text)\n(?P<reply>.*?)```", re.DOTALL
)
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = [match.groupdict() for match in EXAMPLE.finditer(TEXT)]


@pytest.fixture(scope="session")
def daemon(smollm2_daemon: DaemonProcess) -> DaemonProcess:
    return smollm2_daemon


def run(command: str, daemon: DaemonProcess) -> str:
    assert ADDRESS in command
    done = subprocess.run(
        ["bash", "-c", command.replace(ADDRESS, daemon.url)],
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
        check=True,
    )
    return done.stdout


def shape(value: Any) -> Any:
    """Return what an example has in common with every other answer to it."""
    if isinstance(value, dict):
        return {key: shape(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return type(float(value) if isinstance(value, int) else value)


def events(stream: str) -> list[Any]:
    data = [line.removeprefix("data: ") for line in stream.splitlines() if line.startswith("data")]
    return [shape(json.loads(line)) if line != "[DONE]" else line for line in data]


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_is_answered_as_shown(daemon: DaemonProcess, example: dict[str, str]) -> None:
    reply = run(example["command"], daemon)
    if example["kind"] == "text":
        assert events(reply) == events(example["reply"])
    else:
        assert shape(json.loads(reply)) == shape(json.loads(example["reply"]))


def test_each_endpoint_has_an_example() -> None:
    commands = "".join(example["command"] for example in EXAMPLES)
    for path in (
        "/health",
        "/v1/models",
        "/v1/models/",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/messages",
        "/api/chat",
    ):
        assert f"{ADDRESS}{path}" in commands


def test_the_tables_of_fields_match_the_types() -> None:
    assert tables(TEXT) == TEXT, "run scripts/api_tables.py"


def test_the_table_of_errors_has_every_error() -> None:
    def leaves(error: type[errors.MlxdError]) -> Iterator[type[errors.MlxdError]]:
        for sub in error.__subclasses__():
            yield from leaves(sub)
        if not error.__subclasses__():
            yield error

    for family in (errors.RequestError, errors.Unavailable, errors.EngineError):
        for error in leaves(family):
            code = f"`{error.code}`" if error.code else "null"
            assert f"| {error.status} | `{error.type}` | {code} |" in TEXT
