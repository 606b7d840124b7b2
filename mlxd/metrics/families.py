"""A count and a histogram, as plain numbers.

They are Prometheus' metric families, but `prometheus_client` is imported only when somebody asks
for them: most daemons are never scraped.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

Labels = tuple[str, ...]


class Family:
    """What all metrics of one `name` have in common: a meaning, and the names of their labels."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str]) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = labels


class CountFamily(Family):
    """Counts that only grow, one for each tuple of values of `labels`."""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, meaning, labels)
        self._counts: dict[Labels, int] = {} if labels else {(): 0}

    def add(self, *values: str, by: int = 1) -> None:
        """Count what has happened, under the values of the labels."""
        self._counts[values] = self._counts.get(values, 0) + by

    @property
    def counts(self) -> Mapping[Labels, int]:
        """Every count."""
        return self._counts

    def total(self, value: str | None = None) -> int:
        """Return the sum of all counts, or of those with that value of the last label."""
        return sum(n for values, n in self._counts.items() if value in (None, values[-1]))


class Observations:
    """How many values were in each bucket, the last of which has no bound, and their `sum`."""

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.sum = 0.0


class HistogramFamily(Family):
    """A histogram for each model; `bounds` are the largest values of the buckets."""

    def __init__(self, name: str, meaning: str, bounds: Sequence[float]) -> None:
        super().__init__(name, meaning, ("model",))
        self.bounds = bounds
        self._observed: dict[Labels, Observations] = {}

    def observe(self, value: float, model: str, count: int = 1) -> None:
        """Count `count` events of that value each."""
        observed = self._observed.get((model,))
        if observed is None:
            observed = self._observed[(model,)] = Observations(len(self.bounds))
        observed.counts[bisect_left(self.bounds, value)] += count
        observed.sum += value * count

    @property
    def observed(self) -> Mapping[Labels, Observations]:
        """Every histogram."""
        return self._observed
