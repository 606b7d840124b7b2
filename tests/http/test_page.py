"""The files of the page, as a browser gets them and as a program does not."""

import gzip
import re
from pathlib import Path

import pytest

from mlxd import page_api
from mlxd.http.app import public_app, unix_app
from tests.http.conftest import client_of
from tests.support.http_fakes import make_dependencies

FOLDER = Path(page_api.__file__).parent / "page"
HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture
def client(pool):
    return client_of(public_app(make_dependencies(pool, api_key="s3cret-s3cret")))


async def test_a_browser_gets_the_page_and_a_program_the_text(client):
    page = await client.get("/", headers=HTML)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<!doctype html>" in page.text
    for accept in ({}, {"accept": "*/*"}, {"accept": "application/json"}):
        text = await client.get("/", headers=accept)
        assert text.headers["content-type"].startswith("text/plain")
        assert "/v1/chat/completions" in text.text
    assert page.headers["vary"].startswith(text.headers["vary"])


async def test_the_policy_lets_nothing_in_from_elsewhere(client):
    for path in ("/", "/page/app.js"):
        headers = (await client.get(path, headers=HTML)).headers
        policy = headers["content-security-policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= {*policy}
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_every_file_that_a_file_names_is_there(client):
    """And none is asked of another host."""
    for file in FOLDER.rglob("*.*"):
        name = file.relative_to(FOLDER)
        reply = await client.get(f"/page/{name.as_posix()}")
        assert reply.status_code == 200, name
        if "vendor" in name.parts or file.suffix in (".svg", ".txt"):
            continue
        text = file.read_text()
        assert not re.search(r"(src|href)=\"(https?:)?//|\burl\(|@import", text), name
        for named in re.findall(r'(?:src|href)="(page/[^"]+)"', text):
            assert (FOLDER.parent / named).exists(), named
        for named in re.findall(r'from "([^"]+)"', text):
            assert (file.parent / named).exists(), named


async def test_a_file_that_has_not_changed_is_not_sent_again(client):
    first = await client.get("/page/app.js")
    again = await client.get("/page/app.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert first.headers["cache-control"] == "no-cache"


async def test_files_come_compressed(client):
    whole = (FOLDER / "vendor" / "markdown-it.umd.min.js").read_bytes()
    async with client.stream("GET", "/page/vendor/markdown-it.umd.min.js") as reply:
        assert reply.headers["content-encoding"] == "gzip"
        sent = b"".join([piece async for piece in reply.aiter_raw()])
    assert len(sent) < len(whole) / 2
    assert gzip.decompress(sent) == whole
    plain = {"accept-encoding": "identity"}
    assert (await client.get("/page/app.js", headers=plain)).headers.get("content-encoding") is None


@pytest.mark.parametrize("name", ["", "../http/app.py", "%2e%2e/keys.py", "/etc/passwd", "views"])
async def test_no_name_leads_out_of_the_folder(client, name):
    assert (await client.get(f"/page/{name}")).status_code in (401, 404)


async def test_the_socket_has_no_page(pool):
    client = client_of(unix_app(make_dependencies(pool)))
    assert (await client.get("/ui/v1/status")).status_code == 404


def test_the_files_are_small_modules():
    long = {
        str(file): lines
        for file in FOLDER.rglob("*.*")
        if "vendor" not in file.parts and (lines := len(file.read_text().splitlines())) > 400
    }
    assert not long
