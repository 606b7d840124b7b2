"""The page's part of the control API, on TCP: for whom, from where, and for which models."""

import pytest

from mlxd.activity import ServedRequest
from mlxd.http.app import public_app
from tests.http.conftest import client_of
from tests.support.http_fakes import make_dependencies
from tests.support.key_file import bearer

PATHS = ("status", "activity", "models", "models/tiny", "pulls", "caller")


async def test_without_a_key_anyone_on_this_machine_looks_and_changes_nothing(pool):
    client = client_of(public_app(make_dependencies(pool)))
    for path in PATHS:
        assert (await client.get(f"/ui/v1/{path}")).status_code == 200, path
    for path in ("load", "unload", "use", "pull", "pull/cancel"):
        reply = await client.post(f"/ui/v1/{path}", json={"model": "tiny"})
        assert reply.status_code == 403, path
    assert (await client.get("/ui/v1/log")).status_code == 403
    caller = (await client.get("/ui/v1/caller")).json()
    assert caller == {"name": "anyone", "rights": ["ask", "metrics"]}


@pytest.mark.parametrize("api_key", ["", "s3cret-s3cret"])
async def test_the_token_of_this_run_may_do_everything(pool, api_key):
    dependencies = make_dependencies(pool, api_key=api_key)
    client = client_of(public_app(dependencies))
    token = dependencies.callers.page_token()
    assert token == dependencies.callers.page_token()
    caller = (await client.get("/ui/v1/caller", headers=bearer(token))).json()
    assert caller == {"name": "mlxctl open", "rights": ["ask", "metrics", "pull", "manage"]}
    used = await client.post("/ui/v1/use", json={"model": "tiny"}, headers=bearer(token))
    assert used.json()["state"] == "ready"
    log = await client.get("/ui/v1/log", headers=bearer(token))
    assert log.json() == {"file": "/l", "lines": ["one", "two"]}
    other = make_dependencies(pool).callers.page_token()
    stale = await client.post("/ui/v1/use", json={"model": "tiny"}, headers=bearer(other))
    assert stale.status_code == (401 if api_key else 403)


@pytest.mark.parametrize("allowed", [[], ["*"]])
async def test_only_the_page_s_own_origin_calls(pool, allowed):
    client = client_of(public_app(make_dependencies(pool, allowed_origins=allowed)))
    for origin, status in (
        ("http://localhost:8080", 200),
        ("http://localhost:8081", 403),
        ("http://127.0.0.1:8080", 403),
        ("https://evil.test", 403),
        ("null", 403),
    ):
        for path in PATHS:
            for spelled in (f"/ui/v1/{path}", f"/ui//v1/{path}/"):
                reply = await client.get(spelled, headers={"origin": origin})
                assert reply.status_code == status, (origin, spelled)
        asked = {"origin": origin, "access-control-request-method": "POST"}
        reply = await client.options("/ui/v1/load", headers=asked)
        assert (reply.status_code == 403) == (status == 403)


async def test_a_key_for_some_models_sees_and_changes_no_others(pool, key_file):
    dependencies = make_dependencies(pool, ring=key_file.ring)
    dependencies.control.names = ["tiny", "owner/name"]
    activity = dependencies.metrics.activity(hour=False)
    activity.requests += [
        ServedRequest(id=name, at=1, dialect="chat", caller="k", model=name, state="done")
        for name in ("tiny", "owner/name")
    ]
    dependencies.control.activity = lambda *, hour: activity
    client = client_of(public_app(dependencies))
    key = bearer(key_file.add(rights=["ask", "metrics", "manage"], models=["owner/*"]))

    async def get(path: str) -> dict:
        return (await client.get(f"/ui/v1/{path}", headers=key)).json()

    status = await get("status")
    assert [model["id"] for model in status["models"]] == ["owner/name"]
    assert status["default_model"] is None
    assert [model["id"] for model in (await get("models"))["models"]] == ["owner/name"]
    assert [each["model"] for each in (await get("activity"))["requests"]] == ["owner/name"]
    for path in ("models/tiny", "log"):
        assert (await get(path))["error"]["code"] == "model_not_allowed"
    for path, body, allowed in (
        ("use", {"model": "tiny"}, False),
        ("use", {"model": "owner/name"}, True),
        ("unload", {}, False),
    ):
        reply = await client.post(f"/ui/v1/{path}", json=body, headers=key)
        assert (reply.status_code == 200) == allowed, path
