"""The page at `/` in a real browser, used as a person would."""

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from mlxd import keys
from scripts.browser import CHROMIUM, Tab, browser
from tests.fakes.hub import FakeHub, Hold, fake_hub
from tests.fakes.scripted_engine import Answer, Scene
from tests.support.daemon_process import DaemonProcess, wait_until
from tests.support.scripted import running_scripted_daemon

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]

MOST_BYTES = 300_000
WEIGHTS = "model.safetensors"

MARKDOWN = """Here is **what** I found:

1. one thing
2. another, with `code`

| name | size |
|:-----|-----:|
| a    | 12   |

```python
print("hello")
```

> A quoted line with [a link](https://example.com/).
"""
INJECTED = """Look: <img src=x onerror="document.title='taken'">

<script>document.title = 'taken'</script>

![picture](http://other.test/seen.png) [link](javascript:document.title='taken')
<a href="http://other.test/" onclick="document.title='taken'">there</a>
"""
SCENES = [
    Scene("Explain", [Answer(text=MARKDOWN, reasoning="They want a list. And a table.")]),
    Scene("Inject", [Answer(text=INJECTED, reasoning="<img src=x onerror=alert(1)>")]),
    Scene("Slowly", [Answer(text="one more word " * 60, pause=0.02)]),
    Scene("Quickly", [Answer(text="a few words " * 20)]),
    Scene(
        "Weather",
        [
            Answer(calls=[("get_weather", {"city": "<b>Bonn</b>"})]),
            Answer(text="It is sunny.", after="clear sky"),
        ],
    ),
]
TOOLS = '[{"name": "get_weather", "parameters": {"type": "object"}}]'


@pytest.fixture(scope="module")
def hub(tiny_model: Path) -> Iterator[FakeHub]:
    with fake_hub() as hub:
        hub.repos["acme/new"].commit(
            {file.name: file.read_bytes() for file in tiny_model.iterdir()}
        )
        yield hub


@pytest.fixture(scope="module")
def daemon(hub: FakeHub) -> Iterator[DaemonProcess]:
    environ = {"HF_ENDPOINT": hub.url, "HF_TOKEN": ""}
    with running_scripted_daemon(environ=environ, scripted=SCENES, second=SCENES) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def one_browser() -> Iterator[Tab]:
    with browser() as tab:
        yield tab


@pytest.fixture
def tab(one_browser: Tab) -> Iterator[Tab]:
    """A tab that keeps nothing; whatever the test does, nothing fails or is refused in it."""
    one_browser.look()
    one_browser.forget()
    yield one_browser
    one_browser.run("sessionStorage.clear()")
    one_browser.call("Page.navigate", url="about:blank")
    assert one_browser.faults == []


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """Where pictures of the page are kept, to be looked at."""
    folder = tmp_path / "artifacts"
    folder.mkdir()
    return folder


def opened(tab: Tab, daemon: DaemonProcess, view: str = "Status") -> Tab:
    """Open the page as `mlxctl open` does, and go to a view."""
    token = daemon.local.post("/control/v1/page_token").json()["token"]
    tab.open(f"{daemon.url}/#token={token}")
    tab.click(view)
    return tab


def ask(tab: Tab, text: str) -> None:
    tab.click("#prompt")
    tab.type(text)
    tab.press("Enter")


def answered(tab: Tab, count: int = 1) -> None:
    finished = ".answer[aria-busy=false] .turn-tools"
    tab.wait(f"document.querySelectorAll('{finished}').length === {count}")


def test_the_status_shows_what_happens(tab, daemon, artifacts) -> None:
    opened(tab, daemon)
    tab.shows("No model is in memory")
    assert "token" not in tab.run("location.href")
    before = tab.run("document.querySelector('.plot canvas').toDataURL()")
    body = {"messages": [{"role": "user", "content": "Quickly"}]}
    for _ in range(5):
        assert httpx.post(f"{daemon.url}/v1/chat/completions", json=body).status_code == 200
    tab.wait("[...document.querySelectorAll('.tile')].at(-1).innerText.includes('5')")
    tab.wait("document.querySelector('.resident .chip').innerText === 'ready'")
    tab.wait(f"document.querySelector('.plot canvas').toDataURL() !== {json.dumps(before)}")
    tab.click("1 hour")
    for dark in (False, True):
        for width in (1280, 390):
            tab.look(width=width, dark=dark)
            assert tab.run("document.documentElement.scrollWidth") <= width
            tab.picture(artifacts / f"status-{width}-{'dark' if dark else 'light'}.png")
    tab.click("Requests")
    tab.shows("scripted")
    tab.picture(artifacts / "requests.png")
    assert tab.hosts == {daemon.url.removeprefix("http://")}


