"""The Homebrew formula, judged by Ruby and by tests/fakes/homebrew.rb; `brew` needs a Mac."""

import json
import os
import plistlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from platformdirs.macos import MacOS

from mlxctl.service import plist
from mlxctl.service.description import Mode, describe
from mlxctl.service.homebrew import LABEL
from mlxd.config import Config
from scripts.homebrew_formula import FORMULA, ROOT
from tests.support.launchd_plist import complaints

FAKES = ROOT / "tests" / "fakes"
HOMEBREW = FAKES / "homebrew.rb"
PLIST = FAKES / f"{LABEL}.plist"


def _has_ruby() -> bool:
    command = ["ruby", "-e", "exit RUBY_VERSION.to_i >= 3"]
    return bool(shutil.which("ruby")) and subprocess.run(command).returncode == 0


needs_ruby = pytest.mark.skipif(not _has_ruby(), reason="needs Ruby 3")
needs_rubocop = pytest.mark.skipif(not shutil.which("rubocop"), reason="needs rubocop")


def homebrew(
    what: str, *arguments: str | Path, formula: Path = FORMULA, **environ: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["ruby", HOMEBREW, formula, what, *arguments],
        env={**os.environ, "HOMEBREW_PREFIX": "/opt/homebrew", "HOME": "/Users/ada", **environ},
        capture_output=True,
        text=True,
        timeout=60,
    )


@needs_ruby
def test_ruby_reads_it() -> None:
    done = subprocess.run(["ruby", "-wc", FORMULA, HOMEBREW], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@needs_rubocop
def test_it_is_written_in_homebrews_style() -> None:
    with tempfile.TemporaryDirectory() as cache:
        command = ["rubocop", "--cache-root", cache, FORMULA, HOMEBREW]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_ruby
def test_the_tests_of_mlxctl_use_what_homebrew_makes_of_it() -> None:
    made = homebrew("plist")
    assert made.stdout == PLIST.read_text(), (
        f"run: HOME=/Users/ada ruby {HOMEBREW} {FORMULA} plist > {PLIST}"
    )


def test_its_service_is_the_one_that_mlxctl_installs() -> None:
    made = plistlib.loads(PLIST.read_bytes())
    ours = plist.make(describe(Mode.AT_LOGIN, {}), plist.LABEL)
    assert list(complaints(made)) == []
    same = ("ProcessType", "ThrottleInterval", "ExitTimeOut", "KeepAlive", "RunAtLoad")
    assert {key: made[key] for key in same} == {key: ours[key] for key in same}
    assert made["ExitTimeOut"] > Config().server.drain_timeout
    assert made["Label"] == LABEL
    program, *arguments = made["ProgramArguments"]
    assert program == "/opt/homebrew/opt/mlxd/bin/mlxd"  # and not in the Cellar
    logs = MacOS("mlxd", appauthor=False).user_log_dir.replace(str(Path.home()), "/Users/ada")
    assert arguments == ["--log-file", f"{logs}/mlxd.log"]


@needs_ruby
def test_it_installs_every_wheel_and_then_the_project(tmp_path: Path) -> None:
    steps = homebrew("install", HOMEBREW_PREFIX=str(tmp_path))
    assert steps.returncode == 0, steps.stderr
    venv, *installed = steps.stdout.splitlines()
    assert venv.endswith("/libexec with python3.14, site packages: false")
    resources = json.loads(homebrew("facts").stdout)["resources"]
    assert installed == [
        *(f"pip install {each['files'][0]['url'].rpartition('/')[2]}" for each in resources),
        "pip install mlxd and link its programs",
        *(f"mlxctl completion {shell}" for shell in ("bash", "zsh", "fish")),
    ]
    assert (tmp_path / "var" / "log").is_dir()  # launchd makes no folders


@needs_ruby
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_its_own_test_passes_on_this_project() -> None:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        done = homebrew("test", sys.prefix, Path(folder).resolve())
    assert done.returncode == 0, done.stderr


@needs_ruby
@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("keep_alive successful_exit: false", "keep_alive sucessful_exit: false"),
        ("process_type :interactive", "process_type :urgent"),
        ("stop_timeout 45", "stop_timeout '45'"),
        ("throttle_interval 5", "throttle 5"),
        ("depends_on macos: :sonoma", "depend_on macos: :sonoma"),
    ],
)
def test_what_homebrew_would_refuse_is_refused(tmp_path: Path, line: str, wrong: str) -> None:
    formula = tmp_path / FORMULA.name
    formula.write_text(FORMULA.read_text().replace(line, wrong))
    assert formula.read_text() != FORMULA.read_text()
    assert homebrew("plist", formula=formula).returncode == 1
