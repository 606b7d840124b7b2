"""A count and a histogram, as plain numbers.

They are Prometheus' metric families, but `prometheus_client` is imported only when somebody asks
for them: most daemons are never scraped.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

Labels = tuple[str, ...]


class CountFamily:
    """Counts that only grow, one for each tuple of values of `labels`."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels
        self._counts: dict[Labels, float] = {} if labels else {(): 0.0}

    def add(self, *values: str, by: float = 1.0) -> None:
        """Count what has happened, under the values of the labels."""
        self._counts[values] = self._counts.get(values, 0.0) + by

    @property
    def counts(self) -> Mapping[Labels, float]:
        """Every count."""
        return self._counts

    @property
    def total(self) -> int:
        """All of them together."""
        return round(sum(self._counts.values()))


class Observations:
    """How often a value was in each bucket, the last of which has no bound; and their `sum`."""

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.sum = 0.0


class HistogramFamily:
    """Histograms with the upper `bounds` of their buckets, one for each tuple of label values."""

    def __init__(
        self, name: str, meaning: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.meaning = meaning
        self.bounds = bounds
        self.labels = labels
        self._observed: dict[Labels, Observations] = {}

    def observe(self, value: float, *values: str, count: int = 1) -> None:
        """Count `count` events of that value each."""
        observed = self._observed.get(values)
        if observed is None:
            observed = self._observed[values] = Observations(len(self.bounds))
        observed.counts[bisect_left(self.bounds, value)] += count
        observed.sum += value * count

    @property
    def observed(self) -> Mapping[Labels, Observations]:
        """Every histogram."""
        return self._observed