def test_the_page_is_small(tab, daemon) -> None:
    tab.call("Network.setCacheDisabled", cacheDisabled=True)
    opened(tab, daemon, "Playground")
    tab.wait("performance.getEntriesByType('resource').length > 20")
    assert 50_000 < tab.received < MOST_BYTES
    tab.call("Network.setCacheDisabled", cacheDisabled=False)


def test_a_talk(tab, daemon, artifacts) -> None:
    opened(tab, daemon, "Playground")
    ask(tab, "Explain")
    answered(tab)
    assert tab.run("document.querySelector('.text strong').innerText") == "what"
    assert tab.run("document.querySelectorAll('.text li').length") == 2
    assert tab.run("getComputedStyle(document.querySelector('.text td + td')).textAlign") == "right"
    assert tab.run("document.querySelector('.text pre').innerText") == 'print("hello")\n'
    link = "document.querySelector('.text a')"
    assert tab.run(f"{link}.rel + ' ' + {link}.target") == "noopener noreferrer _blank"
    assert not tab.run("document.querySelector('.thoughts-text').checkVisibility()")
    tab.picture(artifacts / "talk.png")
    tab.click(".thoughts summary")
    tab.shows("They want a list.")
    ask(tab, "Quickly")
    answered(tab, 2)

    tab.reload()  # what was said stays, and so does the token
    answered(tab, 2)
    tab.shows("a few words")
    tab.wait("!document.body.innerText.includes('mlxctl open')")
    tab.look(width=390, height=780, dark=True)
    tab.picture(artifacts / "talk-390-dark.png")
    tab.click("New")
    tab.shows("Talk to a model.")


def test_html_in_an_answer_stays_text(tab, daemon) -> None:
    opened(tab, daemon, "Playground")
    ask(tab, "Inject")
    answered(tab)
    tab.click(".thoughts summary")
    shown = tab.text()
    assert "<img src=x onerror=\"document.title='taken'\">" in shown
    assert "<script>document.title = 'taken'</script>" in shown
    assert "<img src=x onerror=alert(1)>" in shown
    assert (
        tab.run("document.querySelector('.answer').querySelector('img, script, [onclick]')") is None
    )
    links = tab.run("[...document.querySelectorAll('.text a')].map((link) => link.href)")
    assert links == ["http://other.test/seen.png", "http://other.test/"]  # to click on, or not
    assert "taken" not in tab.run("document.title")
    assert tab.hosts == {daemon.url.removeprefix("http://")}


def test_an_answer_is_stopped_and_tried_again(tab, daemon, artifacts) -> None:
    opened(tab, daemon, "Playground")
    ask(tab, "Slowly")
    tab.shows("one more word")
    tab.picture(artifacts / "writing.png")
    tab.press("Escape")
    tab.shows("stopped")
    said = tab.run("document.querySelector('.text').innerText.length")
    assert 0 < said < len("one more word " * 60) - 10
    tab.click("Try again")
    tab.shows("one more word")
    tab.click("Stop")
    tab.shows("stopped")
    assert tab.run("document.querySelectorAll('.answer').length") == 1


def test_a_function_is_called_and_its_result_given(tab, daemon, artifacts) -> None:
    opened(tab, daemon, "Playground")
    tab.click("#setting-tools")
    tab.type("[{")
    ask(tab, "Weather")
    tab.shows("Functions: ")
    tab.run("document.querySelector('#setting-tools').select()")
    tab.click("#setting-tools")
    tab.run("document.querySelector('#setting-tools').select()")
    tab.type(TOOLS)
    tab.click("Send")
    tab.shows('"city": "<b>Bonn</b>"')
    tab.picture(artifacts / "call.png")
    tab.click(".results textarea")
    tab.type("clear sky")
    tab.click("Give the result")
    tab.shows("It is sunny.")


