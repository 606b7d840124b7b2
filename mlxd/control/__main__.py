"""`python -m mlxd.control`: what is on disk while no daemon runs, for `mlxctl doctor`.

Prints a `ModelListing` and a `PullList` of `mlxd.control_api`, each as a line of JSON.
"""

import sys

import msgspec

from mlxd import config, paths
from mlxd.control.catalog import CatalogControl
from mlxd.control_api import PullList, PullStatus
from mlxd.hub.staging import Staging, unfinished
from mlxd.models.catalog import Catalog
from mlxd.pool.pool import Pool


def main() -> None:
    """Print what is there."""
    settings = config.load()
    models = CatalogControl(Catalog(settings.models, settings.trusts), Pool(settings)).models()
    folder = paths.models_dir()
    pulls = [
        PullStatus(
            model=pending.reference.repo,
            revision=pending.reference.revision,
            state="failed" if pending.failed else "queued",
            cause=pending.failed,
            bytes_done=Staging(folder, pending.reference.repo).size_bytes(),
        )
        for pending in unfinished(folder)
    ]
    sys.stdout.buffer.write(msgspec.json.Encoder().encode_lines([models, PullList(pulls=pulls)]))


if __name__ == "__main__":
    main()
