"""Locks between processes: one run at a time writes to a folder. A lock ends with the process that has it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

LOCK = ".lock"  # name of a folder's lock file


@contextlib.contextmanager
def locked(path: Path, *, name: str = "", wait: bool = False) -> Iterator[None]:
    """Hold the lock whose file is ``path`` for the ``with`` block; the file, which says who holds it, then goes.

    Parameters
    ----------
    path : file of the lock, in a folder that exists. What a killed process left of it locks nothing.
    name : what the error's message calls the lock; its file unless given.
    wait : whether to wait for another holder, with a message of the logger ``dts_gym``; else it is an error.

    Raises
    ------
    BlockingIOError
        If another process, or another thread of this one, holds the lock; the message says which.
    OSError
        If the file cannot be written.

    Warns
    -----
    UserWarning
        If the file system has no locks; the block is then executed without one.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "it.lock"
    >>> with locked(path), locked(path):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    BlockingIOError: ...it.lock' is held by process ...
    """
    descriptor, told = -1, False
    while descriptor < 0:
        descriptor = _try(path)
        if descriptor < 0:
            holder = _holder(path)
            if not wait:
                raise BlockingIOError(f"{name or repr(os.fspath(path))} is held by {holder}")
            if not told:
                logging.getLogger("dts_gym").warning("waiting for %s, which holds %s", holder, path)
                told = True
            time.sleep(0.1)
    try:
        host, since = platform.node(), datetime.now().isoformat(" ", "seconds")
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({"process": os.getpid(), "host": host, "since": since}).encode())
        yield
    finally:
        _release(path, descriptor)


def _holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        holder = json.loads(path.read_bytes())
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun or ended
        return "another process"


if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 30  # the locked byte, behind the text, which others may read

    def _try(path: Path) -> int:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.lseek(descriptor, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            os.close(descriptor)
            return -1
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor

    def _release(path: Path, descriptor: int) -> None:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # another process has it open by now
            path.unlink(missing_ok=True)

else:
    import fcntl

    def _try(path: Path) -> int:
        """A descriptor of the locked file; -1 if another one has the lock."""
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return -1
            except OSError as error:  # some network file systems
                what = f"{os.fspath(path)!r} cannot be locked ({error.strerror}): let no other process write there"
                warnings.warn(what, stacklevel=4)
            # Between opening and locking its holder may have removed it: then it is not the file of that name.
            if _is_of(path, descriptor):
                return descriptor
            os.close(descriptor)

    def _release(path: Path, descriptor: int) -> None:
        """Free the lock; its file goes first, while no other process can have it."""
        if _is_of(path, descriptor):  # else somebody removed it, and it may be another holder's
            path.unlink(missing_ok=True)
        os.close(descriptor)

    def _is_of(path: Path, descriptor: int) -> bool:
        """Whether a descriptor is of the file that has this name now."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(descriptor))
        except FileNotFoundError:
            return False
