"""Results that take long, kept in files: made once, by one process at a time, and anew where a file is damaged."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from dts_gym.utils.archives import remove_parts
from dts_gym.utils.locks import locked

_R = TypeVar("_R")


def cached(path: Path, read: Callable[[], _R], make: Callable[[], _R], warning: str) -> _R:
    """The result in a file, or else a new one.

    Parameters
    ----------
    path : the file; its folder is made if it is missing.
    read : function that reads the file, and raises ValueError where that is damaged.
    make : function that makes the result and writes the file. While one process is at it, the others wait.
    warning : beginning of the warning where a damaged file is replaced; the reason follows.
    """
    if path.exists():
        try:
            return read()
        except ValueError:  # perhaps another process replaces it by now
            pass
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent / f".{path.name}.lock", wait=True):
        remove_parts(path.parent, path.name)
        if path.exists():
            try:
                return read()
            except ValueError as error:
                warnings.warn(f"{warning}: {error}", stacklevel=3)
        return make()
