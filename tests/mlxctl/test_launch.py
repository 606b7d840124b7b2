"""`mlxctl launch`: what the programs are told, and which models it refuses."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from mlxctl.api_access import KEY_WANTED
from mlxctl.launch.agents import AGENTS
from mlxctl.launch.others import OTHERS
from mlxctl.launch.target import Target
from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon
from tests.support.statuses import RUNNING, STATUS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SHOW = ("GET", "/control/v1/models/tiny")
TINY = {
    "id": "tiny",
    "path": "/m/tiny",
    "origin": "models directory",
    "size_bytes": 1,
    "created": 0,
    "context_length": 131_072,
    "template": {"tools": True, "thinking": False},
}
NAMED = Target("http://127.0.0.1:8080", 'it\'s "secret"', 'a "model"', 131_072)
TELL = """\
import json, os, sys
print(json.dumps({"arguments": sys.argv[1:], "environ": dict(os.environ)}))
sys.exit(7)
"""


@pytest.fixture
def serving(daemon: FakeDaemon) -> FakeDaemon:
    """A daemon with one model."""
    daemon.answers(STATUS, RUNNING)
    daemon.answers(SHOW, TINY)
    return daemon


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, the only one in PATH, where each agent's program prints what it is told."""
    (tmp_path / "tell.py").write_text(TELL)
    for name in AGENTS:
        script = f'#!/bin/sh\nexec {sys.executable} -S {tmp_path / "tell.py"} "$@"\n'
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_an_agent_takes_the_place_of_mlxctl(
    serving: FakeDaemon, programs: Path, mlxctl: Run
) -> None:
    done = mlxctl("launch", "codex", "--", "exec", "--json", "Do it", OTHER="mine")
    assert (done.returncode, done.stderr) == (7, "")
    told = json.loads(done.stdout)
    assert told["environ"]["OTHER"] == "mine"
    assert told["environ"]["MLXD_API_KEY"] == "none"
    assert told["arguments"][-3:] == ["exec", "--json", "Do it"]
    assert 'model="tiny"' in told["arguments"]
    assert 'model_providers.mlxd.base_url="http://127.0.0.1:8080/v1"' in told["arguments"]
    assert "model_context_window=131072" in told["arguments"]


def test_an_agent_ends_with_its_reader(serving: FakeDaemon, programs: Path, mlxctl: Run) -> None:
    """Python ignores SIGPIPE, which a program that it starts would inherit."""
    (programs / "codex").write_text("#!/bin/sh\nkill -PIPE $$\n")
    assert mlxctl("launch", "codex").returncode == -signal.SIGPIPE


def test_claude_gets_no_key_of_another_server(
    serving: FakeDaemon, programs: Path, mlxctl: Run
) -> None:
    key = {"MLXD_SERVER__API_KEY": "sk-of-mlxd", "ANTHROPIC_API_KEY": "sk-theirs"}
    told = json.loads(mlxctl("launch", "claude", **key).stdout)
    assert told["environ"]["ANTHROPIC_AUTH_TOKEN"] == "sk-of-mlxd"
    assert "ANTHROPIC_API_KEY" not in told["environ"]
    settings = json.loads(told["arguments"][told["arguments"].index("--settings") + 1])
    assert settings["env"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8080"
    assert settings["model"] == "tiny"
    assert not any("sk-" in argument for argument in told["arguments"])


def test_opencode_gets_settings_of_its_own(
    serving: FakeDaemon, programs: Path, mlxctl: Run
) -> None:
    told = json.loads(mlxctl("launch", "opencode", "run", "Do it").stdout)
    assert told["arguments"] == ["run", "Do it"]
    settings = json.loads(told["environ"]["OPENCODE_CONFIG_CONTENT"])
    assert settings["model"] == "mlxd/tiny"
    models = settings["provider"]["mlxd"]["models"]
    assert models == {"tiny": {"limit": {"context": 131_072, "output": 32_000}}}


@pytest.mark.parametrize("name", AGENTS)
def test_a_shell_does_the_same_with_what_is_printed(
    serving: FakeDaemon, programs: Path, mlxctl: Run, name: str
) -> None:
    serving.answers(SHOW, {**TINY, "id": NAMED.model})
    started = json.loads(mlxctl("launch", name, "--", "-p", "it's").stdout)
    printed = mlxctl("launch", name, "--print", "--", "-p", "it's").stdout
    shell = subprocess.run(["/bin/sh", "-c", printed], capture_output=True, text=True)
    assert json.loads(shell.stdout)["arguments"] == started["arguments"]
    expected = {
        variable: value
        for variable, value in started["environ"].items()
        if variable not in ("PWD", "OLDPWD", "SHLVL", "_")
    }
    assert json.loads(shell.stdout)["environ"].items() >= expected.items()


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ({"context_length": 4096}, "about 20,000 tokens, and the context of tiny is 4,096"),
        ({"context_fits": 12_000}, "the context in memory of tiny is 12,000"),
        ({"fault": "no weights"}, "tiny cannot be loaded: no weights"),
    ],
    ids=["short context", "little memory", "broken"],
)
def test_a_model_that_an_agent_cannot_begin_with(
    serving: FakeDaemon, programs: Path, mlxctl: Run, model: dict, complaint: str
) -> None:
    serving.answers(SHOW, {**TINY, **model})
    done = mlxctl("launch", "claude")
    assert (done.returncode, done.stdout) == (1, "")
    assert complaint in done.stderr
    assert done.stderr.count("\n") == 1
    printed = mlxctl("launch", "claude", "--print")
    assert (printed.returncode, printed.stderr) == (0, done.stderr)
    assert printed.stdout.splitlines()[-1].startswith("claude ")


