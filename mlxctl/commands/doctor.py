"""`mlxctl doctor`: what may be wrong, and what mends it."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence

import click
import msgspec

from mlxctl.doctor import examine
from mlxctl.doctor.facts import look
from mlxctl.doctor.finding import BAD, WARNING, Finding
from mlxctl.errors import CommandFailed
from mlxctl.terminal import coloured, is_screen

Paint = Callable[[str, str], str]

_COLOURS = {"good": "green", "warning": "yellow", "bad": "red"}
_STATE_WIDTH = 7
_NARROWEST = 30


class Diagnosis(msgspec.Struct):
    """What `--json` prints; `ok` where nothing is bad."""

    ok: bool
    findings: list[Finding]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Say what is wrong with the machine, the configuration or the daemon, and what mends it.

    Each line is good, a warning or bad; bad is what keeps mlxd from working. Nothing is changed,
    and a daemon that is started on demand is not started. Exit status 1 when something is bad.
    """
    findings = examine(look())
    ok = all(finding.state != BAD for finding in findings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(Diagnosis(ok, findings))))
    else:
        columns = shutil.get_terminal_size().columns if is_screen(sys.stdout) else None
        click.echo("\n".join([*lines(findings, columns=columns), "", summary(findings)]))
    if not ok:
        ctx.exit(CommandFailed.exit_status)


def lines(
    findings: Sequence[Finding], paint: Paint = coloured, columns: int | None = None
) -> list[str]:
    """Give the findings for a person, what mends them on lines of their own.

    Where there are `columns`, what is longer goes on in the next line, but never a command.
    """
    width = max(len(finding.check) for finding in findings)
    indent = " " * (_STATE_WIDTH + 2 + width + 2)
    room = None if columns is None else max(_NARROWEST, columns - len(indent))
    found: list[str] = []
    for finding in findings:
        state = paint(f"{finding.state:{_STATE_WIDTH}}", _COLOURS[finding.state])
        first, *more = _wrapped(finding.message, room)
        found.append(f"{state}  {finding.check:{width}}  {first}")
        found += [f"{indent}{line}" for line in more]
        if finding.mend:
            found.append(f"{indent}mend: {finding.mend}")
    return found


def summary(findings: Sequence[Finding]) -> str:
    """Give the whole in one line."""
    states = [finding.state for finding in findings]
    warnings, troubles = states.count(WARNING), states.count(BAD)
    if not warnings and not troubles:
        return "all is well"
    counted = [f"{warnings} warning{'s' if warnings > 1 else ''}"] if warnings else []
    return ", ".join([f"{troubles} bad", *counted] if troubles else [*counted, "nothing is bad"])


def _wrapped(text: str, room: int | None) -> list[str]:
    if room is None:
        return [text]
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
