"""What Homebrew knows of its service, where mlxd is Homebrew's."""

import getpass
from collections.abc import Iterator

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.errors import CommandFailed
from mlxctl.service.brew import listed
from mlxctl.service.homebrew import NAME
from mlxd import paths


def service(situation: Facts) -> Iterator[Finding]:  # noqa: ARG001  asks brew alone
    """Whether `brew services` has started it, and as whom."""
    if paths.home() is not None:  # Homebrew's service has no other home
        return
    try:
        found = listed()
    except CommandFailed as error:
        yield warning("homebrew", error.message)
        return
    if found is None:
        return
    if found.user not in (None, getpass.getuser()):
        message = f"{NAME} is {found.user}'s"
        yield warning("homebrew", message, "sudo brew services stop mlxd")
    elif found.status == "started":
        yield good("homebrew", f"{NAME} is started")
    elif found.status == "error":
        message = f"{NAME} has failed (exit status {found.exit_code})"
        yield bad("homebrew", message, "brew services restart mlxd")
    elif found.status == "stopped":
        # A mistake in the configuration ends it so; `last exit` has the line.
        message = f"{NAME} has ended by itself, and is not started again"
        yield warning("homebrew", message, "mlxctl start")
    elif found.status != "none":
        yield warning("homebrew", f"{NAME} is {found.status}", "brew services info mlxd")
    elif found.user is not None:
        yield warning("homebrew", f"{NAME} is not loaded", "mlxctl start")
