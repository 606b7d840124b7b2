import pytest

from mlxd import __version__
from mlxd.control_api import STATUS
from mlxd.errors import EngineDied
from mlxd.http.app import public_app, unix_app
from mlxd.http.control import handlers
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


async def test_control_is_on_the_unix_socket_only(serve, serve_unix, pool):
    dependencies = make_dependencies(pool)
    tcp, local = await serve(public_app(dependencies)), await serve_unix(unix_app(dependencies))
    assert (await local.get(STATUS.path)).status_code == 200
    assert (await local.get("/v1/models")).status_code == 200
    for endpoint in handlers(dependencies.control):
        assert (await tcp.request(endpoint.method, endpoint.path)).status_code == 404
