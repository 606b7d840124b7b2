"""Paths as clients spell them, and what a wrong path or method is told."""

import pytest

from mlxd.http.app import public_app, unix_app
from tests.http.conftest import client_of
from tests.support.http_fakes import make_dependencies

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
def client(pool):
    return client_of(public_app(make_dependencies(pool)))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/",  # cline#12532
        "//v1/models",  # open-webui#16749
        "/v1//models//",
        "/models",  # llama.cpp has it too
        "http://localhost:8080/v1/models",
    ],
)
async def test_the_list_of_models(client, path):
    reply = await client.get(path)
    assert (reply.status_code, reply.json()["object"]) == (200, "list")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/owner/name/",
        "/v1/models/owner//name",
        "/v1/models/owner%2Fname",
        "/models/owner/name",
    ],
)
async def test_one_model(client, path):
    assert (await client.get(path)).json()["id"] == "owner/name"


@pytest.mark.parametrize(
    "path",
    [
        "//v1/chat/completions",
        "/v1/chat/completions/",
        "/chat/completions",  # llama-cpp-python#1032
    ],
)
async def test_chat(client, path):
    reply = await client.post(path, json=CHAT)
    assert reply.json()["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize("path", ["/v1/completions/", "/completions"])
async def test_text(client, path):
    assert (await client.post(path, json={"prompt": "Hi"})).json()["object"] == "text_completion"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/v1/models", "/v1/models"),
        ("/api/v1/models/owner/name", "/v1/models/owner/name"),
        ("/openai/v1/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completion", "/v1/chat/completions"),
        ("/V1/Models", "/v1/models"),
        ("/v1/health", "/health"),
        ("/" + "x/" * 5000 + "models", "/v1/models"),
    ],
)
async def test_a_wrong_path_is_told_the_right_one(client, path, meant):
    reply = await client.get(path)
    assert reply.status_code == 404
    message = reply.json()["error"]["message"]
    assert message == f"no such path: {path}; did you mean {meant}?"


async def test_a_path_like_no_other_is_told_what_there_is(client):
    reply = await client.post("/v1/embeddings", json={})
    assert reply.status_code == 404
    assert reply.json()["error"] == {
        "message": "no such path: /v1/embeddings; "
        "there are /v1/chat/completions, /v1/completions, /v1/messages, "
        "/v1/messages/count_tokens, /v1/models, /v1/responses, /v1/responses/input_tokens, "
        "/v1/responses/compact",
        "type": "invalid_request_error",
        "param": None,
        "code": "not_found",
    }


async def test_a_wrong_method_is_told_the_right_one(client):
    reply = await client.get("/v1/chat/completions/")
    assert (reply.status_code, reply.headers["allow"]) == (405, "OPTIONS, POST")
    assert reply.json()["error"]["message"] == "/v1/chat/completions takes POST, not GET"
    assert reply.json()["error"]["code"] == "method_not_allowed"
    reply = await client.request("DELETE", "/v1/models/owner/name")
    assert (reply.status_code, reply.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_the_methods_of_a_path_with_several_routes(pool):
    client = client_of(unix_app(make_dependencies(pool)))
    reply = await client.options("/control/v1/models/tiny")
    assert (reply.status_code, reply.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")


@pytest.mark.parametrize(
    "path", ["/", "/health", "/v1/models", "/v1/models/tiny", "/openapi.json", "/models/"]
)
async def test_head_is_get_without_the_body(client, path):
    head, get = await client.head(path), await client.get(path)
    assert (head.status_code, get.status_code) == (200, 200)
    assert head.headers["content-length"] == get.headers["content-length"]


async def test_options_says_what_is_allowed(client):
    reply = await client.options("/v1/completions")
    assert (reply.status_code, reply.headers["allow"]) == (204, "OPTIONS, POST")
    assert (await client.options("/v1/nothing")).status_code == 404


async def test_the_root_says_what_this_is(client, pool):
    reply = await client.get("/")
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert reply.text.startswith("mlxd ")
    assert "POST /v1/chat/completions" in reply.text
    locked = client_of(public_app(make_dependencies(pool, api_key="s3cret99")))
    assert (await locked.get("/")).status_code == 200
