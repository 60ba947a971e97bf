"""Readers of MovieLens ratings, in every format that GroupLens has used."""

from __future__ import annotations

import hashlib
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.datasets.download import RELEASES, fetch_release
from dts_gym.utils.arrays import IntArray
from dts_gym.utils.shown import Shown

_BLOCK = 1 << 24  # characters read at a time
_LONGEST, _MOST_EMPTY = 1000, 1000  # characters of a line, and empty lines of a block
_EXACT = 1 << 53  # integers below it are exact in float64, which the lines are read as
_HEADER = "userId,movieId,rating,timestamp"


class _Format(NamedTuple):
    delimiter: str
    columns: tuple[int, int, int]  # columns of user, movie, rating
    header: str | None


_FORMATS = {
    "ratings.csv": _Format(",", (0, 1, 2), _HEADER),
    "ratings.dat": _Format(":", (0, 2, 4), None),  # "::" leaves an empty column between any two
    "u.data": _Format("\t", (0, 1, 2), None),
}


@dataclass(frozen=True, eq=False, repr=False)
class Ratings(Shown):
    """Ratings as parallel arrays, users and movies numbered from 0 in the order of their ids.

    Attributes
    ----------
    users, movies : (n,) int32 indices.
    values : (n,) float32 stars.
    user_ids, movie_ids : (U,) and (M,) int64, the ids in the file, ascending.
    """

    users: NDArray[np.int32]
    movies: NDArray[np.int32]
    values: NDArray[np.float32]
    user_ids: IntArray
    movie_ids: IntArray

    def __len__(self) -> int:
        return len(self.values)

    @property
    def num_users(self) -> int:
        """Number of users, U."""
        return len(self.user_ids)

    @property
    def num_movies(self) -> int:
        """Number of movies, M."""
        return len(self.movie_ids)

    def _repr_facts(self) -> dict[str, int]:
        return {"ratings": len(self), "num_users": self.num_users, "num_movies": self.num_movies}


