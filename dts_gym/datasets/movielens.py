"""Readers of MovieLens ratings, in every format that GroupLens has used."""

from __future__ import annotations

import io
import os
import zipfile
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

_BLOCK = 1 << 20  # number of lines read at a time
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
    """Location of ratings: a file, and its member where the file is a zip."""

    path: Path
    member: str | None
    layout: str  # a key of ``_FORMATS``


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
    with _opened(source) as lines:
        if layout.header is not None and (first := lines.readline().strip()) != layout.header:
            raise _refusal(source, f"the header {layout.header!r}, got {first!r:.100}")
        while True:
            # The blocks that loadtxt reads are float64: exact for ids below 2^53.
            try:
                block = _read_block(lines, layout)
            except (ValueError, UnicodeDecodeError) as error:
                raise _refusal(source, f"lines of user, movie, rating, timestamp: {error}") from error
            if not len(block):
                break
            blocks.append(block)
    if not blocks:
        raise _refusal(source, "ratings, got none")
    return _ratings(source, blocks)


def find_ratings(data: str | os.PathLike[str]) -> Source:
    """Find the ratings that ``data`` names; a release is downloaded if it is missing."""
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
        with zipfile.ZipFile(path) as archive:
            members = [PurePosixPath(name) for name in archive.namelist()]
        for name in _FORMATS:
            found = sorted((m for m in members if m.name == name), key=lambda member: len(member.parts))
            if found:
                return Source(path, str(found[0]), name)
        raise ValueError(f"data must be a zip with one of {list(_FORMATS)}, got {os.fspath(path)!r}")
    if path.name not in _FORMATS:
        raise ValueError(f"data must be a zip or a file named one of {list(_FORMATS)}, got {os.fspath(path)!r}")
    return Source(path, None, path.name)


@contextmanager
def _opened(source: Source) -> Iterator[IO[str]]:
    if source.member is None:
        with open(source.path, encoding="ascii") as file:
            yield file
        return
    with zipfile.ZipFile(source.path) as archive, archive.open(source.member) as raw:
        yield io.TextIOWrapper(raw, encoding="ascii")


def _read_block(lines: IO[str], layout: _Format) -> NDArray[np.float64]:
    """Read users, movies, ratings of the next lines, (n, 3); n = 0 at the end."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        return np.loadtxt(
            lines, delimiter=layout.delimiter, usecols=layout.columns, comments=None, max_rows=_BLOCK, ndmin=2
        )


def _ratings(source: Source, blocks: list[NDArray[np.float64]]) -> Ratings:
    ids: list[IntArray] = []
    indices: list[NDArray[np.int32]] = []
    for column, name in enumerate(("user", "movie")):
        numbers = np.concatenate([block[:, column] for block in blocks])
        whole = numbers.astype(np.int64, copy=False) if np.isfinite(numbers).all() else None
        if whole is None or (whole != numbers).any() or whole.min() < 0:
            raise _refusal(source, f"{name} ids that are integers >= 0")
        unique, inverse = np.unique(whole, return_inverse=True)
        ids.append(unique)
        indices.append(inverse.astype(np.int32))
    values = np.concatenate([block[:, 2].astype(np.float32) for block in blocks])
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 5:
        raise _refusal(source, "ratings of 0 to 5 stars")
    return Ratings(indices[0], indices[1], values, ids[0], ids[1])


def _refusal(source: Source, expected: str) -> ValueError:
    where = os.fspath(source.path) + (f"!{source.member}" if source.member else "")
    return ValueError(f"data must hold {expected} (in {where!r})")
