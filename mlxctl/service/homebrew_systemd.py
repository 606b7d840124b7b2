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
        enabled = self._is("enabled", unit)
        return ServiceStatus(
            manager=homebrew.NAME,
            label=unit,
            file=str(self._service),
            loaded=self._is("active", unit),
            pid=int(self._show("MainPID") or 0) or None,
            starts="at login" if enabled else "until the next login",
            last_exit=self._last_exit(),
        )
