"""`mlxctl doctor`: what may be wrong, and how to fix it."""

import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence

import click
import msgspec

from mlxctl.doctor import examine
from mlxctl.doctor.facts import look
from mlxctl.doctor.finding import Finding
from mlxctl.errors import CommandFailed
from mlxctl.terminal import colored, is_screen, json_option, print_json

Paint = Callable[[str, str], str]

_COLORS = {"ok": "green", "warning": "yellow", "error": "red"}
_STATE_WIDTH = 7
_NARROWEST = 30


class Diagnosis(msgspec.Struct):
    """What `--json` prints; `ok` if there is no error."""

    ok: bool
    findings: list[Finding]


@click.command()
@json_option()
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Check the machine, the configuration and the daemon, and show how to fix problems.

    Each line is ok, a warning or an error; an error keeps mlxd from working. Nothing is changed,
    and a daemon that starts on demand is not started. Exit status 1 if there is an error.
    """
    findings = examine(look())
    ok = all(finding.state != "error" for finding in findings)
    if as_json:
        print_json(Diagnosis(ok, findings))
    else:
        columns = shutil.get_terminal_size().columns if is_screen(sys.stdout) else None
        click.echo("\n".join([*lines(findings, columns=columns), "", summary(findings)]))
    if not ok:
        ctx.exit(CommandFailed.exit_status)


def lines(
    findings: Sequence[Finding], paint: Paint = colored, columns: int | None = None
) -> list[str]:
    """Return the findings for a person, each fix on a line of its own.

    Messages are wrapped to `columns`; commands are not.
    """
    width = max(len(finding.check) for finding in findings)
    indent = " " * (_STATE_WIDTH + 2 + width + 2)
    room = None if columns is None else max(_NARROWEST, columns - len(indent))
    found: list[str] = []
    for finding in findings:
        state = paint(f"{finding.state:{_STATE_WIDTH}}", _COLORS[finding.state])
        first, *more = _wrapped(finding.message, room)
        found.append(f"{state}  {finding.check:{width}}  {first}")
        found += [f"{indent}{line}" for line in more]
        if finding.fix:
            found.append(f"{indent}fix: {finding.fix}")
    return found


def summary(findings: Sequence[Finding]) -> str:
    """Return how many errors and warnings there are, as a line."""
    states = [finding.state for finding in findings]
    counts = [(states.count(state), state) for state in ("error", "warning")]
    counted = [f"{count} {state}{'s' if count > 1 else ''}" for count, state in counts if count]
    return ", ".join(counted) or "no problems found"


def _wrapped(text: str, room: int | None) -> list[str]:
    if room is None:
        return [text]
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
