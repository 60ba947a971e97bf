"""The progress bar of long work."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def progress_bar(items: Iterable[Any], progress: bool, total: int, what: str, initial: int = 0) -> Iterable[Any]:
    if not progress:
        return items
    from tqdm import tqdm

    return tqdm(items, desc=what, total=total, initial=initial, unit="", dynamic_ncols=True)
