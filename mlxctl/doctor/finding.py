"""What a check says, and what it may raise instead."""

from typing import Literal

import msgspec

from mlxd.errors import MlxdError

FAILURES = (MlxdError, OSError, ValueError)
"""What a check may raise on a machine where something is wrong."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of doctor's; `fix` is a command, or what a person has to do."""

    check: str
    state: Literal["ok", "warning", "error"]
    message: str
    fix: str | None = None


def ok(check: str, message: str) -> Finding:
    """Return a finding for what is as it should be."""
    return Finding(check=check, state="ok", message=message)


def warning(check: str, message: str, fix: str | None = None) -> Finding:
    """Return a finding for what may become, or explain, trouble."""
    return Finding(check=check, state="warning", message=message, fix=fix)


def error(check: str, message: str, fix: str | None = None) -> Finding:
    """Return a finding for what keeps mlxd from working."""
    return Finding(check=check, state="error", message=message, fix=fix)


def explained(failure: Exception) -> str:
    """Return one of FAILURES as a line."""
    if isinstance(failure, MlxdError):
        return failure.message
    if isinstance(failure, OSError) and failure.strerror:
        return f"{failure.filename}: {failure.strerror}" if failure.filename else failure.strerror
    return str(failure) or type(failure).__name__
