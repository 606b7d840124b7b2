"""What may be wrong with mlxd on this machine, and the command that fixes it.

facts       what the checks look at, gathered once
machine     platform and chip, Python, MLX, memory, open files
files       configuration, permissions, disk space
service     what starts the daemon, whether it runs, how the last one ended
conflicts   other jobs of launchd in its way
ports       the TCP port, and proxies
network     how downloads reach the hub, and whether clients reach the daemon in secret
models      broken models, unfinished downloads
finding     what a check says
background  calls with a time limit, of which some may hang
redact      removes private parts from a report

A check is a function from the facts to its findings, and stands in `CHECKS`. No check starts the
daemon.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from mlxctl.doctor import conflicts, files, machine, models, network, ports, service
from mlxctl.doctor.background import BackgroundCall
from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import FAILURES, Finding, error, explained

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    machine.platform,
    machine.python,
    machine.mlx,
    files.configuration,
    ports.proxy,
    network.network,
    network.secrecy,
    service.manager,
    service.homebrew,
    conflicts.conflicts,
    service.daemon,
    service.version,
    ports.port,
    files.permissions,
    files.disk,
    machine.memory,
    machine.open_files,
    models.models,
    models.downloads,
)


_SECONDS = 10.0


def examine(
    facts: Facts, checks: Sequence[Check] = CHECKS, seconds: float = _SECONDS
) -> list[Finding]:
    """Return the findings of all checks, in their order; a check that fails or hangs is one."""
    calls = [BackgroundCall(partial(_run, check, facts), seconds) for check in checks]
    findings: list[Finding] = []
    for check, call in zip(checks, calls, strict=True):
        try:
            findings += call.result()
        except FAILURES as failure:
            name = check.__name__.replace("_", " ")
            findings.append(error(name, f"this check failed: {explained(failure)}"))
    return findings


def _run(check: Check, facts: Facts) -> list[Finding]:
    return list(check(facts))
