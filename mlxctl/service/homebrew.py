"""Homebrew's service of mlxd: what it is called, and that `mlxctl` does nothing beside it.

launchd or systemd runs it. `brew services start` copies what the formula describes to where they
look at login, and `brew services stop` removes that again; brew.py asks `brew` itself.
"""

from mlxctl.errors import CommandFailed

NAME = "Homebrew's service"
LABEL = "homebrew.mxcl.mlxd"
UNIT = "homebrew.mlxd"


def refusal(label: str, instead: str) -> CommandFailed:
    """Give why `mlxctl` leaves the service `label` alone, and what to do `instead`."""
    return CommandFailed(f"{NAME} ({label}) starts mlxd: {instead}")
