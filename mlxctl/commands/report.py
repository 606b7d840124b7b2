"""`mlxctl report`: everything that helps somebody else to find a fault, and nothing private."""

import contextlib
import os
import plistlib
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
from mlxd import __version__, paths
from mlxd import config as configuration
from mlxd.errors import ConfigError

_ENTRIES = 200
_OUTPUT_BYTES = 8000
_DESCRIPTION_BYTES = 16_000
# What a person has written, or calls other machines.
_PRIVATE = (".chat_template", ".chat_template_args", ".allowed_hosts")
_VARIABLES = ("MLXD_HOME", "HF_", "PYTHON", "VIRTUAL_ENV", "DYLD_", "LD_", "METAL_", "MLX_", "OMP_")
_LOOK = "look at it before you send it"


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def report(file: Path | None) -> None:
    """Write what helps to find a fault to FILE, or print it: for an issue, say.

    Versions, what mlxctl doctor finds, the configuration, the service, and the end of the log, in
    which no prompt or answer ever is. Secrets are masked, and your home folder, your name and
    addresses are left out; the names of models are in it.
    """
    situation = look()
    secrets = [*_secrets(situation)]
    text = without_private_parts("\n".join(_sections(situation)), os.environ, secrets) + "\n"
    if file is None:
        sys.stdout.write(text)
        click.echo(f"mlxctl: {_LOOK}", err=True)
        return
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened_file:
            opened_file.write(text)
    except FileExistsError as error:
        raise CommandFailed(f"{file}: exists already and is left as it is") from error
    click.echo(f"wrote {file}: {_LOOK}")


def _sections(situation: Facts) -> Iterator[str]:
    machine = situation.machine
    yield "# mlxd report"
    yield f"mlxctl {__version__}, Python {sys.version.split()[0]}"
    yield f"{machine.system} {machine.release}, {machine.processor} {machine.chip}".rstrip()
    yield "\n## doctor"
    findings = examine(situation)
    yield from lines(findings, paint=_plain)
    yield summary(findings)
    yield "\n## configuration"
    yield from _configuration()
    yield "\n## environment"
    yield from _environment(situation.environ)
    yield "\n## service"
    service = situation.service
    if service is None:
        yield situation.service_fault or "it cannot be found out"
    else:
        yield msgspec.json.format(msgspec.json.encode(service)).decode()
        if service.file is not None:
            yield _description(Path(service.file))
    yield "\n## status"
    status = situation.status
    yield msgspec.json.format(msgspec.json.encode(status)).decode() if status else "not running"
    yield f"\n## the last {_ENTRIES} entries of the log"
    yield from _log_end()
    yield "\n## printed beside the log"
    yield _output_end()


def _environment(environ: Mapping[str, str]) -> Iterator[str]:
    for name, value in sorted(environ.items()):
        if name.startswith(_VARIABLES):
            yield f"{name}={value}"
        elif name.startswith("MLXD_") or name.lower().endswith("_proxy"):
            yield f"{name}=…"


def _plain(text: str, _colour: str) -> str:
    return text


def _configuration() -> Iterator[str]:
    try:
        for row in configuration.explain():
            text = "…" if row.key.endswith(_PRIVATE) and row.value else row.text
            yield f"{row.key} = {text}  # {row.source}"
    except ConfigError as error:
        yield error.message


def _description(file: Path) -> str:
    """Give what launchd or systemd was told; of a property list only what can be read as one."""
    try:
        content = file.read_bytes()
    except OSError as error:
        return f"{file}: {error.strerror}"
    if file.suffix == ".plist":
        try:
            content = plistlib.dumps(plistlib.loads(content))
        except (ValueError, TypeError, OverflowError, plistlib.InvalidFileException):
            return f"{file}: no property list"
    return content[:_DESCRIPTION_BYTES].decode(errors="replace").strip()


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


def _output_end() -> str:
    try:
        with paths.stderr_file().open("rb") as output:
            output.seek(max(0, os.fstat(output.fileno()).st_size - _OUTPUT_BYTES))
            return output.read().decode(errors="replace").strip() or "nothing"
    except OSError:
        return "nothing"


def _secrets(situation: Facts) -> Iterator[str]:
    """Give the key, also where the rest of the configuration is at fault."""
    if situation.config is not None:
        yield situation.config.server.api_key
    for file in (paths.config_file(), paths.settings_file()):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            yield str(tomllib.loads(file.read_text()).get("server", {}).get("api_key", ""))
