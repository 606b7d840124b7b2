"""What `brew services` knows of mlxd; the names of its service are in homebrew.py."""

import subprocess
from pathlib import Path

import msgspec

from mlxctl.errors import CommandFailed
from mlxctl.service.find import brew_path

_FORMULA = "mlxd"
_TIMEOUT_SECONDS = 30.0


class Listed(msgspec.Struct, frozen=True):
    """A service as `brew services list --json` tells it; None for what it does not know.

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
    program = brew_path()
    # Asked only then: it takes a second.
    if program is None or not (Path(program).parent.parent / "opt" / _FORMULA).exists():
        return None
    command = [program, "services", "list", "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=_TIMEOUT_SECONDS
        )
        found = msgspec.json.decode(done.stdout or b"[]", type=list[Listed])
    except OSError as error:
        raise CommandFailed(f"{program}: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{' '.join(command)} does not end") from error
    except msgspec.DecodeError as error:
        raise CommandFailed(f"{' '.join(command)} does not answer with services") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["it does not say why"]
        raise CommandFailed(f"{' '.join(command)} failed: {said[-1]}")
    return next((service for service in found if service.name == _FORMULA), None)
