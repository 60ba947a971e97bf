"""The progress bar of long work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

_DELAY = 2.0  # seconds before a count of work that is often short is shown


def progress_count(total: int, what: str) -> Any:
    """A count of steps on stderr, shown where they take longer than two seconds: ``update(n)``, as a context."""
    from tqdm import tqdm

    return tqdm(desc=what, total=total, unit="", dynamic_ncols=True, delay=_DELAY, leave=False)


def progress_bar(items: Iterable[Any], progress: bool, total: int, what: str, initial: int = 0) -> Iterable[Any]:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, initial=initial, unit="", dynamic_ncols=True)
