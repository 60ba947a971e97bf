"""Files that stay intact if the process is killed: written under another name, then renamed; read without pickle."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_SETTINGS = "settings.json"  # the member that holds the settings, as UTF-8 bytes


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that the old or the new one, never a part, remains if the process is killed at any moment.

    Parameters
    ----------
    path : path of the file; its folder must exist.
    write : function that is called with the open binary file.

    Raises
    ------
    OSError
        If the file cannot be written, for example on a full disk; the message names ``path``.
    """
    path = Path(path)
    part = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"  # has the permissions of any new file
    try:
        with part.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        part.unlink(missing_ok=True)
        # The error of a failed write names no file; that of a failed open names the part, which the caller does not
        # know.
        if isinstance(error, OSError) and error.filename in (None, os.fspath(part)):
            error.filename = os.fspath(path)
        raise


def remove_parts(folder: Path) -> None:
    """Remove the parts that killed writers left in a folder."""
    for rest in folder.glob(".*.part"):
        rest.unlink()


def write_archive(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
) -> None:
    """Write arrays and settings (JSON) as one .npz under exactly ``path``; the same content has the same bytes.

    Raises
    ------
    ValueError
        If an array holds objects, or has the name of the settings.
    TypeError
        If the settings are not JSON.
    """
    if _SETTINGS in arrays:
        raise ValueError(f"arrays must not use the name {_SETTINGS!r}")
    text = json.dumps(settings).encode()
    members = {name: np.asarray(array) for name, array in arrays.items()}
    members[_SETTINGS] = np.frombuffer(text, dtype=np.uint8)
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **members))


def read_archive(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `write_archive` wrote: arrays and settings.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged or is not an archive of this package.
    """
    try:
        # Opened here: np.load leaves the handle of a damaged file open.
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        settings = json.loads(arrays.pop(_SETTINGS).tobytes())
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged zip raises half a dozen types, NotImplementedError among them
        # For a file that is not a zip numpy's message suggests an unsafe way to load it.
        reason = error if "pickle" not in str(error) else "it is no .npz"
        raise ValueError(f"path must be a file written by dts_gym, got {os.fspath(path)!r}: {reason}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"path must be a file written by dts_gym, got {os.fspath(path)!r}: no settings in it")
    return arrays, settings
