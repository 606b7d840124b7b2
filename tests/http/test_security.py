import asyncio

import pytest

from mlxd.http.app import public_app, unix_app
from tests.support.http_fakes import make_dependencies

LOOPBACK_HOSTS = ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "127.8.8.8", "[::1]:80", "[::1]"]
LOOPBACK_HOSTS += ["0.0.0.0:8080", "[::]:8080", "localhost.:8080", "app.localhost"]
FOREIGN_HOSTS = ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", "", "192.168.1.5"]
FOREIGN_HOSTS += ["localhost:80:80", "[::1", "[fe80::1%25en0]:80", "host.docker.internal:8080"]


async def host_status(client, host: str) -> int:
    return (await client.get("/v1/models", headers={"host": host})).status_code


async def raw_status(reader, writer, request: bytes) -> int:
    try:
        writer.write(request)
        line = await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()
        await writer.wait_closed()
    return int(line.split()[1])


@pytest.mark.parametrize("host", LOOPBACK_HOSTS)
async def test_this_machine_s_names_are_ours(serve, pool, host):
    assert await host_status(await serve(public_app(make_dependencies(pool))), host) == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_other_names_are_refused(serve, pool, host):
    assert await host_status(await serve(public_app(make_dependencies(pool))), host) == 403


async def test_a_refused_host_is_told_how_to_allow_it(serve, pool):
    client = await serve(public_app(make_dependencies(pool)))
    reply = await client.get("/v1/models", headers={"host": "studio.local:8080"})
    assert reply.json()["error"]["message"] == (
        'Host "studio.local:8080" is not allowed. '
        'To allow it, set in config.toml: server.allowed_hosts = ["studio.local"]'
    )


async def test_a_request_needs_a_host_on_tcp_except_in_http_1_0(
    serve, serve_unix, pool, unix_socket
):
    """A browser, which a page could misuse, always sends one."""
    context = make_dependencies(pool)
    client = await serve(public_app(context))
    await serve_unix(unix_app(context))
    for version, status in ((b"1.0", 200), (b"1.1", 400)):
        request = b"GET /health HTTP/%b\r\n\r\n" % version
        tcp = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        assert await raw_status(*tcp, request) == status
        unix = await asyncio.open_unix_connection(unix_socket)
        assert await raw_status(*unix, request) == 200


@pytest.mark.parametrize(("host", "status"), [("", 200), ("localhost", 200), ("evil.test", 403)])
async def test_hosts_on_the_unix_socket(serve_unix, pool, host, status):
    assert await host_status(await serve_unix(unix_app(make_dependencies(pool))), host) == status


async def test_configured_names_are_ours(serve, pool):
    context = make_dependencies(pool, allowed_hosts=["Studio.local", "ai.example:8443"])
    client = await serve(public_app(context))
    assert await host_status(client, "studio.local:8080") == 200
    assert await host_status(client, "ai.example") == 200
    assert await host_status(client, "other.local") == 403


async def test_a_daemon_open_to_the_network_goes_by_any_address_but_not_by_any_name(serve, pool):
    client = await serve(public_app(make_dependencies(pool, host="0.0.0.0")))
    assert await host_status(client, "192.168.1.5:8080") == 200
    assert await host_status(client, "[fe80::1]:8080") == 200
    assert await host_status(client, "evil.example") == 403


async def test_an_opaque_origin_is_foreign_even_where_no_host_is_needed(serve_unix, pool):
    client = await serve_unix(unix_app(make_dependencies(pool)))
    reply = await client.get("/health", headers={"host": "", "origin": "null"})
    assert reply.status_code == 403


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        ("Bearer wrong", 401),
        ("Bearer s3cret2", 401),
        ("Bearer \u00e9".encode("latin-1"), 401),
        ("Basic s3cret", 401),
        ("", 401),
    ],
)
async def test_the_api_key(serve, pool, header, status):
    client = await serve(public_app(make_dependencies(pool, api_key="s3cret")))
    reply = await client.get("/v1/models", headers={"authorization": header})
    assert reply.status_code == status
    if status == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json()["error"]["code"] == "invalid_api_key"


async def test_a_key_beyond_ascii_works(serve, pool):
    client = await serve(public_app(make_dependencies(pool, api_key="schlüssel")))
    headers = {"authorization": "Bearer schlüssel".encode()}
    assert (await client.get("/v1/models", headers=headers)).status_code == 200


async def test_health_needs_no_key_and_the_unix_socket_neither(serve, serve_unix, pool):
    context = make_dependencies(pool, api_key="s3cret")
    assert (await (await serve(public_app(context))).get("/health")).status_code == 200
    assert (await (await serve_unix(unix_app(context))).get("/v1/models")).status_code == 200


async def test_a_body_over_the_limit_is_refused_announced_or_not(serve, pool):
    async def pieces():
        for _ in range(11):
            yield b" " * 10

    client = await serve(public_app(make_dependencies(pool, max_body=100)))
    for content in (b" " * 101, pieces()):
        reply = await client.post("/v1/chat/completions", content=content)
        assert reply.status_code == 413
        assert reply.json()["error"]["code"] == "body_too_large"
    assert (await client.post("/v1/chat/completions", content=b" " * 100)).status_code == 400


async def test_a_body_announced_as_too_large_is_not_waited_for(serve, pool):
    client = await serve(public_app(make_dependencies(pool, max_body=100)))
    connection = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n"
    assert await raw_status(*connection, head) == 413
