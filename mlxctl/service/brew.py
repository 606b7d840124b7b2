"""What `brew services` knows about mlxd."""

import shutil
from pathlib import Path

import msgspec

from mlxctl.errors import CommandFailed
from mlxctl.programs import run

_FORMULA = "mlxd"
_SECONDS = 8.0  # less than doctor gives a check


class Listed(msgspec.Struct, frozen=True):
    """A service in the words of `brew services list --json`; None for what brew does not know.

    `status` is "started", "stopped" (it ended with 0), "error" (with another status), "none" (not
    loaded), or one of the rarer "scheduled", "unknown" and "other".
    """

    name: str
    status: str
    user: str | None = None
    exit_code: int | None = None


def listed() -> Listed | None:
    """Return Homebrew's service of mlxd, None where Homebrew has not installed mlxd.

    Raises:
        CommandFailed: `brew` fails.
    """
    brew = shutil.which("brew")
    # `brew` takes a second, so it runs only where its formula is installed.
    if brew is None or not (Path(brew).parent.parent / "opt" / _FORMULA).exists():
        return None
    done = run([brew, "services", "list", "--json"], seconds=_SECONDS).demand()
    try:
        found = msgspec.json.decode(done.output or "[]", type=list[Listed])
    except msgspec.DecodeError as error:
        raise CommandFailed(f"{done.command} does not print a list of services") from error
    return next((service for service in found if service.name == _FORMULA), None)
