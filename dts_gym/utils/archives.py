"""Files that stay intact if the process is killed: written under another name, then renamed; read without pickle.

An archive has a digest of its content, so that a file with a changed number is refused and not only one that is torn.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Container, Mapping
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_SETTINGS = "settings.json"  # the member that holds the settings, as UTF-8 bytes
_DIGEST = "sha256.txt"  # the member that holds the digest of settings and arrays, as ASCII bytes


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


def remove_parts(folder: Path, name: str = "*") -> None:
    """Remove the parts that killed writers left in a folder, of all files or of one; no writer may be at work there."""
    for rest in folder.glob(f".{name}.*.part"):
        rest.unlink()


def content_digest(text: str, arrays: Mapping[str, NDArray[Any]]) -> str:
    """SHA-256 of a text and of named arrays: names, types, shapes and values, whatever the order of the names."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        digest.update(f"\n{name} {arrays[name].dtype} {arrays[name].shape}\n".encode())
        digest.update(np.ascontiguousarray(arrays[name]).data)
    return digest.hexdigest()


def write_archive(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], settings: Mapping[str, Any]
) -> None:
    """Write arrays, settings (JSON) and a digest of both as one .npz under exactly ``path``.

    The same content has the same bytes.

    Raises
    ------
    ValueError
        If an array holds objects, or has the name of the settings or of the digest.
    TypeError
        If the settings are not JSON.
    """
    members = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in members.items():
        if name in (_SETTINGS, _DIGEST):
            raise ValueError(f"arrays must not use the name {name!r}")
        if array.dtype.hasobject:
            raise ValueError(f"arrays must hold no objects, got Object arrays under {name!r}")
    text = json.dumps(settings)
    digest = content_digest(text, members)
    members |= {_SETTINGS: _as_bytes(text), _DIGEST: _as_bytes(digest)}
    write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **members))


def _as_bytes(text: str) -> NDArray[np.uint8]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def read_archive(
    path: str | os.PathLike[str], prefixes: tuple[str, ...] = ("",), unsealed: Container[Any] = ()
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `write_archive` wrote: arrays and settings.

    Parameters
    ----------
    path : path of the file.
    prefixes : beginnings of which every array's name has one.
    unsealed : values of the settings' entry "format" with which files had no digest yet.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, was edited, or is not an archive of this package.

    Notes
    -----
    Names and sizes of all members are checked before one is read. Nothing is decompressed, because nothing was
    compressed: what is read is never larger than the file.
    """
    expected = f"path must be a file written by dts_gym, got {os.fspath(path)!r}"
    try:
        with open(path, "rb") as handle, zipfile.ZipFile(handle) as file:
            members = _checked_members(file, os.fstat(handle.fileno()).st_size, prefixes)
            arrays = {name: _array(file, member) for name, member in members.items()}
        text, digest = (arrays.pop(name, np.empty(0)).tobytes().decode() for name in (_SETTINGS, _DIGEST))
        settings = json.loads(text)
    except FileNotFoundError:
        raise
    except zipfile.BadZipFile as error:
        torn = "it is no .npz" if "not a zip file" in str(error) else error
        raise ValueError(f"{expected}: {torn}") from error
    except Exception as error:  # a damaged zip raises half a dozen types, NotImplementedError among them
        raise ValueError(f"{expected}: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{expected}: no settings in it")
    if digest != content_digest(text, arrays) and (digest or settings.get("format") not in unsealed):
        what = "damaged or edited, its content does not match its digest" if digest else "no digest in it"
        raise ValueError(f"{expected}: {what}")
    return arrays, settings


def _checked_members(file: zipfile.ZipFile, size: int, prefixes: tuple[str, ...]) -> dict[str, zipfile.ZipInfo]:
    """The members of an archive by name, in a file of so many bytes."""
    found: dict[str, zipfile.ZipInfo] = {}
    for member in file.infolist():
        name = member.filename.removesuffix(".npy")
        known = name in (_SETTINGS, _DIGEST) or name.startswith(prefixes)
        if not known or name in found or name == member.filename:
            raise ValueError(f"it must not hold {member.filename!r:.100}")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{member.filename!r:.100} must not be compressed")
        found[name] = member
    if sum(member.file_size for member in found.values()) > size:
        raise ValueError("its members must not be larger than the file")
    return found


def _array(file: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[Any]:
    """Read an array, whose header is not believed before its length is right."""
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(stream)
        if dtype.hasobject or prod(shape) * dtype.itemsize != member.file_size - stream.tell():
            raise ValueError(f"an array of shape {shape!s:.100} and type {dtype!s:.100} must have that many bytes")
    with file.open(member) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ValueError("its end must be that of its array")
    return array
