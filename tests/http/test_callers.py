"""Who may do what: keys, their rights and their models, for every route."""

import base64
import resource
import time

import pytest
from starlette.routing import WebSocketRoute

from mlxd import keys
from mlxd.errors import ConfigError, ModelNotFound
from mlxd.http.app import public_app, unix_app
from mlxd.http.callers import Caller, Callers
from mlxd.http.key_ring import KeyRing
from mlxd.http.rights import is_free, right_for
from tests.http.conftest import client_of
from tests.support.http_fakes import FakePool, make_dependencies
from tests.support.key_file import KeyFile, bearer

ASK = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}
ANY_KEY = "any key"
RIGHT_OF = {
    "/": None,
    "/health": None,
    "/openapi.json": "ask",
    "/metrics": "metrics",
    "/chat/completions": "ask",
    "/completions": "ask",
    "/messages": "ask",
    "/messages/count_tokens": "ask",
    "/models": "ask",
    "/models/{id:path}": "ask",
    "/responses": "ask",
    "/responses/input_tokens": "ask",
    "/responses/compact": "ask",
    "/responses/{id}": "ask",
    "/responses/{id}/cancel": "ask",
    "/responses/{id}/input_items": "ask",
    "/api/v0/models": "ask",
    "/api/v0/models/{id:path}": "ask",
    "/api/v0/chat/completions": "ask",
    "/api/v0/completions": "ask",
    "/api/chat": "ask",
    "/api/generate": "ask",
    "/api/version": "ask",
    "/api/tags": "ask",
    "/api/ps": "ask",
    "/api/show": "ask",
    "/api/pull": "pull",
    "/api/copy": "manage",
    "/api/delete": "manage",
    "/page/{file:path}": None,
    "/ui/v1/caller": ANY_KEY,
    "/ui/v1/status": "metrics",
    "/ui/v1/activity": "metrics",
    "/ui/v1/models": "metrics",
    "/ui/v1/models/{model:path}": "metrics",
    "/ui/v1/pulls": "metrics",
    "/ui/v1/pull": "pull",
    "/ui/v1/pull/cancel": "pull",
    "/ui/v1/load": "manage",
    "/ui/v1/unload": "manage",
    "/ui/v1/use": "manage",
    "/ui/v1/log": "manage",
}


@pytest.fixture
def client(pool: FakePool, key_file: KeyFile):
    return client_of(public_app(make_dependencies(pool, ring=key_file.ring)))


def test_each_route_names_its_right(pool: FakePool) -> None:
    for route in public_app(make_dependencies(pool)).routes:
        path = route.path.removeprefix("/v1")
        assert path in RIGHT_OF, "say here what this route needs, and in mlxd.http.callers"
        needed = right_for(route.path) or ANY_KEY
        assert RIGHT_OF[path] == (None if is_free("GET", path) else needed)


async def test_every_route_needs_a_key_with_its_right(pool: FakePool, key_file: KeyFile) -> None:
    """On TCP; the Unix socket has the same routes, and those for mlxctl, with all rights."""
    app = public_app(make_dependencies(pool, ring=key_file.ring))
    local = client_of(unix_app(make_dependencies(pool, ring=key_file.ring)))
    client = client_of(app)
    with_right = {right: key_file.add(right, [right]) for right in keys.RIGHTS}
    for route in app.routes:
        if isinstance(route, WebSocketRoute):  # a GET like any other, before it is upgraded
            continue
        path = route.path.replace("{id:path}", "tiny").replace("{id}", "x")
        path = path.replace("{model:path}", "tiny").replace("{file:path}", "app.js")
        for method in route.methods - {"HEAD"}:
            right = RIGHT_OF[route.path.removeprefix("/v1")]
            status = (await client.request(method, path)).status_code
            assert status == 401 if right else status == 200
            for held, text in with_right.items():
                reply = await client.request(method, path, headers=bearer(text))
                assert (reply.status_code == 403) == (right not in (None, ANY_KEY, held)), path
            assert (await local.request(method, path)).status_code not in (401, 403)
    assert (await client.get("/control/v1/status", headers=bearer(with_right["manage"]))).is_error


@pytest.mark.parametrize("spelling", ["/api/pull/", "/api//pull", "/api/%70ull", "/api/pull?x=1"])
async def test_no_spelling_of_a_path_gets_around_its_right(client, key_file, spelling):
    text = key_file.add()
    reply = await client.post(spelling, json={"model": "m"}, headers=bearer(text))
    assert reply.status_code == 403
    assert reply.json()["error"] == ("/api/pull needs the right 'pull', and this key has only: ask")


