"""What starts the daemon, whether it runs, how the last one ended, and whether it is outdated."""

import getpass
from collections.abc import Iterator

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, error, ok, warning
from mlxctl.errors import CommandFailed
from mlxctl.service.brew import listed
from mlxctl.service.homebrew import NAME
from mlxctl.service.manager import ServiceStatus
from mlxctl.terminal import duration
from mlxd import __version__, paths
from mlxd.run_record import RunEnd


def manager(facts: Facts) -> Iterator[Finding]:
    """What starts the daemon, and whether that is as it should be."""
    service = facts.service
    if facts.service_fault is not None:
        yield error("service", f"its state is unknown: {facts.service_fault}")
    if service is None:
        return
    if service.label is None:
        yield ok("service", "none: mlxctl start starts the daemon, or see mlxctl install")
    elif not service.faults:
        yield _of_healthy(service)
    for fault in service.faults:
        yield warning("service", fault.message, fault.fix)


def homebrew(facts: Facts) -> Iterator[Finding]:  # noqa: ARG001  only `brew` knows
    """Whether `brew services` has started its service, and as which user."""
    if paths.home() is not None:  # Homebrew's service has no other home
        return
    try:
        found = listed()
    except CommandFailed as failure:
        yield warning("homebrew", failure.message)
        return
    if found is None or (found.status, found.user) == ("none", None):
        return
    if found.user not in (None, getpass.getuser()):
        message = f"{NAME} belongs to {found.user}"
        yield warning("homebrew", message, "sudo brew services stop mlxd")
    elif found.status == "started":
        yield ok("homebrew", f"{NAME} is started")
    elif found.status == "error":
        message = f"{NAME} failed (exit status {found.exit_code})"
        yield error("homebrew", message, "brew services restart mlxd")
    else:
        # "stopped" is what an error in the configuration leads to; `last exit` tells it.
        state = "not loaded" if found.status == "none" else found.status
        yield warning("homebrew", f"{NAME} is {state}", "mlxctl start")


def daemon(facts: Facts) -> Iterator[Finding]:
    """Whether one runs and answers, and how the one before ended."""
    status, end = facts.status, _last_end(facts)
    if status is not None and status.stopping:
        yield warning("daemon", f"mlxd (pid {status.pid}) is stopping and accepts no requests")
    elif status is not None:
        uptime = duration(status.uptime_s or 0)
        yield ok("daemon", f"mlxd {status.version} is running (pid {status.pid}, for {uptime})")
    elif facts.pid is None and facts.service and facts.service.pid:
        yield warning("daemon", f"mlxd is starting (pid {facts.service.pid})", "mlxctl status")
    elif facts.silence:
        who = f"mlxd (pid {facts.pid}) runs, but" if facts.pid else "mlxd"
        yield error("daemon", f"{who} does not answer: {facts.silence}", "mlxctl restart")
    elif facts.asleep:
        yield ok("daemon", "mlxd is not running; the first connection starts it")
    elif end is None or end.how == "stopped":
        yield warning("daemon", "mlxd is not running", "mlxctl start")
    else:
        yield error("daemon", "mlxd is not running", "mlxctl start")
    if end is not None:
        yield from _of_end(end, facts)


def version(facts: Facts) -> Iterator[Finding]:
    """Whether an upgrade left an older daemon running."""
    status = facts.status
    if status is not None and status.version != __version__:
        message = f"mlxd {status.version} is running, {__version__} is installed"
        yield warning("version", message, "mlxctl restart")


def _of_healthy(service: ServiceStatus) -> Finding:
    who = f"{service.manager} ({service.label})"
    if service.starts.startswith("never"):
        return warning("service", f"{who} never starts it", "mlxctl enable")
    stopped = "" if service.loaded else ", and is stopped"
    return ok("service", f"{who} starts it {service.starts}{stopped}")


def _last_end(facts: Facts) -> RunEnd | None:
    """Return how the last daemon ended: what it wrote, or else what the service manager saw."""
    if facts.last_end is not None or facts.pid is not None:
        return facts.last_end
    return RunEnd("crashed") if _exit_status(facts) else None


def _of_end(end: RunEnd, facts: Facts) -> Iterator[Finding]:
    if end.how == "stopped":
        yield ok("last exit", "mlxd stopped normally")
    elif end.how == "crashed":
        status = f" ({_exit_status(facts)})" if _exit_status(facts) else ""
        who, logs = "mlxd", "mlxctl logs -n 20"
        if facts.pid is not None:
            who, logs = "the daemon before this one", "mlxctl logs --level warning"
        finding = error if facts.pid is None and not facts.asleep else warning
        yield finding("last exit", f"{who} crashed or was killed{status}", logs)
    elif facts.pid is None:
        fix = "mlxctl config validate" if end.how == "configuration" else "mlxctl start"
        yield error("last exit", f"mlxd failed: {end.message}", fix)


def _exit_status(facts: Facts) -> str:
    """Return the status or signal that the service manager saw; empty for success."""
    seen = facts.service.last_exit if facts.service and facts.service.label else None
    return "" if seen in (None, "0") else str(seen)
