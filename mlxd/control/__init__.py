"""What the control endpoints do, one module per subject.

status.py    what is running, and where all files are
catalog.py   the models on disk
aliases.py   their aliases
loading.py   the models in memory, and the default model
pulls.py     downloads from the hub
"""

from dataclasses import dataclass

from mlxd.control.aliases import AliasControl
from mlxd.control.catalog import CatalogControl
from mlxd.control.loading import LoadingControl
from mlxd.control.pulls import PullsControl
from mlxd.control.status import StatusReporter

__all__ = [
    "AliasControl",
    "CatalogControl",
    "Control",
    "LoadingControl",
    "PullsControl",
    "StatusReporter",
]


@dataclass(frozen=True)
class Control:
    """All subjects of one daemon."""

    status: StatusReporter
    catalog: CatalogControl
    aliases: AliasControl
    loading: LoadingControl
    pulls: PullsControl
