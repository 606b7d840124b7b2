"""What a check says."""

from typing import Literal

import msgspec

GOOD: Literal["good"] = "good"
WARNING: Literal["warning"] = "warning"
BAD: Literal["bad"] = "bad"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the doctor's; `mend` is a command, or what a person has to do."""

    check: str
    state: Literal["good", "warning", "bad"]
    message: str
    mend: str | None = None


def good(check: str, message: str) -> Finding:
    """Say that all is well."""
    return Finding(check=check, state=GOOD, message=message)


def warning(check: str, message: str, mend: str | None = None) -> Finding:
    """Say what may become, or explain, trouble."""
    return Finding(check=check, state=WARNING, message=message, mend=mend)


def bad(check: str, message: str, mend: str | None = None) -> Finding:
    """Say what keeps mlxd from working."""
    return Finding(check=check, state=BAD, message=message, mend=mend)
