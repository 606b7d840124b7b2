"""Bring packaging/homebrew/mlxd.rb up to date with pyproject.toml, for a release or between two.

    python -m scripts.homebrew_formula            # resolve the dependencies, pin each wheel
    python -m scripts.homebrew_formula --release  # also hash the tag's archive; or --archive FILE
    python -m scripts.homebrew_formula --check    # change nothing; exit status 1 when it is stale

pip chooses the wheels, for the formula's Python on each macOS that it supports. The same index
gives the same formula, byte for byte.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
FORMULA = ROOT / "packaging" / "homebrew" / "mlxd.rb"
PYPROJECT = ROOT / "pyproject.toml"

MACOS = {14: "on_sonoma", 15: "on_sequoia", 26: "on_tahoe :or_newer"}
"""Every macOS that MLX has wheels of its own for, and its name in a formula."""

FILES = "https://files.pythonhosted.org/packages/"
_PLACE = re.compile(rf"{re.escape(FILES)}[0-9a-f]{{2}}/[0-9a-f]{{2}}/[0-9a-f]{{60}}/[^/]+\.whl")
_MAJORS = (11, 12, 13, *MACOS)
_OLD_MINORS = (15, 13, 12, 9)  # of macOS 10, which universal2 wheels name
_PYTHON = re.compile(r'^  depends_on "python@(3\.\d+)"$', re.MULTILINE)
_HOMEPAGE = re.compile(r'^  homepage "([^"]+)"$', re.MULTILINE)
_URL = re.compile(r'^  url "([^"]+)"$', re.MULTILINE)
_SHA256 = re.compile(r'^  sha256 "[0-9a-f]{64}"$', re.MULTILINE)
_HEAD = re.compile(r'^  head "[^"]+"', re.MULTILINE)
_TAG = re.compile(r"/v([^/]+)\.tar\.gz$")
_RESOURCES = re.compile(r'^  resource "[^"]+" do\n(?:.*\n)*?  end\n\n', re.MULTILINE)
_NAME = re.compile(r'^  resource "([^"]+)" do$', re.MULTILINE)
_WHEEL_URL = re.compile(r'^ +url "([^"]+)"$', re.MULTILINE)
_LOCAL_PLACES = ("PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX")
_BEFORE_INSTALL = "  def install\n"


class FormulaError(Exception):
    """The formula cannot be made; the message says why."""


@dataclass(frozen=True)
class Wheel:
    """A file of PyPI, and what it requires."""

    name: str
    version: str
    url: str
    sha256: str
    requires: tuple[str, ...] = ()


Index = dict[str, Wheel]


def requirements(pyproject: Mapping[str, Any], python: str) -> list[Requirement]:
    """Return what the project requires on a Mac with `python`."""
    found = map(Requirement, pyproject["project"]["dependencies"])
    return [each for each in found if applies(each, python)]


def applies(requirement: Requirement, python: str, extras: Iterable[str] = ()) -> bool:
    """Whether `requirement` is one on Apple silicon, for a package that is asked for `extras`."""
    marker = requirement.marker
    if marker is None:
        return True
    mac = {
        "implementation_name": "cpython",
        "implementation_version": f"{python}.0",
        "os_name": "posix",
        "platform_machine": "arm64",
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Darwin",
        "platform_version": "",
        "python_full_version": f"{python}.0",
        "python_version": python,
        "sys_platform": "darwin",
    }
    return any(marker.evaluate({**mac, "extra": extra}) for extra in ("", *extras))


def reached(wanted: Iterable[Requirement], index: Index, python: str) -> tuple[Index, list[str]]:
    """Return the wheels that `wanted` leads to, and the requirements that `index` does not meet."""
    found: Index = {}
    missing: list[str] = []
    seen: set[tuple[str, frozenset[str]]] = set()
    queue = list(wanted)
    while queue:
        requirement = queue.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        wheel = index.get(name)
        if wheel is None:
            missing.append(_bare(requirement))
            continue
        found[name] = wheel
        needs = map(Requirement, wheel.requires)
        queue += [need for need in needs if applies(need, python, extras)]
    return found, sorted(missing)


def resolve(wanted: list[Requirement], python: str) -> dict[int, Index]:
    """Return every wheel that `wanted` leads to, for each macOS.

    Raises:
        FormulaError: pip finds none, or finds one elsewhere than on PyPI.
    """
    oldest, *others = MACOS
    # pip evaluates markers for the system that it runs on; what only a Mac needs is asked for anew.
    asked = [_bare(each) for each in wanted]
    missing: list[str] = []
    while True:
        index = ask_pip([*asked, *missing], python, oldest)
        found, still = reached(wanted, index, python)
        if not still:
            break
        if set(still) <= set(missing):
            raise FormulaError(f"pip does not find {', '.join(still)}")
        missing += still
    pins = [f"{wheel.name}=={wheel.version}" for wheel in found.values()]
    return {oldest: found, **{each: ask_pip(pins, python, each, "--no-deps") for each in others}}


def ask_pip(wanted: list[str], python: str, macos: int, *options: str) -> Index:
    """Return what pip would install on Apple silicon with `macos`, by name.

    Raises:
        FormulaError: it would not, or not from PyPI.
    """
    # The first that there is a wheel for is taken, so the newest comes first.
    majors = [major for major in sorted(_MAJORS, reverse=True) if major <= macos]
    platforms = [
        *(f"macosx_{major}_0_{kind}" for major in majors for kind in ("arm64", "universal2")),
        *(f"macosx_10_{minor}_universal2" for minor in _OLD_MINORS),
    ]
    # Local folders of wheels would give paths that nobody else has.
    mine = {name: value for name, value in os.environ.items() if name not in _LOCAL_PLACES}
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        report = Path(folder) / "report.json"
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"),
                *("--ignore-installed", "--only-binary=:all:", "--report", str(report)),
                *("--python-version", python, "--implementation", "cp", "--target", folder),
                *(f"--abi={abi}" for abi in (f"cp{python.replace('.', '')}", "abi3", "none")),
                *(f"--platform={platform}" for platform in platforms),
                *options,
                *wanted,
            ],
            env={**mine, "PIP_CONFIG_FILE": os.devnull},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise FormulaError(f"pip: {done.stderr.strip()}")
        return read_report(json.loads(report.read_text()))


def read_report(report: Mapping[str, Any]) -> Index:
    """Return the wheels of a report of `pip install --report`.

    Raises:
        FormulaError: one is not a file of PyPI.
    """
    index: Index = {}
    for entry in report["install"]:
        metadata, origin = entry["metadata"], entry["download_info"]
        name = canonicalize_name(metadata["name"])
        if not _PLACE.fullmatch(origin["url"]):
            raise FormulaError(f"{name} is no wheel of {FILES}, but {origin['url']}")
        index[name] = Wheel(
            name=name,
            version=metadata["version"],
            url=origin["url"],
            sha256=origin["archive_info"]["hashes"]["sha256"],
            requires=tuple(metadata.get("requires_dist", ())),
        )
    return index


def stanzas(found: Mapping[int, Index]) -> str:
    """Write the resources: one file where every macOS takes the same."""
    return "".join(
        f'  resource "{name}" do\n{_files({each: found[each][name] for each in found})}  end\n\n'
        for name in sorted(found[min(found)])
    )


def _files(wheels: Mapping[int, Wheel]) -> str:
    if len({wheel.url for wheel in wheels.values()}) == 1:
        return _file(next(iter(wheels.values())), "    ")
    return "\n".join(
        f"    {MACOS[macos]} do\n{_file(wheel, '      ')}    end\n"
        for macos, wheel in wheels.items()
    )


def _file(wheel: Wheel, indent: str) -> str:
    return f'{indent}url "{wheel.url}"\n{indent}sha256 "{wheel.sha256}"\n'


def with_resources(formula: str, resources: str) -> str:
    """Put `resources` in the place of those there are."""
    bare = _RESOURCES.sub("", formula)
    before, install, after = bare.partition(_BEFORE_INSTALL)
    return before + resources + install + after


def with_release(formula: str, repository: str, version: str, sha256: str) -> str:
    """Name the release `version` of `repository`."""
    url = archive_url(repository, version)
    for pattern, line in (
        (_HOMEPAGE, f'  homepage "{repository}"'),
        (_URL, f'  url "{url}"'),
        (_SHA256, f'  sha256 "{sha256}"'),
        (_HEAD, f'  head "{repository}.git"'),
    ):
        formula = pattern.sub(line, formula, count=1)
    return formula


def archive_url(repository: str, version: str) -> str:
    """Return where GitHub has the source of `version`."""
    return f"{repository}/archive/refs/tags/v{version}.tar.gz"


def python_of(formula: str) -> str:
    """Return the Python that the formula is for, like "3.14"."""
    return _one(_PYTHON, formula)


def complaints(formula: str, pyproject: Mapping[str, Any]) -> Iterator[str]:
    """Say in what the formula is not what the project needs."""
    version, python = pyproject["project"]["version"], python_of(formula)
    url = _one(_URL, formula)
    tagged = _TAG.search(url)
    if tagged is None or tagged[1] != version:
        yield f"url is {url}, and the project's version {version}"
    pinned: dict[str, set[str]] = {}
    for stanza in _RESOURCES.findall(formula):
        name = _one(_NAME, stanza)
        for url in _WHEEL_URL.findall(stanza):
            if not _PLACE.fullmatch(url):
                yield f"{name}: {url} is no wheel of {FILES}"
                continue
            found, release, _, _ = parse_wheel_filename(url.rpartition("/")[2])
            pinned.setdefault(name, set()).add(str(release))
            if found != name:
                yield f"{name}: {url} is another package"
    for requirement in requirements(pyproject, python):
        name, specifier = canonicalize_name(requirement.name), requirement.specifier
        if name not in pinned:
            yield f"{name} is required, and there is no resource of it"
        for pin in sorted(pinned.get(name, ())):
            if not specifier.contains(pin, prereleases=True):
                yield f"{name} is {pin}, and the project requires {specifier}"


def repository_of(formula: str, pyproject: Mapping[str, Any]) -> str:
    """Return the project's repository: pyproject's, or else the one the formula has."""
    urls: Mapping[str, str] = pyproject["project"].get("urls", {})
    return urls.get("Repository", _one(_HOMEPAGE, formula)).rstrip("/")


def _one(pattern: re.Pattern[str], text: str) -> str:
    if (match := pattern.search(text)) is None:
        raise FormulaError(f"{FORMULA.name} has no line like {pattern.pattern}")
    return match[1]


def _bare(requirement: Requirement) -> str:
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"


def _download(url: str) -> bytes:
    try:
        with urllib.request.urlopen(url) as answer:
            content: bytes = answer.read()
    except OSError as error:
        raise FormulaError(f"{url}: {error}") from error
    return content


def main(arguments: list[str]) -> int:
    """Do what the command line says, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.homebrew_formula")
    parser.add_argument("--formula", type=Path, default=FORMULA)
    parser.add_argument("--check", action="store_true", help="change nothing; 1 when it is stale")
    parser.add_argument("--repository", help="https://github.com/OWNER/NAME")
    parser.add_argument("--release", action="store_true", help="hash the tag's archive at GitHub")
    parser.add_argument("--archive", type=Path, help="the same archive, as a file")
    options = parser.parse_args(arguments)
    before = options.formula.read_text()
    pyproject = tomllib.loads(PYPROJECT.read_text())
    if options.check:
        found = list(complaints(before, pyproject))
        for complaint in found:
            print(f"{options.formula}: {complaint}", file=sys.stderr)
        return 1 if found else 0
    python = python_of(before)
    after = with_resources(before, stanzas(resolve(requirements(pyproject, python), python)))
    if options.release or options.archive:
        repository = options.repository or repository_of(before, pyproject)
        version = pyproject["project"]["version"]
        url = archive_url(repository, version)
        content = options.archive.read_bytes() if options.archive else _download(url)
        after = with_release(after, repository, version, hashlib.sha256(content).hexdigest())
    if after == before:
        print(f"{options.formula} is up to date")
        return 0
    fresh = options.formula.with_suffix(".new")
    fresh.write_text(after)
    fresh.replace(options.formula)
    print(f"{options.formula} is written")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except FormulaError as error:
        sys.exit(f"homebrew_formula: {error}")
