"""Progress bars, drawn with rich on stderr, for what takes over two seconds."""

import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

# A bar is shown once the whole is expected to take longer, in seconds; the forecast is trusted from a quarter of that on.
_PATIENCE = 2.0

Item = TypeVar("Item")


class Progress:
    """A bar that stays away from what is quick. It is used in a `with` statement.

    Args:
        what: Stands before the bar.
        total: Number of steps.
    """

    def __init__(self, what: str, total: int):
        self._what, self._total, self._done = what, total, 0
        self._bar = self._start = None

    def __enter__(self) -> "Progress":
        """Starts the clock."""
        self._start = time.perf_counter()
        return self

    def __exit__(self, *exception) -> None:
        """Leaves the bar as it is then."""
        if self._bar is not None:
            self._bar.stop()

    def advance(self) -> None:
        """Counts one step as done."""
        self._done += 1
        if self._bar is None and self._is_slow():
            self._show()
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done)

    def _is_slow(self) -> bool:
        taken = time.perf_counter() - self._start
        return taken > _PATIENCE / 4 and taken * max(self._total, self._done) / self._done > _PATIENCE

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Bar(*columns, console=Console(stderr=True))
        self._task = self._bar.add_task(self._what, total=self._total)
        self._bar.start()


def track(items: Iterable[Item], what: str) -> Iterator[Item]:
    """Passes items on, one by one, and shows how far it is.

    Args:
        items: What is worked through; anything of known length.
        what: Stands before the bar.

    Yields:
        The items.
    """
    items = items if isinstance(items, Sized) else list(items)
    with Progress(what, len(items)) as progress:
        for item in items:
            yield item
            progress.advance()
