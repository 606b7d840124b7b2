"""What may be wrong with mlxd on this machine, and the command that mends it.

finding        what a check says
facts          what the checks look at, gathered once
background     doing several things at a time, of which some may hang
machine        platform and chip, Python, memory, open files
mlx            MLX and its device, asked in a process of its own
service        who starts the daemon, whether it runs, how the last one ended, its version
homebrew       what `brew services` knows of it
ports          who owns the TCP port; listening finds out
files          permissions, disk space
models         what is broken or has come in part; disk looks where no daemon runs
environment    configuration, proxy variables
redact         what is nobody else's business, and is left out of a report

A check is a function from the situation to its findings, and joins `CHECKS`. No check makes the
daemon start.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mlxctl.doctor import environment, files, homebrew, machine, mlx, models, ports, service
from mlxctl.doctor.background import FAILURES, BackgroundCall, explained
from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    machine.platform,
    machine.python,
    mlx.device,
    environment.configuration,
    environment.proxies,
    service.manager,
    homebrew.service,
    service.daemon,
    service.version,
    ports.port,
    files.permissions,
    files.disk,
    files.standard_error,
    machine.memory,
    machine.open_files,
    models.models,
    models.downloads,
)

_SECONDS = 10.0


def examine(
    situation: Facts, checks: Sequence[Check] = CHECKS, seconds: float = _SECONDS
) -> list[Finding]:
    """Give what all checks say, in their order; one that fails or takes longer says so itself."""
    running = [(check, BackgroundCall(partial(_findings, check, situation))) for check in checks]
    findings: list[Finding] = []
    for check, work in running:
        try:
            findings += work.result(seconds)
        except FAILURES as error:
            name = check.__name__.replace("_", " ")
            findings.append(bad(name, f"this cannot be checked: {explained(error)}"))
    return findings


def _findings(check: Check, situation: Facts) -> list[Finding]:
    return list(check(situation))