def test_a_command_asks_the_same(tab, daemon) -> None:
    opened(tab, daemon, "Playground")
    granted = ["clipboardReadWrite", "clipboardSanitizedWrite"]
    tab.call("Browser.grantPermissions", origin=daemon.url, permissions=granted)
    tab.click("#setting-temperature")
    tab.type("0.5")
    tab.click("#prompt")
    tab.type("Quickly, it's urgent")
    tab.click("Copy as curl")
    tab.shows("Copied")
    command = tab.run("navigator.clipboard.readText()")
    assert '"temperature": 0.5' in command
    assert "Bearer $MLXD_API_KEY" in command
    if shutil.which("curl"):
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
        assert "data: [DONE]" in done.stdout
    tab.click("Back to the defaults")


def test_the_model_is_switched(tab, daemon, artifacts) -> None:
    opened(tab, daemon, "Models")
    tab.click("Load", "[data-key=second]")
    tab.wait("document.querySelector('[data-key=second] .chip').innerText === 'ready'")
    tab.click("Make default", "[data-key=second]")
    tab.wait("!document.querySelector('[data-key=scripted] [title*=\"no model\"]').hidden")
    assert daemon.status()["default_model"] == "second"
    tab.picture(artifacts / "models.png")
    tab.look(width=390)
    tab.picture(artifacts / "models-390.png")
    tab.click("Unload", "[data-key=second]")
    wait_until(
        lambda: all(
            model["id"] != "second" or model["state"] == "unloaded"
            for model in daemon.status()["models"]
        ),
        "the model is unloaded",
    )
    tab.click("Make default", "[data-key=scripted]")
    wait_until(lambda: daemon.status()["default_model"] == "scripted", "the default is back")


def test_a_model_is_pulled(tab, daemon, hub, artifacts) -> None:
    hold = Hold(0)
    hub.fails(WEIGHTS, hold)
    opened(tab, daemon, "Models")
    tab.click("#pull-name")
    tab.type("acme/new")
    tab.press("Enter")
    tab.wait("!!document.querySelector('progress')")
    tab.picture(artifacts / "pull.png")
    tab.click("Cancel")
    tab.wait("!document.querySelector('progress')")
    hold.go_on.set()
    tab.click("#pull-name")
    tab.run("document.querySelector('#pull-name').value = ''")
    tab.type("acme/new")
    tab.click("Pull")
    tab.wait("!!document.querySelector('[data-key=\"acme/new\"] [href]')")
    tab.click("#pull-name")
    tab.type("acme/none")
    tab.click("Pull")
    tab.shows("acme/none")


def test_without_a_token_one_looks_and_talks(tab, daemon, artifacts) -> None:
    tab.open(daemon.url)
    tab.shows("mlxctl open")
    tab.click("Models")
    tab.wait("document.querySelector('[data-key=second] button')?.disabled")
    tab.picture(artifacts / "no-token.png")
    tab.click("Log")
    tab.shows("To read the log here")
    tab.click("Playground")
    ask(tab, "Quickly")
    answered(tab)

    # Once there are keys, the page asks for one.
    text = keys.create(
        daemon.home / "keys.json",
        "page",
        rights=["ask", "metrics"],
        models=[],
        expires=None,
        limits=keys.KeyLimits(),
    )
    tab.shows("This daemon wants a key")
    tab.picture(artifacts / "key.png")
    tab.type("wrong")
    tab.press("Enter")
    tab.shows("It did not take the last one")
    tab.type(text)
    tab.press("Enter")
    tab.shows("The key “page” may not change")
    tab.faults.clear()  # browsers write a line for each 401


def test_the_end_of_the_daemon(tab, daemon, artifacts) -> None:
    opened(tab, daemon, "Playground")
    ask(tab, "Slowly")
    tab.shows("one more word")
    daemon.process.send_signal(signal.SIGTERM)
    tab.shows("mlxd is stopping")
    tab.picture(artifacts / "stopping.png")
    answered(tab)
    tab.shows("mlxd does not answer")
    tab.picture(artifacts / "gone.png")
    tab.faults.clear()  # and one for each refused connection
