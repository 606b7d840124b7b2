"""A progress bar on standard error, where that is a screen."""

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from mlxctl.terminal import is_screen

_PER_SECOND = 2  # more would take processor time from what is measured


class ProgressBar:
    """Shows what is being measured while the block runs."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            refresh_per_second=_PER_SECOND,
            transient=True,
            disable=not is_screen(sys.stderr),
        )
        self._task = self._progress.add_task("trying out", total=None)

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def show(self, doing: str, done: int, total: int) -> None:
        """Say what is being done, after `done` of `total` steps."""
        self._progress.update(
            self._task, description=doing, completed=done, total=total, refresh=True
        )
