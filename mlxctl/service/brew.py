"""What `brew services` knows about mlxd."""

import shutil
from pathlib import Path

import msgspec

from mlxctl import programs
from mlxctl.errors import CommandFailed

_FORMULA = "mlxd"
_TIMEOUT_SECONDS = 30.0


class Listed(msgspec.Struct, frozen=True):
    """A service in the words of `brew services list --json`; None for what brew does not know.

    `status` is "started", "stopped" (it has ended with 0), "error" (with another status), "none"
    (not loaded), or one of the rarer "scheduled", "unknown" and "other".
    """

    name: str
    status: str
    user: str | None = None
    file: str | None = None
    exit_code: int | None = None


def listed() -> Listed | None:
    """Ask Homebrew for its service of mlxd; None where it has not installed mlxd.

    Raises:
        CommandFailed: `brew` fails.
    """
    brew = shutil.which("brew")
    # `brew` takes a second, so it runs only where its formula is installed.
    if brew is None or not (Path(brew).parent.parent / "opt" / _FORMULA).exists():
        return None
    command = [brew, "services", "list", "--json"]
    done = programs.run(command, seconds=_TIMEOUT_SECONDS).demand()
    try:
        found = msgspec.json.decode(done.output or "[]", type=list[Listed])
    except msgspec.DecodeError as error:
        raise CommandFailed(f"{done.command} does not answer with a list of services") from error
    return next((service for service in found if service.name == _FORMULA), None)
