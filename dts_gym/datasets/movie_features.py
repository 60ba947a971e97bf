"""Genres, years and titles of movies, in every format that GroupLens has used."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from dts_gym.datasets.download import cache_folder
from dts_gym.datasets.movielens import Source, find_ratings, load_ratings, read_bytes
from dts_gym.utils.archives import read_archive, write_archive
from dts_gym.utils.arrays import Array, BoolArray
from dts_gym.utils.caching import cached
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import different_strings, finite_array, integer

_FORMAT = 2
_FILES = {"ratings.csv": "movies.csv", "ratings.dat": "movies.dat", "u.data": "u.item"}
_HEADER = ["movieId", "title", "genres"]
_NO_GENRES = {"(no genres listed)", "unknown", ""}
# The flags of u.item, in order; other releases write the names out.
_FLAGS = ["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"]
_FLAGS += ["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]
_YEAR = re.compile(r"\((\d{4})(?:[-\u2013]\d{0,4})?\)\s*$")  # at a title's end; of a series the first


class _Movie(NamedTuple):
    id: int
    title: str
    year: int | None
    genres: frozenset[str]  # empty where they are not known


@dataclass(frozen=True, eq=False, repr=False)
class MovieFeatures(Shown):
    """Genres, years and titles of the movies of a file of ratings.

    Attributes
    ----------
    values : (M, p) a row for each movie of `Ratings`, in its order: 1 for each of its genres and 0 for the others, then
        the year. A genre or year that the data do not have is the mean over the movies that have one.
    names : the p names of the columns, genres in alphabetical order and "year" last.
    num_missing : number of movies whose genres, year or both are such means.
    titles : the M movies' titles, all different: those that several movies share end with the movie's number, and a
        movie without a title is named by it.
    """

    values: Array
    names: tuple[str, ...]
    num_missing: int
    titles: tuple[str, ...]

    def _repr_facts(self) -> dict[str, Any]:
        return {"movies": len(self.values), "features": len(self.names), "num_missing": self.num_missing}


def load_movie_features(data: str | os.PathLike[str] = "ml-1m") -> MovieFeatures:
    """Read genres and years of the movies that `load_ratings` finds; what was read is kept in the cache.

    Parameters
    ----------
    data : as in `load_ratings`. Beside the ratings there must be the release's file of movies: ``movies.csv``,
        ``movies.dat`` or ``u.item``, plain text in UTF-8 or, as in the oldest releases, Latin-1.

    Returns
    -------
    MovieFeatures

    Raises
    ------
    ValueError
        If there is no such file, or a line of it is not a movie, or no movie of the ratings has genres and a year.
    ConnectionError
        If a release cannot be downloaded.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\\n1,30,4.0,0\\n2,7,5.0,0\\n")
    >>> movies = "movieId,title,genres\\n7,Alien (1979),Horror|Sci-Fi\\n30,Up (2009),Comedy\\n"
    >>> _ = (folder / "movies.csv").write_text(movies)
    >>> read = load_movie_features(folder)
    >>> read.names
    ('Comedy', 'Horror', 'Sci-Fi', 'year')
    >>> read.values
    array([[0.000e+00, 1.000e+00, 1.000e+00, 1.979e+03],
           [1.000e+00, 0.000e+00, 0.000e+00, 2.009e+03]])
    >>> read.titles
    ('Alien (1979)', 'Up (2009)')
    """
    ratings = find_ratings(data)
    movies = _beside(ratings)
    named = {"format": _FORMAT, "ratings": ratings.digest(), "movies": movies.digest()}
    path = cache_folder() / "movie_features" / f"{hashlib.sha256(json.dumps(named).encode()).hexdigest()[:32]}.npz"

    def make() -> MovieFeatures:
        features = _features(load_ratings(data).movie_ids.tolist(), movies)
        kept = {**named, "names": list(features.names), "num_missing": features.num_missing}
        kept["titles"] = list(features.titles)
        write_archive(path, {"values": features.values}, kept)
        return features

    return cached(path, lambda: _read(path, named), make, "the cached features are read anew")


def _beside(ratings: Source) -> Source:
    """The file of movies that belongs to ratings; ValueError where there is none."""
    name = _FILES[ratings.layout]
    if ratings.member is None:
        found = Source(ratings.path.parent / name, None, name)
        is_there = found.path.is_file()
    else:
        found = Source(ratings.path, os.fspath(PurePosixPath(ratings.member).parent / name), name)
        is_there = found.is_member()
    if not is_there:
        raise ValueError(
            f"movie_features needs {name} beside {ratings.layout}, with the movies' genres and years, got none (in "
            f"{ratings.place!r})"
        )
    return found


def _features(movie_ids: list[int], source: Source) -> MovieFeatures:
    known = {movie.id: movie for movie in _movies(source)}
    rows = [known.get(number, _Movie(number, "", None, frozenset())) for number in movie_ids]
    genres = sorted({genre for movie in rows for genre in movie.genres})
    values = np.array([[*(genre in movie.genres for genre in genres), movie.year or 0] for movie in rows], dtype=float)
    has_genres = np.array([bool(movie.genres) for movie in rows])
    has_year = np.array([movie.year is not None for movie in rows])
    if not (has_genres.any() and has_year.any()):
        raise _refusal(source, "genres and years of the movies that are rated, got none")
    _fill(values[:, :-1], has_genres)
    _fill(values[:, -1:], has_year)
    return MovieFeatures(values, (*genres, "year"), int((~(has_genres & has_year)).sum()), _titles(rows))


def _titles(rows: list[_Movie]) -> tuple[str, ...]:
    """Titles of movies, all different."""
    shared = Counter(movie.title for movie in rows)
    titles = [f"{movie.title} [{movie.id}]" if shared[movie.title] > 1 else movie.title for movie in rows]
    return tuple(title if movie.title else f"movie {movie.id}" for title, movie in zip(titles, rows, strict=True))


def _fill(values: Array, known: BoolArray) -> None:
    """Put the mean of the known rows into the others."""
    values[~known] = values[known].mean(axis=0)


def _movies(source: Source) -> Iterator[_Movie]:
    """The movies of a file, one a line."""
    raw = read_bytes(source)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    lines = [line.rstrip("\r") for line in text.split("\n")]  # splitlines would split at a byte of Latin-1
    lines = [line for line in lines if line]
    if source.layout == "movies.csv":
        rows: Iterator[list[str]] = csv.reader(lines)
        if (header := next(rows, None)) != _HEADER:
            raise _refusal(source, f"the header {','.join(_HEADER)!r}, got {header!r:.100}")
    elif source.layout == "movies.dat":
        parts = [line.partition("::") for line in lines]
        rows = iter([[number, *rest.rsplit("::", 1)] for number, _, rest in parts])
    else:
        rows = iter([line.split("|") for line in lines])
    for row in rows:
        try:
            yield _flagged(row) if source.layout == "u.item" else _written(row)
        except ValueError as error:
            raise _refusal(source, f"lines of id, title and genres, got {row!r:.200}") from error


def _written(row: list[str]) -> _Movie:
    """A movie whose genres are written out, with bars between them."""
    number, title, genres = row
    return _Movie(int(number), title.strip(), _year(title), frozenset(genres.split("|")) - _NO_GENRES)


def _flagged(row: list[str]) -> _Movie:
    """A movie of u.item: id, title, dates of release, address, then a flag for each genre."""
    number, title, *others = row
    flags = others[-len(_FLAGS) :]
    if len(others) != 3 + len(_FLAGS) or not set(flags) <= {"0", "1"}:
        raise ValueError(f"row must end with {len(_FLAGS)} flags, got {row!r:.200}")
    genres = {name for name, flag in zip(_FLAGS, flags, strict=True) if flag == "1"}
    return _Movie(int(number), title.strip(), _year(title), frozenset(genres) - _NO_GENRES)


def _year(title: str) -> int | None:
    found = _YEAR.search(title)
    return None if found is None else int(found[1])


def _read(path: Path, named: dict[str, Any]) -> MovieFeatures:
    arrays, saved = read_archive(path, ("values",))
    try:
        names = tuple(str(name) for name in saved["names"])
        if {name: saved.get(name) for name in named} != named:
            raise ValueError("it is of other data")
        values = finite_array("values", arrays["values"], (None, len(names)))
        titles = different_strings("titles", saved["titles"], len(values))
        return MovieFeatures(values, names, integer("num_missing", saved["num_missing"], 0), titles)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"path must be a whole file of features, got {os.fspath(path)!r}: {error}") from error


def _refusal(source: Source, expected: str) -> ValueError:
    return ValueError(f"data must hold {expected} (in {source.place!r})")
