"""Web pages: by default none may use the daemon but its own; `server.allowed_origins` lets more."""

import time

import httpx
import pytest

from mlxd.http.app import public_app
from mlxd.http.origins import allows
from tests.http.conftest import client_of
from tests.support.http_fakes import make_dependencies

CHAT = {"messages": [{"role": "user", "content": "Hi"}]}
PAGE = "http://localhost:5173"


def cors_headers(reply: httpx.Response) -> dict[str, str]:
    return {
        name.removeprefix("access-control-"): value
        for name, value in reply.headers.items()
        if name.startswith("access-control-")
    }


@pytest.mark.parametrize(
    ("entry", "allowed", "refused"),
    [
        ("https://chat.example", ["https://chat.example"], ["http://chat.example", "null"]),
        ("https://Chat.Example/", ["https://chat.example"], ["https://chat.example.evil.test"]),
        ("https://chat.example:443", ["https://chat.example"], ["https://chat.example:444"]),
        ("http://chat.example", ["http://chat.example:80"], ["http://chat-example"]),
        ("http://localhost:3000", ["http://LOCALHOST:3000"], ["http://localhost:30000"]),
        (
            "http://localhost:*",
            ["http://localhost", "http://localhost:1"],
            ["http://localhost.evil.test", "https://localhost:1", "http://localhost:1.evil.test"],
        ),
        ("http://[::1]:*", ["http://[::1]:3000"], ["http://[::2]:3000"]),
        (
            "chrome-extension://*",  # lumos#57, ollama#3016
            ["chrome-extension://dnlfmmkcnmmkgjbo"],
            ["moz-extension://dnlf", "http://chrome-extension"],
        ),
        ("https://*", ["https://a.test", "https://[::1]:8"], ["http://a.test", "null"]),
        (
            "https://*.corp.test",
            ["https://a.b.corp.test"],
            ["https://corp.test", "https://xcorp.test"],
        ),
        ("tauri://localhost", ["tauri://localhost"], ["http://localhost"]),  # jan#8131
        ("null", ["null"], ["http://null"]),  # a page from a file, flexllama#30
        ("file://", ["file://"], ["null", "https://file"]),  # miniblink49#585
        ("file://*", ["file://"], ["null"]),
        ("*", ["null", "https://a.test", "app://x"], []),
    ],
)
def test_what_an_entry_allows(entry: str, allowed: list[str], refused: list[str]) -> None:
    assert [origin for origin in allowed if not allows([entry], origin)] == []
    assert [origin for origin in refused if allows([entry], origin)] == []


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", 200),
        ("http://LOCALHOST:8080", 200),
        ("http://localhost:3000", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("file://", 403),
        ("abc", 403),  # ollama#6021
    ],
)
async def test_by_default_only_our_own_pages_may_ask(pool, origin, status):
    client = client_of(public_app(make_dependencies(pool)))
    reply = await client.get("/v1/models", headers={"origin": origin})
    assert reply.status_code == status
    assert cors_headers(reply) == {}


async def test_a_refused_origin_is_told_how_to_allow_it(pool):
    settings = {"allowed_origins": ["https://chat.example"]}
    client = client_of(public_app(make_dependencies(pool, **settings)))
    ask = {"origin": PAGE, "access-control-request-method": "POST"}
    for method in ("GET", "OPTIONS"):
        reply = await client.request(method, "/v1/models", headers=ask)
        assert (reply.status_code, cors_headers(reply)) == (403, {})
        assert reply.json()["error"]["message"] == (
            f'Origin "{PAGE}" is not allowed. To allow it, set in config.toml: '
            f'server.allowed_origins = ["https://chat.example", "{PAGE}"]'
        )


async def test_an_allowed_page_asks_and_reads_the_reply(pool):
    """Authorization and the headers of an SDK have to be allowed by name, ollama#4001."""
    settings = {"allowed_origins": ["http://localhost:*"], "api_key": "s3cret99"}
    client = client_of(public_app(make_dependencies(pool, **settings)))
    ask = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
        "access-control-request-private-network": "true",
    }
    asked = await client.options("/v1/chat/completions", headers=ask)
    assert asked.status_code == 204
    assert cors_headers(asked) == {
        "allow-origin": PAGE,
        "allow-methods": "GET, HEAD, POST, OPTIONS",
        "allow-headers": "authorization,content-type,x-stainless-os",
        "allow-private-network": "true",
        "max-age": "600",
        "expose-headers": "*",
    }
    assert "Origin" in asked.headers["vary"]

    readable = {"allow-origin": PAGE, "expose-headers": "*"}
    for key, status in (("s3cret99", 200), ("wrong", 401)):
        for stream in (False, True):
            headers = {"origin": PAGE, "authorization": f"Bearer {key}"}
            body = CHAT | {"stream": stream}
            reply = await client.post("/v1/chat/completions", json=body, headers=headers)
            assert (reply.status_code, cors_headers(reply)) == (status, readable)
    assert (await client.get("/")).headers["vary"] == "Accept, Origin"


async def test_an_allowed_origin_does_not_make_a_foreign_host_ours(pool):
    client = client_of(public_app(make_dependencies(pool, allowed_origins=["*"])))
    headers = {"origin": "http://evil.test", "host": "evil.test:8080"}
    assert (await client.get("/v1/models", headers=headers)).status_code == 403


def test_an_origin_of_many_parts_is_told_at_once() -> None:
    """A nested repetition takes twice as long for each part more."""
    began = time.perf_counter()
    assert not allows(["https://*.corp.test"], "https://" + "a." * 32 + "test")
    assert time.perf_counter() - began < 5
