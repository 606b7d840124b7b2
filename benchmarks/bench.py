"""One run of the benchmark: its options, its model, and the servers that take part."""

import argparse
import contextlib
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import models
import peers
import servers

from mlxctl.errors import BenchmarkError

SERVERS: dict[str, servers.Start] = {"mlx_lm": servers.mlx_lm_server, "mlxd": servers.mlxd}

_LINE_CHARACTERS = 300


class Bench:
    """What the scenarios share.

    `starts` has a function for each server, by name; `daemons` those of mlxd, which take settings
    and a home, too. `left_out` has a line for everything that the run did not measure; `failed`
    tells whether a scenario was among it that had to succeed.
    """

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.options = options
        self.model = models.prepare_model(options.model, folder)
        self.left_out: list[str] = []
        self.failed = False
        self.starts = {name: SERVERS[name] for name in options.servers if name in SERVERS}
        self.daemons: dict[str, servers.Daemon] = {}
        if "mlxd" in options.servers:
            self.daemons["mlxd"] = servers.mlxd
        if options.before is not None:
            self.daemons["before"] = functools.partial(servers.mlxd, checkout=options.before)
            self.starts["before"] = self.daemons["before"]
        self._folder = folder
        for name in peers.PEERS if options.peers else ():
            self._add_peer(name)

    @property
    def names(self) -> list[str]:
        """The servers, and the bare loop, which is none."""
        bare = ["bare"] if "bare" in self.options.servers else []
        return [*bare, *self.starts]

    @property
    def own_starts(self) -> dict[str, servers.Start]:
        """The servers that are no peers; they start without a model, too."""
        return {name: start for name, start in self.starts.items() if name not in peers.PEERS}

    def random_model(self, architecture: str, **changes: object) -> models.Model:
        """Return a random model of an architecture, with `changes` of its configuration."""
        return models.random_model(architecture, self._folder, changes)

    def leave_out(self, line: str) -> None:
        """Say that something is not measured, and why."""
        line = " ".join(line.split())[:_LINE_CHARACTERS]  # errors may come with the end of a log
        self.left_out.append(line)
        self.progress(f"left out: {line}")

    @contextlib.contextmanager
    def tolerate(self, name: str) -> Iterator[None]:
        """Leave a peer out from here on when the block fails; anyone else's failure ends the run.

        A peer that cannot do one thing says little about mlxd.
        """
        try:
            yield
        except BenchmarkError as error:
            if name not in peers.PEERS:
                raise
            self.starts.pop(name, None)
            self.leave_out(f"{name}: {error}")

    def progress(self, line: str) -> None:
        """Tell the person who waits what is being measured."""
        print(line, file=sys.stderr, flush=True)

    def _add_peer(self, name: str) -> None:
        self.progress(f"{name}: installing, or finding what was installed")
        try:
            environment = peers.install(name)
            start = functools.partial(peers.start, name, environment)
            with start(self.model):
                pass
        except BenchmarkError as error:
            self.leave_out(f"{name}: {str(error).splitlines()[0]}")
        else:
            self.starts[name] = start