class Source(NamedTuple):
    """Location of ratings, or of movies: a file, and its member where the file is a zip."""

    path: Path
    member: str | None
    layout: str  # the name that GroupLens gives files of this format

    @property
    def place(self) -> str:
        """The path, with the member after an exclamation mark."""
        return os.fspath(self.path) + (f"!{self.member}" if self.member else "")

    def digest(self) -> str:
        """SHA-256 of the file, for a zip of the whole zip."""
        with open(self.path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def is_member(self) -> bool:
        """Whether the zip has the member."""
        with zipfile.ZipFile(self.path) as archive:
            return self.member in archive.namelist()


def load_ratings(data: str | os.PathLike[str] = "ml-1m") -> Ratings:
    """Read MovieLens ratings.

    Parameters
    ----------
    data : a release name (`RELEASES`; downloaded on first use), or a path to a zip, a folder or the ratings file:
        ``u.data``, ``ratings.dat`` or ``ratings.csv``.

    Returns
    -------
    Ratings

    Raises
    ------
    ValueError
        If nothing of that name exists, or a line is not a rating.
    ConnectionError
        If a release cannot be downloaded.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "u.data"
    >>> _ = file.write_text("7\\t30\\t4\\t881250949\\n2\\t30\\t5\\t881250950\\n")
    >>> ratings = load_ratings(file)
    >>> ratings.user_ids, ratings.users, ratings.values
    (array([2, 7]), array([1, 0], dtype=int32), array([4., 5.], dtype=float32))
    """
    source = find_ratings(data)
    layout = _FORMATS[source.layout]
    blocks: list[NDArray[np.float64]] = []
    with _opened(source) as file:
        first = None if layout.header is None else file.readline(_LONGEST).strip()
        if first != layout.header:
            raise _refusal(source, f"the header {layout.header!r}, got {first!r:.100}")
        for lines in _blocks(source, file):
            try:
                block = np.loadtxt(lines, delimiter=layout.delimiter, usecols=layout.columns, comments=None, ndmin=2)
            except ValueError as error:
                raise _refusal(source, f"lines of user, movie, rating, timestamp: {error}") from error
            blocks.append(block)
    if not blocks:
        raise _refusal(source, "ratings, got none")
    return _ratings(source, blocks)


def find_ratings(data: str | os.PathLike[str]) -> Source:
    """Find the ratings that ``data`` names; a release is downloaded if it is missing."""
    if not isinstance(data, str | os.PathLike):
        raise ValueError(f"data must be a path, or a release among {list(RELEASES)}, got {data!r:.200}")
    path = Path(data).expanduser()
    if not path.exists():
        if os.fspath(data) not in RELEASES:
            raise ValueError(
                f"data must be a path to a zip, a folder or a ratings file, or a release among {list(RELEASES)}, "
                f"got {os.fspath(data)!r}, which is neither"
            )
        path = fetch_release(os.fspath(data))
    if path.is_dir():
        for name in _FORMATS:
            if (path / name).is_file():
                return Source(path / name, None, name)
        raise ValueError(f"data must be a folder with one of {list(_FORMATS)}, got {os.fspath(path)!r}")
    if zipfile.is_zipfile(path):
        return _within_zip(path)
    if path.name not in _FORMATS:
        raise ValueError(f"data must be a zip or a file named one of {list(_FORMATS)}, got {os.fspath(path)!r}")
    return Source(path, None, path.name)


def _within_zip(path: Path) -> Source:
    """The member of a zip that holds ratings: of several of one format, the one nearest to the top."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except _DAMAGED as error:
        raise ValueError(f"data must be a zip that is whole, got {os.fspath(path)!r}: {error}") from error
    depths = {name: len(PurePosixPath(name).parts) for name in names if not name.startswith("__MACOSX/")}
    for layout in _FORMATS:
        found = [name for name in depths if PurePosixPath(name).name == layout and not name.endswith("/")]
        nearest = [name for name in found if depths[name] == min(depths[one] for one in found)]
        if len(nearest) > 1:
            raise ValueError(
                f"data must be a zip with one {layout} at its top, got {os.fspath(path)!r} with {nearest}: "
                "give the path of the unpacked file"
            )
        if nearest:
            return Source(path, nearest[0], layout)
    raise ValueError(f"data must be a zip with one of {list(_FORMATS)}, got {os.fspath(path)!r}")


def read_bytes(source: Source) -> bytes:
    """The whole content of a file or member; ValueError if it is damaged."""
    if source.member is None:
        return source.path.read_bytes()
    try:
        with zipfile.ZipFile(source.path) as archive:
            return archive.read(source.member)
    except _DAMAGED as error:
        raise _refusal(source, f"a member that can be unpacked without a password: {error}") from error


@contextmanager
def _opened(source: Source) -> Iterator[IO[str]]:
    """The file of the ratings; within the context, an error says which file is damaged or no plain text."""
    try:
        if source.member is None:
            with open(source.path, encoding="utf-8-sig") as file:
                yield file
            return
        with zipfile.ZipFile(source.path) as archive, archive.open(source.member) as raw:
            yield io.TextIOWrapper(raw, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise _refusal(source, f"plain text (ASCII or UTF-8): {error}") from error
    except _DAMAGED as error:
        raise _refusal(source, f"a member that can be unpacked without a password: {error}") from error


# What zipfile raises for a damaged member, an unknown way of packing, a password and a missing member.
_DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, KeyError)


def _blocks(source: Source, file: IO[str]) -> Iterator[list[str]]:
    """The lines of a file that are not empty, some at a time; lines of absurd length or number are refused."""
    while text := file.read(_BLOCK):
        text += file.readline(_LONGEST)
        lines = text.split("\n")
        filled = [line for line in lines if line]
        if max(map(len, lines)) >= _LONGEST:
            raise _refusal(source, f"a rating in every line, got one of {_LONGEST} characters or more")
        if len(lines) - len(filled) > _MOST_EMPTY:
            raise _refusal(source, f"a rating in every line, got more than {_MOST_EMPTY} empty lines")
        if filled:
            yield filled


def _ratings(source: Source, blocks: list[NDArray[np.float64]]) -> Ratings:
    ids: list[IntArray] = []
    indices: list[NDArray[np.int32]] = []
    for column, name in enumerate(("user", "movie")):
        numbers = np.concatenate([block[:, column] for block in blocks])
        if not ((numbers >= 0) & (numbers < _EXACT) & (numbers == np.floor(numbers))).all():
            raise _refusal(source, f"{name} ids that are integers in 0..2^53 - 1")
        unique, inverse = np.unique(numbers.astype(np.int64), return_inverse=True)
        ids.append(unique)
        indices.append(inverse.astype(np.int32))
    values = np.concatenate([block[:, 2].astype(np.float32) for block in blocks])
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 5:
        raise _refusal(source, "ratings of 0 to 5 stars")
    return Ratings(indices[0], indices[1], values, ids[0], ids[1])


def _refusal(source: Source, expected: str) -> ValueError:
    return ValueError(f"data must hold {expected} (in {source.place!r})")
