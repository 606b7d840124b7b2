"""`mlxctl report`: everything that helps somebody else to find a fault, and nothing private."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click
import msgspec

from mlxctl.commands.doctor import lines, summary
from mlxctl.doctor import examine
from mlxctl.doctor.situation import Situation, look
from mlxctl.errors import CommandFailed
from mlxctl.logs.files import end_of_lines, opened
from mlxctl.logs.history import backwards
from mlxd import __version__, paths
from mlxd import config as configuration
from mlxd.errors import ConfigError

_ENTRIES = 200
_OUTPUT_BYTES = 8000
_SECRET_VARIABLES = ("MLXD_SERVER__API_KEY", "HF_TOKEN", "OPENAI_API_KEY")
_USER_OF_URL = re.compile(r"://[^/\s@]+@")
_TOKEN = re.compile(r"\b(?:hf_|sk-)[A-Za-z0-9_-]{16,}|(?<=Bearer )\S+")
_PRIVATE = (".chat_template", ".chat_template_args")  # may hold what a person has written


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
def report(file: Path | None) -> None:
    """Write what helps to find a fault to FILE, or print it: for an issue, say.

    Versions, what mlxctl doctor finds, the configuration with its secrets masked, and the end of
    the log, in which no prompt or answer ever is. Your home folder is written as "~", your name as
    USER, and what looks like a key as "***".
    """
    situation = look()
    text = _private_parts_removed("\n".join(_sections(situation)), situation) + "\n"
    if file is None:
        sys.stdout.write(text)
        return
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened_file:
            opened_file.write(text)
    except FileExistsError as error:
        raise CommandFailed(f"{file}: exists already and is left as it is") from error
    click.echo(f"wrote {file}; read it before you send it")


def _sections(situation: Situation) -> Iterator[str]:
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
    yield "\n## service"
    yield msgspec.json.format(msgspec.json.encode(situation.service)).decode()
    yield from _service_file(situation.service.file)
    yield "\n## status"
    status = situation.status
    yield msgspec.json.format(msgspec.json.encode(status)).decode() if status else "not running"
    yield f"\n## the last {_ENTRIES} entries of the log"
    yield from _log_end()
    yield "\n## printed beside the log"
    yield _output_end()


def _plain(text: str, _colour: str) -> str:
    return text


def _configuration() -> Iterator[str]:
    try:
        for row in configuration.explain():
            text = "…" if row.key.endswith(_PRIVATE) and row.value else row.text
            yield f"{row.key} = {text}  # {row.source}"
    except ConfigError as error:
        yield error.message


def _service_file(file: str | None) -> Iterator[str]:
    if file is not None:
        try:
            yield Path(file).read_text(errors="replace")
        except OSError as error:
            yield f"{file}: {error.strerror}"


def _log_end() -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        try:
            logs = [stack.enter_context(log) for log in opened(paths.log_file())]
        except CommandFailed as error:
            yield error.message
            return
        if not logs:
            yield "there is no log"
            return
        entries = [*islice(backwards(logs, end_of_lines(logs[0])), _ENTRIES)]
        for entry in reversed(entries):
            yield b"\n".join(entry.as_text()).decode(errors="replace")


def _output_end() -> str:
    try:
        with paths.stderr_file().open("rb") as output:
            output.seek(max(0, os.fstat(output.fileno()).st_size - _OUTPUT_BYTES))
            return output.read().decode(errors="replace").strip() or "nothing"
    except OSError:
        return "nothing"


def _private_parts_removed(text: str, situation: Situation) -> str:
    secrets = {situation.environ.get(name, "") for name in _SECRET_VARIABLES}
    secrets.add(situation.config.server.api_key if situation.config else "")
    for secret in secrets - {""}:
        text = text.replace(secret, "***")
    text = _TOKEN.sub("***", _USER_OF_URL.sub("://***@", text))
    home = os.path.expanduser("~")
    for folder in {home, os.path.realpath(home)} - {"/", "~"}:
        text = text.replace(folder, "~")
    user = situation.environ.get("LOGNAME") or situation.environ.get("USER") or "root"
    # "root" is everybody's name, and part of many words of the system.
    return text if user == "root" else re.sub(rf"\b{re.escape(user)}\b", "USER", text)
