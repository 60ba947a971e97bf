"""How runs are executed: where, how many at a time, and which folder keeps their records."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dts_gym.utils.locks import LOCK, locked
from dts_gym.utils.validation import boolean
from dts_gym.utils.workers import Backend, Pool, checked_pool, cores, open_pool


@dataclass(frozen=True)
class Conduct:
    """How runs are executed; no number in a result depends on it.

    The functions that a user calls pack their keywords into one of these, which checks them, and hand it down.

    Parameters
    ----------
    out : the folder that keeps the records; None keeps none.
    resume : whether runs that ``out`` already holds are read from there; otherwise ``out`` must be new or empty.
    backend, num_workers, ray_address : the workers, as in `dts_gym.utils.workers.open_pool`.
    progress : whether to show a bar on stderr.

    Raises
    ------
    ValueError
        If the settings of the workers do not fit each other, or there is no folder to resume.
    ImportError
        If the backend is not installed.

    Examples
    --------
    >>> Conduct(num_workers=2).backend
    'processes'
    >>> Conduct(resume=True)
    Traceback (most recent call last):
    ValueError: out must be the folder of the records to resume, got None
    """

    out: Path | None = None
    resume: bool = False
    backend: Backend = "processes"
    num_workers: int | None = 1
    ray_address: str | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("resume", "progress"):
            object.__setattr__(self, name, boolean(name, getattr(self, name)))
        checked_pool(self.backend, self.num_workers, self.ray_address)
        if self.out is None and self.resume:
            raise ValueError("out must be the folder of the records to resume, got None")

    @property
    def in_this_process(self) -> bool:
        """Whether all runs are executed in this process."""
        return self.backend == "serial" or (self.backend == "processes" and self.num_workers == 1)

    @property
    def workers(self) -> int:
        """Number of runs, or groups of runs, at a time."""
        return 1 if self.in_this_process else self.num_workers or cores()

    def open_pool(self) -> AbstractContextManager[Pool]:
        """Start the workers, which stop at the end of the ``with`` block."""
        return open_pool(self.backend, self.num_workers, self.ray_address)

    @contextmanager
    def lock_folder(self) -> Iterator[None]:
        """Make ``out`` if it is missing, and keep other processes out of it for the ``with`` block.

        Raises
        ------
        ValueError
            If ``out`` is a file.
        BlockingIOError
            If another process or thread writes to it.
        """
        if self.out is None:
            yield
            return
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"out must be a folder, got the file {os.fspath(self.out)!r}")
        new = not self.out.exists()
        self.out.mkdir(parents=True, exist_ok=True)
        name = f"out must be a folder to which no other run writes, got {os.fspath(self.out)!r}, which"
        try:
            with locked(self.out / LOCK, name=name):
                yield
        finally:
            if new:  # a run that could not begin leaves no folder
                with suppress(OSError):
                    self.out.rmdir()

    def within(self, name: str) -> Conduct:
        """The same settings for a part of the work, whose records go to a folder of that name within ``out``.

        If there is no such folder yet, nothing is resumed.
        """
        if self.out is None:
            return self
        folder = self.out / name
        return replace(self, out=folder, resume=self.resume and folder.exists())
