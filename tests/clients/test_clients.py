"""Clients of the OpenAI API, unchanged: what their programs in `programs/` and `node/` got.

SmolLM2 is small: it answers the question, and what it fills into a schema need not be true.
"""

from typing import Any

import pytest

from tests.clients.conftest import Environments
from tests.support.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

CALL = ["get_weather", {"city": "Paris"}]


@pytest.fixture(params=["langchain-openai", "litellm", "node"], scope="module")
def report(
    request: pytest.FixtureRequest, environments: Environments, daemon: DaemonProcess
) -> dict[str, Any]:
    name: str = request.param
    if name == "node":
        return environments.node_client(daemon).report()
    return environments.python_client(name, daemon).report()


def test_they_chat(report: dict[str, Any]) -> None:
    assert "Paris" in report["chat"]
    assert 0 < report["usage"] <= 60


def test_they_stream_what_they_would_have_got_whole(report: dict[str, Any]) -> None:
    assert "".join(report["stream"]) == report["chat"]
    assert len([piece for piece in report["stream"] if piece]) > 3


def test_they_have_functions_called(report: dict[str, Any]) -> None:
    assert report["tool"] == CALL
    assert report["streamed_tool"] == CALL
    assert report.get("zod_tool", CALL[1]) == CALL[1]
    assert report.get("finish_reason", "tool_calls") == "tool_calls"


def test_they_send_results_back(report: dict[str, Any]) -> None:
    assert "sunny" in report["after_tool"]


def test_they_get_what_matches_their_schemas(report: dict[str, Any]) -> None:
    assert report["schemas"]
    for city in report["schemas"]:
        assert is_city(city)


@pytest.fixture(scope="module")
def instructor(environments: Environments, daemon: DaemonProcess) -> dict[str, Any]:
    return environments.python_client("instructor", daemon).report()


def test_instructor_chats(instructor: dict[str, Any]) -> None:
    assert "Paris" in instructor["chat"]


def test_instructor_fills_schemas_by_a_function_and_by_a_response_format(
    instructor: dict[str, Any],
) -> None:
    assert len(instructor["schemas"]) == 2
    assert all(map(is_city, instructor["schemas"]))


def test_instructor_streams_partial_objects(instructor: dict[str, Any]) -> None:
    assert len(instructor["partials"]) > 3
    assert is_city(instructor["partials"][-1])


def is_city(value: dict[str, Any]) -> bool:
    return (
        set(value) == {"name", "capital"}
        and isinstance(value["name"], str)
        and isinstance(value["capital"], bool)
    )
