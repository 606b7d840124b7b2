"""What `Metrics` has counted."""

from mlxd.metrics.metrics import Metrics


def counted(metrics: Metrics, name: str) -> dict[tuple[str, ...], int]:
    """Return what a family has counted, by its labels."""
    (family,) = (each for each in metrics.families() if each.name == name)
    return dict(family.counts)
