"""`mlxctl doctor`: what may be wrong, and what mends it."""

from collections.abc import Callable, Sequence

import click
import msgspec

from mlxctl.doctor import examine
from mlxctl.doctor.finding import BAD, WARNING, Finding
from mlxctl.doctor.situation import look
from mlxctl.errors import CommandFailed
from mlxctl.style import coloured

Paint = Callable[[str, str], str]

_COLOURS = {"good": "green", "warning": "yellow", "bad": "red"}


class Diagnosis(msgspec.Struct):
    """What `--json` prints; `ok` where nothing is bad."""

    ok: bool
    findings: list[Finding]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def doctor(ctx: click.Context, *, as_json: bool) -> None:
    """Check this machine, the configuration and the daemon, and say what mends what is wrong.

    Exit status 1 when something is bad; a warning is not.
    """
    findings = examine(look())
    ok = all(finding.state != BAD for finding in findings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(Diagnosis(ok, findings))))
    else:
        click.echo("\n".join([*lines(findings), "", summary(findings)]))
    if not ok:
        ctx.exit(CommandFailed.exit_status)


def lines(findings: Sequence[Finding], paint: Paint = coloured) -> list[str]:
    """Give the findings for a person, what mends them on lines of their own."""
    width = max(len(finding.check) for finding in findings)
    found: list[str] = []
    for finding in findings:
        state = paint(f"{finding.state:7}", _COLOURS[finding.state])
        found.append(f"{state}  {finding.check:{width}}  {finding.message}")
        if finding.mend:
            found.append(f"{'':{9 + width}}  mend: {finding.mend}")
    return found


def summary(findings: Sequence[Finding]) -> str:
    """Give the whole in one line."""
    states = [finding.state for finding in findings]
    warnings, troubles = states.count(WARNING), states.count(BAD)
    if not warnings and not troubles:
        return "all is well"
    counted = [f"{warnings} warning{'s' if warnings > 1 else ''}"] if warnings else []
    return ", ".join([f"{troubles} bad", *counted] if troubles else [*counted, "nothing is bad"])
