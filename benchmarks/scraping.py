"""What Prometheus costs: throughput while `/metrics` is read each second, beside that without.

One daemon runs both in turns, so that only the scraper differs.
"""

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Iterator

from bench import Bench
from report import Tables
from scenarios import Session, batches

_STREAMS = 32
_SCRAPER = """
import sys, time, urllib.request
while True:
    with urllib.request.urlopen(sys.argv[1]) as reply:
        reply.read()
    time.sleep(1)
"""


def measure(bench: Bench) -> Tables:
    """Run as many rounds as the options say, each with and without a scraper."""
    if "mlxd" not in bench.daemons:
        return {}
    without: list[float] = []
    scraped: list[float] = []
    (batch,) = batches(bench.model, [_STREAMS])
    with bench.daemons["mlxd"](bench.model) as server, server.client() as client:
        session = Session(client, bench.model)
        for number in range(bench.options.rounds):
            bench.progress(f"scraping: round {number + 1} of {bench.options.rounds}")
            for rates in (without, scraped) if number % 2 else (scraped, without):
                with _scraper(server.port) if rates is scraped else contextlib.nullcontext():
                    rates.append(session.throughput(batch, bench.options.tokens).rate)
    ratios = [one / other for one, other in zip(scraped, without, strict=True)]
    row = {
        "streams": _STREAMS,
        "tok/s": statistics.median(without),
        "tok/s, scraped each second": statistics.median(scraped),
        "ratio": statistics.median(ratios),
        "of rounds": f"{min(ratios):.2f} to {max(ratios):.2f}",
    }
    return {"scraping": [row]}


@contextlib.contextmanager
def _scraper(port: int) -> Iterator[None]:
    url = f"http://127.0.0.1:{port}/metrics"
    with subprocess.Popen([sys.executable, "-c", _SCRAPER, url]) as process:
        try:
            yield
        finally:
            process.kill()