async def test_clients_send_a_key_in_their_own_ways(client, key_file):
    text = key_file.add()
    basic = base64.b64encode(f"me:{text}".encode()).decode()
    ways = [
        bearer(text),
        {"x-api-key": text},
        {"api-key": text},
        bearer("none") | {"x-api-key": text},
    ]
    for headers in (*ways, {"authorization": f"Basic {basic}"}):
        assert (await client.get("/v1/models", headers=headers)).status_code == 200
        broken = {name: value[:-3] for name, value in headers.items()}
        assert (await client.get("/v1/models", headers=broken)).status_code == 401


async def test_the_configured_key_keeps_all_rights_beside_others(pool, key_file):
    key_file.add()
    context = make_dependencies(pool, ring=key_file.ring, api_key="s3cret-s3cret")
    client = client_of(public_app(context))
    body = {"source": "tiny", "destination": "copy"}
    headers = bearer("s3cret-s3cret")
    assert (await client.post("/api/copy", json=body, headers=headers)).status_code == 200


async def test_without_any_key_only_what_changes_nothing_is_open(client):
    assert (await client.get("/v1/models")).status_code == 200
    reply = await client.post("/api/pull", json={"model": "m"})
    assert reply.status_code == 403
    assert "set server.api_key" in reply.json()["error"]


async def test_keys_come_and_go_while_the_daemon_runs(client, key_file):
    text = key_file.add()
    assert (await client.get("/v1/models")).status_code == 401
    assert (await client.get("/v1/models", headers=bearer(text))).status_code == 200
    keys.revoke(key_file.file, "key")
    assert (await client.get("/v1/models", headers=bearer(text))).status_code == 401
    key_file.file.unlink()
    assert (await client.get("/v1/models")).status_code == 401  # not open by an accident


async def test_an_expired_key_says_so(client, key_file):
    text = key_file.add(expires=time.time() - 1)
    reply = await client.get("/v1/models", headers=bearer(text))
    assert reply.status_code == 401
    assert "this API key expired on 20" in reply.json()["error"]["message"]


async def test_a_damaged_key_file_changes_no_keys_and_prevents_a_start(client, key_file):
    text = key_file.add()
    assert (await client.get("/v1/models", headers=bearer(text))).status_code == 200
    key_file.file.write_text("{")
    assert (await client.get("/v1/models", headers=bearer(text))).status_code == 200
    assert (await client.get("/v1/models")).status_code == 401
    with pytest.raises(ConfigError, match="is damaged"):
        Callers("", KeyRing(key_file.file, key_file.uses_file))


async def test_keys_that_cannot_be_read_now_are_read_at_the_next_request(client, key_file, caplog):
    headers = bearer(key_file.add())
    assert (await client.get("/v1/models", headers=headers)).status_code == 200
    keys.revoke(key_file.file, "key")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))  # no more files can be opened
    try:
        for _ in range(2):
            key_file.ring.refresh()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert caplog.text.count("the keys before stay") == 1
    assert (await client.get("/v1/models", headers=headers)).status_code == 401


async def test_the_last_use_is_noted(key_file):
    text = key_file.add()
    key_file.ring.refresh()
    key = key_file.ring.find(text.encode())
    assert key_file.ring.use(key)
    assert not key_file.ring.use(key)  # at most once a minute
    key_file.ring.save_uses()
    assert 0 <= time.time() - keys.last_uses(key_file.uses_file)[key.digest] < 60


async def test_a_key_sees_and_uses_its_models_only(client, key_file, pool):
    headers = bearer(key_file.add(models=["owner/*"]))
    listed = (await client.get("/v1/models", headers=headers)).json()["data"]
    assert [model["id"] for model in listed] == ["owner/name"]
    tags = (await client.get("/api/tags", headers=headers)).json()["models"]
    assert [model["name"] for model in tags] == ["owner/name"]
    assert (await client.get("/v1/models/tiny", headers=headers)).status_code == 403
    assert (await client.post("/api/show", json={"model": "tiny"}, headers=headers)).is_error
    for path, form in (
        ("/v1/chat/completions", lambda reply: reply["error"]["message"]),
        ("/v1/messages", lambda reply: reply["error"]["message"]),
        ("/api/chat", lambda reply: reply["error"]),
    ):
        reply = await client.post(path, json=ASK | {"max_tokens": 5}, headers=headers)
        assert reply.status_code == 403
        assert form(reply.json()) == "this key may not use 'tiny'; it may use owner/*"
        reply = await client.post(
            path, json=ASK | {"model": "nono", "max_tokens": 5}, headers=headers
        )
        assert reply.status_code == 404
        assert "tiny" not in reply.text
    body = {"messages": ASK["messages"]}
    reply = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert (reply.status_code, "tiny" in reply.text) == (403, False)
    for draft, status in (("tiny", 403), ("owner/nono", 404)):
        body = ASK | {"model": "owner/name", "draft_model": draft}
        reply = await client.post("/v1/chat/completions", json=body, headers=headers)
        assert (reply.status_code, reply.json()["error"]["param"]) == (status, "draft_model")
        assert "near ones: tiny" not in reply.text
    assert not pool.requests
    reply = await client.post(
        "/v1/chat/completions", json=ASK | {"model": "owner/name"}, headers=headers
    )
    assert reply.status_code == 200


