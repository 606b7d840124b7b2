"""What may be wrong with mlxd on this machine, and the command that mends it.

finding        what a check says
situation      what the checks look at, gathered once
machine        platform and chip, Python, memory
mlx            MLX and its device, asked in a process of its own
service        who starts the daemon, whether it runs, why the last one ended, its version
homebrew       what `brew services` knows of it
ports          who owns the TCP port
files          permissions, disk space
models         what is broken
environment    configuration, proxy variables

A check is a function from the situation to its findings. A new one joins `CHECKS`.
"""

from collections.abc import Callable, Iterator

from mlxctl.doctor import environment, files, homebrew, machine, mlx, models, ports, service
from mlxctl.doctor.finding import Finding
from mlxctl.doctor.situation import Situation

Check = Callable[[Situation], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    machine.platform,
    machine.python,
    mlx.device,
    environment.configuration,
    environment.proxies,
    service.manager,
    service.daemon,
    service.last_exit,
    service.version,
    homebrew.service,
    ports.port,
    files.permissions,
    files.disk,
    files.standard_error,
    machine.memory,
    models.models,
)


def examine(situation: Situation) -> list[Finding]:
    """Give what all checks say."""
    return [finding for check in CHECKS for finding in check(situation)]
