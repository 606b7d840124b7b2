"""Pages in a real browser: an allowed origin, one that is not, and a rebound host name."""

import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mlxd.http.app import public_app
from scripts.browser import browser
from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon
from tests.support.http_fakes import FakePool, make_dependencies

CHROMIUM = shutil.which("chromium")
KEY = "sesame-sesame"
PAGE = """<!doctype html><body>waiting<script>
(async () => {
  const reply = await fetch("API/v1/chat/completions", {
    method: "POST",
    headers: {"Content-Type": "application/json", "Authorization": "Bearer KEY"},
    body: JSON.stringify({
      messages: [{role: "user", content: "Hi"}], max_tokens: 3, stream: true
    })
  });
  const text = await reply.text();
  document.body.innerText = [
    reply.status, reply.headers.get("x-request-id") ? "named" : "nameless",
    text.includes("[DONE]") ? "done" : text
  ].join(" ");
})().catch(error => { document.body.innerText = String(error); });
</script></body>"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[tuple[Path, int]]:
    """A folder, and the port on which a web server has what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        handler = partial(QuietHandler, directory=folder)
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield Path(folder), server.server_port
            server.shutdown()


@pytest.fixture(scope="module")
def daemon(tiny_model: Path, site: tuple[Path, int]) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        (home / "models").mkdir()
        (home / "models" / "tiny").symlink_to(tiny_model)
        flags = ("--allowed-origins", f"https://other.test,http://localhost:{site[1]}")
        with running_daemon(home, *flags, MLXD_SERVER__API_KEY=KEY) as daemon:
            yield daemon


def shown(url: str) -> str:
    """Return what a browser shows at `url`; evil.test is this machine there."""
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-sync"),
                *("--disable-dev-shm-usage", "--disable-background-networking"),
                "--no-proxy-server",
                "--host-resolver-rules=MAP evil.test 127.0.0.1",
                *(f"--user-data-dir={profile}", "--virtual-time-budget=20000", "--dump-dom", url),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
    return done.stdout


@pytest.mark.parametrize(
    ("page_host", "api_host", "said"),
    [
        ("localhost", "127.0.0.1", "200 named done"),
        ("localhost", "localhost", "200 named done"),  # which may be ::1
        ("127.0.0.1", "127.0.0.1", "TypeError: Failed to fetch"),
        ("evil.test", "evil.test", "TypeError: Failed to fetch"),
    ],
)
def test_a_page(
    daemon: DaemonProcess, site: tuple[Path, int], page_host: str, api_host: str, said: str
) -> None:
    folder, port = site
    api = f"http://{api_host}:{urlsplit(daemon.url).port}"
    (folder / "page.html").write_text(PAGE.replace("API", api).replace("KEY", KEY))
    assert said in shown(f"http://{page_host}:{port}/page.html")


def test_a_name_that_was_rebound_to_this_machine(daemon: DaemonProcess) -> None:
    """The browser takes it for the page's own server, so that no Origin gives it away."""
    port = urlsplit(daemon.url).port
    assert f'Host \\"evil.test:{port}\\" is not allowed' in shown(f"http://evil.test:{port}/")
    assert "This daemon wants a key" in shown(f"http://localhost:{port}/")


ASK_ALL = """(async () => {
  const got = [];
  for (const path of PATHS) for (const method of ["GET", "HEAD", "POST", "PUT", "DELETE"]) {
    for (const mode of ["cors", "no-cors"]) {
      if (mode === "no-cors" && ["PUT", "DELETE"].includes(method)) continue;
      const body = ["GET", "HEAD"].includes(method) ? undefined : '{"model": "tiny"}';
      try {
        const reply = await fetch("API" + path, {method, mode, body});
        got.push([method, path, mode, reply.type, reply.status, await reply.text()]);
      } catch { /* the browser keeps it to itself */ }
    }
  }
  return got;
})()"""


def test_no_route_answers_a_page_from_elsewhere(site: tuple[Path, int]) -> None:
    """Without any key, where nothing but its Host and its Origin tells a page from a program."""
    routes = public_app(make_dependencies(FakePool())).routes
    paths = sorted({route.path.replace("{", "").replace("}", "") for route in routes})
    folder, port = site
    (folder / "empty.html").write_text("<!doctype html><title>elsewhere</title>")
    with (
        tempfile.TemporaryDirectory(prefix="mlxd") as home,
        running_daemon(Path(home), "--log-level", "debug") as daemon,
    ):
        api = urlsplit(daemon.url).port

        def asked(page: str, host: str) -> list[list]:
            tab.open(page)
            script = ASK_ALL.replace("PATHS", json.dumps(paths))
            return tab.run(script.replace("API", f"http://{host}:{api}"))

        with browser("--host-resolver-rules=MAP evil.test 127.0.0.1") as tab:
            # Another origin: no reply can be read, and nothing but looking is done.
            for host in ("127.0.0.1", "evil.test"):
                got = asked(f"http://127.0.0.1:{port}/empty.html", host)
                assert {tuple(reply[3:]) for reply in got} <= {("opaque", 0, "")}
            # A name that was rebound to this machine: to the browser that is the page's own host.
            got = asked(f"http://evil.test:{api}/", "evil.test")
            assert len(got) > 8 * len(paths) - 8
            assert {reply[4] for reply in got} == {403}
            assert all("is not allowed" in reply[5] for reply in got if reply[0] != "HEAD")
            refused = daemon.log()
            # The page itself, without which the above would show nothing.
            got = asked(daemon.url, "127.0.0.1")
            assert [each[4] for each in got if each[:3] == ["GET", "/ui/v1/caller", "cors"]] == [
                200
            ]
    assert re.search(r": GET /ui/v1/status 403", refused)
    assert not re.search(r": ((POST|PUT|DELETE) \S+|GET /ui/\S+) 2", refused)