def test_only_a_star_stands_for_other_text_and_a_broken_model_of_one_s_own_is_explained() -> None:
    caller = Caller("key", frozenset(), ("tiny [4?]", "owner/*"))
    assert caller.may_use("tiny [4?]")
    assert not caller.may_use("tiny 4")
    assert caller.may_use("owner/name")
    for found, told in (("owner/half", True), ("other", False)):
        error = ModelNotFound("its weights are cut short", found=found)
        assert (caller.not_found(error, "half") is error) == told
    assert caller.not_found(ModelNotFound("several: a, b"), None).message == (
        "the request names no model; this key may use tiny [4?], owner/*"
    )


async def test_each_key_has_a_prompt_cache_of_its_own(client, key_file, pool):
    one, two = key_file.add("one"), key_file.add("two")
    for text in (one, two, one):
        await client.post("/v1/chat/completions", json=ASK, headers=bearer(text))
    salts = [request.salt for request in pool.requests]
    assert salts[0] == salts[2] != salts[1]
    assert all(salts)


async def test_unloading_needs_the_right_to_manage(client, key_file):
    headers = bearer(key_file.add())
    reply = await client.post("/api/chat", json={"model": "tiny", "keep_alive": 0}, headers=headers)
    assert reply.status_code == 403
    assert "to unload a model needs the right 'manage'" in reply.json()["error"]
    own = bearer(key_file.add("own", ["ask", "manage"], ["owner/*"]))
    body = {"model": "nono", "keep_alive": 0}
    reply = await client.post("/api/generate", json=body, headers=own)
    assert (reply.status_code, "tiny" in reply.text) == (404, False)


async def test_how_long_a_model_stays_is_up_to_those_who_manage(client, key_file, pool):
    for rights in (["ask"], ["ask", "manage"]):
        headers = bearer(key_file.add("-".join(rights), rights))
        for path in ("/v1/chat/completions", "/api/chat"):
            body = ASK | {"keep_alive": "0s"}
            assert (await client.post(path, json=body, headers=headers)).status_code == 200
    assert pool.kept == [None, None, 0, 0]


async def test_a_key_for_some_models_changes_no_aliases_of_others(client, key_file):
    headers = bearer(key_file.add("own", ["manage"], ["owner/*"]))
    for method, path, body, status in (
        ("DELETE", "/api/delete", {"model": "small"}, 403),
        ("POST", "/api/copy", {"source": "owner/name", "destination": "small"}, 403),
        ("POST", "/api/copy", {"source": "owner/name", "destination": "mine"}, 200),
        ("DELETE", "/api/delete", {"model": "mine"}, 200),
    ):
        reply = await client.request(method, path, json=body, headers=headers)
        assert reply.status_code == status, (path, body)


@pytest.mark.parametrize("name", ["hf.co/evil/huge/tree/tiny-4bit", "evil/huge@tiny-4bit"])
async def test_a_key_for_some_models_pulls_no_others_by_their_addresses(client, key_file, name):
    headers = bearer(key_file.add("own", ["pull"], ["*-4bit"]))
    for path in ("/api/pull", "/ui/v1/pull"):
        reply = await client.post(path, json={"model": name}, headers=headers)
        assert reply.status_code == 403
        assert "this key may not use 'evil/huge'" in reply.text


async def test_a_stored_response_is_its_key_s_alone(pool, key_file, tmp_path):
    context = make_dependencies(pool, ring=key_file.ring, responses=tmp_path / "responses")
    client = client_of(public_app(context))
    one, two = bearer(key_file.add("one")), bearer(key_file.add("two"))
    asked = {"model": "tiny", "input": "hi"}
    made = (await client.post("/v1/responses", json=asked, headers=one)).json()
    path = f"/v1/responses/{made['id']}"
    item = made["output"][0]["id"]
    for headers, known in ((two, False), (one, True)):
        assert (await client.get(path, headers=headers)).is_success == known
        items = await client.get(f"{path}/input_items", headers=headers)
        assert items.is_success == known
        for more in (
            {"previous_response_id": made["id"]},
            {"input": [{"type": "item_reference", "id": item}, {"role": "user", "content": "go"}]},
        ):
            reply = await client.post("/v1/responses", json=asked | more, headers=headers)
            assert reply.is_success == known, reply.text
        assert (await client.delete(path, headers=headers)).is_success == known