@pytest.mark.parametrize(
    ("model", "doubt"),
    [
        ({"context_length": 16_384}, "for long tasks it needs 32,000"),
        ({"template": {"tools": False, "thinking": False}}, "has no functions"),
        ({"template": None}, "has no functions"),
    ],
    ids=["small context", "no functions", "no template"],
)
def test_doubts_are_told(
    serving: FakeDaemon, programs: Path, mlxctl: Run, model: dict, doubt: str
) -> None:
    serving.answers(SHOW, {**TINY, **model})
    done = mlxctl("launch", "codex")
    assert done.returncode == 7
    assert doubt in done.stderr


def test_a_key_that_only_its_owner_knows(serving: FakeDaemon, programs: Path, mlxctl: Run) -> None:
    created = mlxctl("key", "create", "laptop").stdout.strip()
    done = mlxctl("launch", "codex")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"mlxctl: {KEY_WANTED}\n"
    printed = mlxctl("launch", "--print", "codex")
    assert printed.stderr == done.stderr
    assert "export MLXD_API_KEY='<MLXD_API_KEY>'" in printed.stdout
    told = json.loads(mlxctl("launch", "codex", MLXD_API_KEY=created).stdout)
    assert told["environ"]["MLXD_API_KEY"] == created


def test_a_program_that_is_not_installed(
    serving: FakeDaemon, mlxctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    done = mlxctl("launch", "codex")
    assert done.returncode == 1
    assert done.stderr == (
        "mlxctl: Codex is not installed; to install it: npm install -g @openai/codex\n"
    )


def test_no_model_is_selected(serving: FakeDaemon, programs: Path, mlxctl: Run) -> None:
    serving.answers(STATUS, {**RUNNING, "default_model": None, "default_fault": "no models"})
    assert mlxctl("launch", "codex").stderr == "mlxctl: no model selected: no models\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["vim"], "'vim' is not one of 'claude', 'codex'"),
        (["zed"], "mlxctl launch --print zed"),
        (["--print", "zed", "."], "mlxctl launch --print zed"),
        (["claude", "-p", "Do it"], 'No such option: -p. The program\'s own come after "--".'),
        ([], "Missing argument"),
    ],
)
def test_wrong_usage(mlxctl: Run, arguments: list[str], complaint: str) -> None:
    done = mlxctl("launch", *arguments)
    assert done.returncode == 2
    assert complaint in done.stderr


def test_settings_of_a_daemon_that_does_not_run(mlxctl: Run) -> None:
    assert mlxctl("launch", "--print", "zed").returncode == 3


@pytest.mark.slow
def test_the_daemon_is_started(home: Path, programs: Path, mlxctl: Run) -> None:
    done = mlxctl("launch", "codex")
    try:
        assert "mlxd has started" in done.stderr
        assert "no model selected" in done.stderr
    finally:
        mlxctl("stop")


def test_settings_of_other_programs(serving: FakeDaemon, mlxctl: Run) -> None:
    done = mlxctl("launch", "--print", "vscode", "--model", "tiny")
    (provider,) = json.loads(done.stdout)
    (model,) = provider["models"]
    assert (model["id"], model["maxInputTokens"], model["maxOutputTokens"]) == (
        "tiny",
        131_072 - 32_000,
        32_000,
    )
    assert done.stderr.startswith("mlxctl: settings of VS Code, chatLanguageModels.json")


@pytest.mark.parametrize("name", ["vscode", "zed"])
def test_json_of_any_name_and_key(name: str) -> None:
    assert NAMED.model in str(json.loads(OTHERS[name].settings(NAMED)))


@pytest.mark.parametrize("name", ["aider", "open-webui"])
def test_shell_of_any_name_and_key(name: str) -> None:
    lines = OTHERS[name].settings(NAMED).splitlines()
    script = "\n".join([*(line for line in lines if line.startswith("export")), "env"])
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert f"OPENAI_API_KEY={NAMED.key}\n" in done.stdout


def test_the_documentation_has_the_same_programs_and_numbers(mlxctl: Run) -> None:
    page = (REPOSITORY / "docs" / "clients.md").read_text()
    for agent in AGENTS.values():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| {agent.title} |"))
        assert row.endswith(f"| {agent.first_prompt:,} tokens | {agent.advised:,} |")
    described = mlxctl("launch", "--help").stdout
    for name, other in OTHERS.items():
        assert other.title in page
        assert name in described


def test_python_of_any_name_and_key() -> None:
    compile(OTHERS["langchain"].settings(NAMED), "langchain", "exec")
