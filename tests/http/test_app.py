import pytest

from mlxd import __version__
from mlxd.errors import EngineDied
from mlxd.http.app import public_app, unix_app
from tests.support.http_fakes import make_dependencies

MODEL = {"object": "model", "owned_by": "mlxd", "created": 1_700_000_000}


async def test_health(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.get("/health")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok", "version": __version__})
    assert (await client.head("/health")).status_code == 200


async def test_health_of_a_daemon_that_cannot_generate(serve, pool):
    pool.illness = EngineDied("the engine of tiny does not answer")
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.get("/health")
    assert reply.status_code == 503
    assert reply.json()["error"]["code"] == "engine_died"


async def test_models(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    assert (await client.get("/v1/models")).json() == {
        "object": "list",
        "data": [MODEL | {"id": "tiny"}, MODEL | {"id": "owner/name"}],
    }


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("tiny", "tiny"),
        ("owner/name", "owner/name"),
        ("owner%2Fname", "owner/name"),
        ("default_model", "tiny"),
    ],
)
async def test_one_model(serve, pool, asked, answered):
    client = await serve(public_app(make_dependencies(pool)))
    assert (await client.get(f"/v1/models/{asked}")).json() == MODEL | {"id": answered}


async def test_an_unknown_model(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.get("/v1/models/tinny")
    assert reply.status_code == 404
    assert reply.json()["error"] == {
        "message": "no model 'tinny'; near ones: tiny",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


async def test_control_on_the_unix_socket(serve_unix, pool):
    client = await serve_unix(unix_app(make_dependencies(pool)))
    assert (await client.get("/control/v1/status")).json()["running"] is True
    assert (await client.get("/control/v1/models")).json() == {"models": [], "broken": []}
    used = await client.post("/control/v1/use", json={"model": "tiny"})
    assert used.json() == {"model": "tiny", "state": "ready", "overridden_by": None}
    refused = await client.post("/control/v1/use", json={"model": 5})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
    assert (await client.get("/v1/models")).status_code == 200


async def test_models_are_shown_and_removed_by_names_with_slashes(serve_unix, pool):
    context = make_dependencies(pool)
    client = await serve_unix(unix_app(context))
    for path in ("owner/a", "owner%2Fa"):
        assert (await client.get(f"/control/v1/models/{path}")).json()["id"] == "owner/a"
    await client.delete("/control/v1/models/owner/a?dry_run=true")
    assert (await client.delete("/control/v1/models/caf%C3%A9%20%3F")).json()["id"] == "café ?"
    assert context.control.removed == [("owner/a", True), ("café ?", False)]
    assert (await client.post("/control/v1/models/owner/a")).status_code == 405


async def test_aliases_are_listed_made_and_removed(serve_unix, pool):
    client = await serve_unix(unix_app(make_dependencies(pool)))
    alias = {"name": "a/b", "model": "tiny", "exists": True}
    made = await client.post("/control/v1/aliases", json={"name": "a/b", "model": "tiny"})
    assert made.json() == alias
    await client.delete("/control/v1/aliases/small")
    assert (await client.get("/control/v1/aliases")).json() == {"aliases": [alias]}
    await client.delete("/control/v1/aliases/a/b")
    assert (await client.get("/control/v1/aliases")).json() == {"aliases": []}
    refused = await client.post("/control/v1/aliases", json={"name": "a"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")


async def test_control_is_never_on_tcp(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    assert (await client.delete("/control/v1/models/tiny")).status_code == 404
    for path in (
        "/control/v1/status",
        "/control/v1/models",
        "/control/v1/aliases",
        "/control/v1/use",
    ):
        assert (await client.get(path)).status_code == 404
