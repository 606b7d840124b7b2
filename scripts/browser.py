"""A headless Chromium, driven as a person would: for the tests of the page, and its pictures."""

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.sync.client import ClientConnection, connect

CHROMIUM = shutil.which("chromium")
SECONDS = 30.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync"),
    *("--disable-background-networking", "--no-proxy-server", "--hide-scrollbars"),
    *("--remote-debugging-port=0", "--no-first-run", "--force-color-profile=srgb"),
)
_KEYS = {
    "Enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "Escape": {"key": "Escape", "code": "Escape", "windowsVirtualKeyCode": 27},
    "Tab": {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9},
}


class Tab:
    """One tab; `faults` are its errors and refusals, `hosts` those it asked, `received` bytes."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._last = 0
        self.forget()
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def forget(self) -> None:
        """Forget what was noted so far."""
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        self.received = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of Chromium's DevTools protocol and return its result."""
        self._last += 1
        self._connection.send(json.dumps({"id": self._last, "method": method, "params": params}))
        while True:
            message = json.loads(self._connection.recv(SECONDS))
            if message.get("id") == self._last:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']['message']}")
                result: dict[str, Any] = message["result"]
                return result
            self._note(message.get("method", ""), message.get("params", {}))

    def _note(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.faults.append(details.get("exception", details).get("description", "?"))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.faults.append(str([each.get("value") for each in params["args"]]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.faults.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
            case "Network.requestWillBeSent":
                self.hosts.add(urlsplit(params["request"]["url"]).netloc)
            case "Network.loadingFinished":
                self.received += int(params["encodedDataLength"])

    def open(self, url: str) -> None:
        """Go to a page and wait until it has loaded."""
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def reload(self) -> None:
        """Load the page again."""
        self.run("window.before = true")
        self.call("Page.reload")
        self.wait("!window.before && document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """Return what a script evaluates to; its promise is waited for."""
        reply = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in reply:
            raise RuntimeError(f"{script}: {reply['result'].get('description')}")
        return reply["result"].get("value")

    def wait(self, script: str, seconds: float = SECONDS) -> Any:
        """Return what a script evaluates to once that is true."""
        end = time.monotonic() + seconds
        while True:
            try:
                if value := self.run(script):
                    return value
            except RuntimeError:  # while a page gives way to another
                if time.monotonic() > end:
                    raise
            if time.monotonic() > end:
                raise TimeoutError(f"still not so: {script}\n{self.text()}\n{self.faults}")
            time.sleep(0.05)

    def text(self) -> str:
        """Return what the page shows."""
        return str(self.run("document.body?.innerText"))

    def shows(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.wait(f"document.body.innerText.includes({json.dumps(text)})")

    def click(self, what: str, within: str = "body") -> None:
        """Click on the button, link or label of that text, or on what that CSS selector finds."""
        find = f"""(() => {{
          const place = document.querySelector({json.dumps(within)});
          const named = [...place.querySelectorAll("button, a, summary, label")]
            .find((each) => each.checkVisibility() && each.innerText.trim() === {json.dumps(what)});
          let found = named;
          try {{ found ??= place.querySelector({json.dumps(what)}); }} catch {{}}
          if (!found || found.disabled) return null;
          found.scrollIntoView({{block: "center"}});
          const {{x, y, width, height}} = found.getBoundingClientRect();
          return width ? [x + width / 2, y + height / 2] : null;
        }})()"""
        place = self.wait(find)
        time.sleep(0.05)
        while place != (place := self.wait(find)):  # what is above it may just have come
            time.sleep(0.05)
        x, y = place
        for kind in ("mousePressed", "mouseReleased"):
            event = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            self.call("Input.dispatchMouseEvent", **event)

    def type(self, text: str) -> None:
        """Type a text where the focus is."""
        self.call("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press Enter, Escape or Tab."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **_KEYS[key])

    def look(
        self, *, width: int = 1280, height: int = 860, dark: bool = False, scale: float = 1
    ) -> None:
        """Look at the page through a window of that size, in light or dark."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale}
        self.call("Emulation.setDeviceMetricsOverride", mobile=width < 600, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, file: Path) -> None:
        """Write what the window shows into a PNG file."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        shot = self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(*flags: str) -> Iterator[Tab]:
    """Run Chromium until the block ends, and give its tab."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
            try:
                with connect(
                    _tab_of(Path(profile)),
                    max_size=None,
                    max_queue=None,
                    ping_interval=None,
                    proxy=None,
                ) as connection:
                    yield Tab(connection)
            finally:
                run.terminate()


def _tab_of(profile: Path) -> str:
    """Return the address at which the first tab is driven, once there is one."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        port = profile / "DevToolsActivePort"
        if port.exists() and (lines := port.read_text().split()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list") as reply:
                for target in json.load(reply):
                    if target["type"] == "page":
                        return str(target["webSocketDebuggerUrl"])
        time.sleep(0.05)
    raise TimeoutError("chromium did not start")
