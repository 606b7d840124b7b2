"""Homebrew's service on Linux: one unit without sockets."""

from mlxctl.service import homebrew
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.systemd import SystemdManager


class HomebrewUnit(SystemdManager):
    """Drives the unit of `brew services`; it is installed and taken out by `brew` alone."""

    is_homebrews = True

    def describe(self) -> ServiceStatus:
        """Give who is in charge, and what is wrong with that."""
        unit = self._service.name
        active, enabled = self._is("active", unit), self._is("enabled", unit)
        return ServiceStatus(
            manager=homebrew.NAME,
            label=unit,
            file=str(self._service),
            loaded=active,
            starts="at login" if enabled else "until the next login",
            last_exit=self._show("ExecMainStatus") or None,
            faults=[] if active else ["systemd has not started it: mlxctl start"],
        )
