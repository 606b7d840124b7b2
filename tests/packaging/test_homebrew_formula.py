"""The script that refreshes the formula, without asking pip for anything."""

import hashlib
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts import homebrew_formula
from scripts.homebrew_formula import (
    FILES,
    FORMULA,
    MACOS,
    PYPROJECT,
    FormulaError,
    Index,
    Wheel,
    applies,
    complaints,
    main,
    reached,
    read_report,
    resolve,
    stanzas,
    with_release,
    with_resources,
)

PROJECT = tomllib.loads(PYPROJECT.read_text())
PLACE = f"{FILES}aa/bb/{'c' * 60}/"


def wheel(name: str, *requires: str, tag: str = "py3-none-any", version: str = "1.0") -> Wheel:
    file = f"{name.replace('-', '_')}-{version}-{tag}.whl"
    return Wheel(
        name, version, f"{PLACE}{file}", hashlib.sha256(file.encode()).hexdigest(), requires
    )


def index(*wheels: Wheel) -> Index:
    return {each.name: each for each in wheels}


def test_the_formula_is_what_the_project_needs() -> None:
    found = list(complaints(FORMULA.read_text(), PROJECT))
    assert found == [], "run: python -m scripts.homebrew_formula"
    assert main(["--check"]) == 0


@pytest.mark.parametrize(
    ("project", "complaint"),
    [
        ({"version": "9.9"}, "and the project's version 9.9"),
        ({"dependencies": ["click>=99"]}, "and the project requires >=99"),
        (
            {"dependencies": ["rare-thing"]},
            "rare-thing is required, and there is no resource of it",
        ),
    ],
)
def test_a_stale_formula_is_named(project: dict, complaint: str) -> None:
    changed = {"project": {**PROJECT["project"], **project}}
    (found,) = complaints(FORMULA.read_text(), changed)
    assert complaint in found


def test_what_only_linux_needs_is_not_asked_for() -> None:
    changed = {"project": {**PROJECT["project"], "dependencies": ["x; sys_platform == 'linux'"]}}
    assert list(complaints(FORMULA.read_text(), changed)) == []


def test_a_file_that_is_not_on_pypi_is_named() -> None:
    formula = FORMULA.read_text().replace(FILES, "https://mirror.example/packages/", 1)
    (found,) = complaints(formula, PROJECT)
    assert "mirror.example" in found


@pytest.mark.parametrize(
    ("requirement", "wanted"),
    [
        ("a", True),
        ("a; sys_platform == 'darwin' and platform_machine == 'arm64'", True),
        ("a; sys_platform == 'linux'", False),
        ("a; python_version < '3.12'", False),
        ("a; extra == 'fast'", False),
    ],
)
def test_markers_are_those_of_a_mac(requirement: str, wanted: bool) -> None:
    assert applies(Requirement(requirement), "3.14") is wanted


def test_what_is_not_needed_there_is_left_out_and_what_is_missing_is_told() -> None:
    known = index(
        wheel("a", "B>=1", "c; sys_platform == 'linux'", "d[fast]>=2"),
        wheel("b"),
        wheel("c"),
        wheel("d", "e<3; extra == 'fast'", "f; extra == 'slow'"),
    )
    found, missing = reached([Requirement("a")], known, "3.14")
    assert sorted(found) == ["a", "b", "d"]
    assert missing == ["e<3"]


def test_pip_is_asked_until_nothing_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, list[str]]] = []

    def pip(wanted: list[str], python: str, macos: int, *options: str) -> Index:
        asked.append((macos, wanted))
        # As pip on Linux, which follows no requirement of a Mac.
        found = [wheel("lm", "mlx>=1; sys_platform == 'darwin'")]
        if any(each.startswith("mlx") for each in wanted):
            found.append(wheel("mlx", tag=f"cp314-cp314-macosx_{macos}_0_arm64"))
        return index(*found)

    monkeypatch.setattr(homebrew_formula, "ask_pip", pip)
    found = resolve([Requirement("lm>=1; sys_platform == 'darwin'")], "3.14")
    assert asked[:2] == [(14, ["lm>=1"]), (14, ["lm>=1", "mlx>=1"])]
    assert asked[2:] == [(each, ["lm==1.0", "mlx==1.0"]) for each in (15, 26)]
    written = stanzas(found)
    assert written.count('  resource "') == 2
    assert all(f"    {name} do\n      url" in written for name in MACOS.values())


def test_what_pip_never_finds_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(homebrew_formula, "ask_pip", lambda *_: index(wheel("a", "b")))
    with pytest.raises(FormulaError, match="pip does not find b"):
        resolve([Requirement("a")], "3.14")


@pytest.mark.parametrize("url", ["file:///opt/wheels/a-1.0-py3-none-any.whl", f"{PLACE}a.tar.gz"])
def test_only_wheels_of_pypi_are_taken(url: str) -> None:
    entry = {
        "metadata": {"name": "a", "version": "1.0"},
        "download_info": {"url": url, "archive_info": {"hashes": {"sha256": "0" * 64}}},
    }
    with pytest.raises(FormulaError, match="a is no wheel of"):
        read_report({"install": [entry]})


def test_resources_are_replaced_and_the_rest_stays() -> None:
    formula = FORMULA.read_text()
    once = with_resources(formula, stanzas({14: index(wheel("a")), 15: index(wheel("a"))}))
    assert once.count('  resource "') == 1
    assert with_resources(once, stanzas({14: index(wheel("a"))})) == once
    before, _, after = formula.partition("  def install\n")
    assert once.endswith(after)
    assert once.startswith(before.partition('  resource "')[0])


def test_a_release_is_named_and_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    formula, archive = tmp_path / "mlxd.rb", tmp_path / "v0.1.0.tar.gz"
    formula.write_text(FORMULA.read_text())
    archive.write_bytes(b"source")
    known = {macos: index(wheel("a")) for macos in MACOS}
    monkeypatch.setattr(homebrew_formula, "resolve", lambda *_: known)
    command = ["--formula", str(formula), "--archive", str(archive)]
    assert main([*command, "--repository", "https://github.com/ada/mlxd"]) == 0
    first = formula.read_text()
    url = f"https://github.com/ada/mlxd/archive/refs/tags/v{PROJECT['project']['version']}.tar.gz"
    assert f'  url "{url}"\n  sha256 "{hashlib.sha256(b"source").hexdigest()}"\n' in first
    assert '  head "https://github.com/ada/mlxd.git", branch: "main"\n' in first
    assert main(command) == 0  # the repository is the formula's now
    assert formula.read_text() == first
    assert with_release(first, "https://github.com/ada/mlxd", "0.2", "0" * 64) != first


def test_from_the_command_line() -> None:
    command = ["-m", "scripts.homebrew_formula", "--check"]
    done = subprocess.run([homebrew_formula.sys.executable, *command], cwd=homebrew_formula.ROOT)
    assert done.returncode == 0
