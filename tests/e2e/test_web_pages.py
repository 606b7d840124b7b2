"""Pages in a real browser: an allowed origin, one that is not, and a rebound host name."""

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

from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon

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
    assert "MLX language models" in shown(f"http://localhost:{port}/")
