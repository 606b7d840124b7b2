"""What `mlxctl` asks of the daemon, one module a subject.

status.py    what runs, and where everything is
catalog.py   the models on disk
aliases.py   their other names
loading.py   the models in memory, and the default one
pulls.py     the models on their way from the hub
"""

from dataclasses import dataclass

from mlxd.control.aliases import AliasControl
from mlxd.control.catalog import CatalogControl
from mlxd.control.loading import MemoryControl
from mlxd.control.pulls import PullsControl
from mlxd.control.status import StatusReporter

__all__ = [
    "AliasControl",
    "CatalogControl",
    "Control",
    "MemoryControl",
    "PullsControl",
    "StatusReporter",
]


@dataclass(frozen=True)
class Control:
    """One of each."""

    status: StatusReporter
    catalog: CatalogControl
    aliases: AliasControl
    memory: MemoryControl
    pulls: PullsControl
