"""The progress bar of long work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_DELAY = 2.0  # seconds before a count of work that is often short is shown
_COUNTS: ContextVar[bool] = ContextVar("progress_counts", default=True)


@contextmanager
def counts_shown(shown: bool) -> Iterator[None]:
    """Whether `progress_count` shows its counts in the ``with`` block."""
    before = _COUNTS.set(shown)
    try:
        yield
    finally:
        _COUNTS.reset(before)


def progress_count(total: int, what: str) -> Any:
    """A count of steps on stderr, as a context: ``update(n)``.

    It is shown where steps take longer than two seconds, unless `counts_shown` says otherwise.
    """
    from tqdm import tqdm

    hidden = total == 0 or not _COUNTS.get()
    return tqdm(desc=what, total=total, unit="", dynamic_ncols=True, delay=_DELAY, leave=False, disable=hidden)


def progress_bar(items: Iterable[Any], progress: bool, total: int, what: str, initial: int = 0) -> Iterable[Any]:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, initial=initial, unit="", dynamic_ncols=True)
