"""`mlxctl report`: what helps others to find a problem, without anything private."""

import contextlib
import os
import sys
import tomllib
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import click
import msgspec

from mlxctl.commands.doctor import lines, summary
from mlxctl.doctor import examine
from mlxctl.doctor.facts import Facts, look
from mlxctl.doctor.redact import without_private_parts
from mlxctl.errors import CommandFailed
from mlxctl.logs.files import entries_backwards
from mlxctl.programs import last_lines
from mlxctl.service import plist
from mlxd import __version__, paths
from mlxd import config as configuration
from mlxd.errors import ConfigError

_ENTRIES = 200
_OUTPUT_LINES = 100
# Written by a person, or names of other machines.
_PRIVATE = (".chat_template", ".chat_template_args", ".allowed_hosts")
_VARIABLES = ("MLXD_HOME", "HF_", "PYTHON", "VIRTUAL_ENV", "DYLD_", "LD_", "METAL_", "MLX_", "OMP_")
_LOOK = "read it before you send it"


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def report(file: Path | None) -> None:
    """Write a report for an issue to FILE, or print it.

    It contains versions, what mlxctl doctor finds, the configuration, the service, and the end of
    the log, which never contains prompts or answers. Secrets, your home folder, your name and
    addresses are removed; names of models are not.
    """
    facts = look()
    text = without_private_parts("\n".join(_sections(facts)), os.environ, _secrets(facts)) + "\n"
    if file is None:
        sys.stdout.write(text)
        click.echo(f"mlxctl: {_LOOK}", err=True)
        return
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as created:
            created.write(text)
    except FileExistsError as error:
        raise CommandFailed(f"{file} already exists; it was not changed") from error
    click.echo(f"wrote {file}: {_LOOK}")


def _sections(facts: Facts) -> Iterator[str]:
    machine = facts.machine
    yield "# mlxd report"
    yield f"mlxctl {__version__}, Python {sys.version.split()[0]}"
    yield f"{machine.system} {machine.release}, {machine.processor} {machine.chip}".rstrip()
    yield "\n## doctor"
    findings = examine(facts)
    yield from lines(findings, paint=lambda text, _color: text)
    yield summary(findings)
    yield "\n## configuration"
    yield from _configuration()
    yield "\n## environment"
    yield from _environment(os.environ)
    yield "\n## service"
    yield _json(facts.service) if facts.service else f"unknown: {facts.service_fault}"
    if facts.service and facts.service.file:
        yield _description(Path(facts.service.file))
    yield "\n## status"
    yield _json(facts.status) if facts.status else "not running"
    yield f"the last one: {facts.last_end}" if facts.last_end else ""
    yield f"\n## the last {_ENTRIES} entries of the log"
    yield from _log_end()
    yield "\n## standard error of the daemon"
    yield from last_lines(paths.stderr_file(), _OUTPUT_LINES) or ["nothing"]


def _environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(environ.items()):
        if name.startswith(_VARIABLES):
            yield f"{name}={value}"
        elif name.startswith("MLXD_") or name.lower().endswith("_proxy"):
            yield f"{name}=…"


def _json(value: msgspec.Struct) -> str:
    return msgspec.json.format(msgspec.json.encode(value)).decode()


def _configuration() -> Iterator[str]:
    try:
        for row in configuration.explain():
            text = "…" if row.key.endswith(_PRIVATE) and row.value else row.text
            yield f"{row.key} = {text}  # {row.source}"
    except ConfigError as error:
        yield error.message


def _description(file: Path) -> str:
    """Return what launchd or systemd was told; of a property list only what can be parsed."""
    if file.suffix == ".plist":
        found = plist.read(file)
        return plist.render(found).decode() if found else f"{file} is not a property list"
    try:
        return file.read_text(errors="replace")
    except OSError as error:
        return f"{file}: {error.strerror}"


def _log_end() -> Iterator[str]:
    try:
        entries = [*islice(entries_backwards(paths.log_file()), _ENTRIES)]
    except CommandFailed as error:
        yield error.message
        return
    if not entries:
        yield "there is no log"
    for entry in reversed(entries):
        yield b"\n".join(entry.as_text()).decode(errors="replace")


def _secrets(facts: Facts) -> Iterator[str]:
    """Yield the secrets, the API key even if the rest of the configuration is at fault."""
    if facts.config is not None:
        yield from (facts.config.server.api_key, facts.config.hub.token, facts.config.hub.proxy)
    for file in (paths.config_file(), paths.settings_file()):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            yield str(tomllib.loads(file.read_text()).get("server", {}).get("api_key", ""))
