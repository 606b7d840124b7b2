"""Where the programs of the service managers, and Homebrew's, are."""

import os


def launchctl_path() -> str | None:
    """Give the path of launchctl; None on a system without launchd."""
    return _find("launchctl")


def systemctl_path() -> str | None:
    """Give the path of systemctl where systemd manages this user's services; else None."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return _find("systemctl") if runtime and os.path.isdir(f"{runtime}/systemd") else None


def brew_path() -> str | None:
    """Give the path of Homebrew's brew; None where that is not installed."""
    return _find("brew")


def _find(program: str) -> str | None:
    for folder in os.get_exec_path():
        path = os.path.join(folder, program)
        if os.access(path, os.X_OK) and os.path.isfile(path):
            return path
    return None
