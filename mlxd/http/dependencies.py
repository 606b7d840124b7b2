"""What the endpoints use of the rest of the daemon."""

from dataclasses import dataclass

from mlxd.config import Config
from mlxd.control import Control
from mlxd.models.catalog import Catalog
from mlxd.pool.pool import Pool


@dataclass(frozen=True)
class Dependencies:
    """Everything an endpoint may use; `config` is read anew for each request."""

    config: Config
    catalog: Catalog
    pool: Pool
    control: Control
