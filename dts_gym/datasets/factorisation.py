"""Alternating least squares on ratings, in sparse matrices throughout, and a cache of its results."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dts_gym.datasets.download import cache_folder
from dts_gym.datasets.movielens import Ratings, find_ratings, load_ratings
from dts_gym.utils.archives import read_archive, write_archive
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.caching import cached
from dts_gym.utils.seeding import stream
from dts_gym.utils.shown import Shown
from dts_gym.utils.validation import finite_array, integer, integers, number, positive

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_FORMAT = 2  # files of format 1 had no digest, and have other names
_BLOCK = 1 << 24  # floats of normal equations in memory at a time: 128 MB
REGULARISATION = 0.1
NUM_ITERATIONS = 20


@dataclass(frozen=True, eq=False, repr=False)
class Factors(Shown):
    """Factors of ratings: ``rating = mean + user' movie + noise``.

    Attributes
    ----------
    user_factors : (U, r); their covariance over users is the identity.
    movie_factors : (M, r); their second moments are uncorrelated, in descending order.
    mean : mean of all ratings, in stars.
    noise_std : standard deviation of the noise, from the residuals, in stars.
    counts : (M,) number of ratings of each movie.
    """

    user_factors: Array
    movie_factors: Array
    mean: float
    noise_std: float
    counts: IntArray


def factorise(
    ratings: Ratings,
    rank: int = 5,
    *,
    regularisation: float = REGULARISATION,
    num_iterations: int = NUM_ITERATIONS,
    seed: int = 0,
    progress: bool = False,
) -> Factors:
    """Factorise centred ratings by alternating least squares with weighted regularisation (ALS-WR).

    Parameters
    ----------
    ratings : n ratings of M movies by U users.
    rank : r, the number of factors, at most min(U, M).
    regularisation : weight of every vector's square, times its number of ratings.
    num_iterations : number of passes over users and movies.
    seed : seed for the random start.
    progress : whether to show a progress bar.

    Returns
    -------
    Factors
        Factors in a basis that makes the users' covariance the identity, rotated so that the movies' second moments are
        diagonal and descending, signed so that every column's largest movie entry is positive; this makes them unique.

    Raises
    ------
    ValueError
        If the ratings are too few for the rank.

    Notes
    -----
    Minimises ``sum (r - mean - u'm)^2 + regularisation (sum n_u |u|^2 + sum n_m |m|^2)`` approximately, with
    ``num_iterations`` passes. The noise variance is the residuals' sum of squares over n less the degrees of freedom
    that ridge regression spends on users and movies, each given the other (approximate). A pass costs O(n r^2);
    memory is O(n + (U + M) r^2), without a (U, M) matrix.

    Source: Zhou et al., "Large-scale parallel collaborative filtering for the Netflix prize" (2008).
    """
    from scipy.sparse import csr_array

    U, M = ratings.num_users, ratings.num_movies
    if U < 2 or M < 2:
        raise ValueError(f"ratings must be of two users and two movies at least, got {U} and {M}")
    if np.ptp(ratings.values) == 0:
        raise ValueError(f"ratings must differ, got {len(ratings)} times {ratings.values[0]:g} stars")
    r = integer("rank", rank, 1, min(U, M))
    weight = positive("regularisation", regularisation)
    passes = integer("num_iterations", num_iterations, 1)
    mean = float(ratings.values.mean(dtype=np.float64))
    centred = ratings.values.astype(np.float64) - mean
    by_user = csr_array((centred, (ratings.users, ratings.movies)), shape=(U, M))
    by_movie = csr_array((centred, (ratings.movies, ratings.users)), shape=(M, U))
    seen_by_user = csr_array((np.ones(len(centred)), (ratings.users, ratings.movies)), shape=(U, M))
    seen_by_movie = csr_array((np.ones(len(centred)), (ratings.movies, ratings.users)), shape=(M, U))
    del centred

    movies = stream(integer("seed", seed, 0), "factors").standard_normal((M, r)) / np.sqrt(r)
    for done in _bar(range(passes), progress):
        is_last = done == passes - 1
        users, user_freedom = _ridge(by_user, seen_by_user, movies, weight, is_last)
        movies, movie_freedom = _ridge(by_movie, seen_by_movie, users, weight, is_last)

    freedom = len(ratings) - user_freedom - movie_freedom
    if freedom <= 0:
        raise ValueError(
            f"rank must leave degrees of freedom for the noise: {len(ratings)} ratings do not bear {r} factors "
            f"of {U} users and {M} movies"
        )
    noise_std = float(np.sqrt(_residual_square(ratings, users, movies, mean) / freedom))
    counts = np.bincount(ratings.movies, minlength=M).astype(np.int64)
    return Factors(*_normalise(users, movies), mean, noise_std, counts)


def cached_factors(
    data: str | os.PathLike[str] = "ml-1m",
    rank: int = 5,
    *,
    regularisation: float = REGULARISATION,
    num_iterations: int = NUM_ITERATIONS,
    seed: int = 0,
    progress: bool = False,
) -> Factors:
    """`factorise` the result of `load_ratings`, with a cache under the data's content and the settings.

    Parameters
    ----------
    data : as in `load_ratings`.
    rank, regularisation, num_iterations, seed, progress : as in `factorise`.

    Returns
    -------
    Factors
        The factors; a file in the cache that is damaged or was edited is computed anew, with a warning. Of several
        processes one computes, and the others wait for it.
    """
    source = find_ratings(data)
    settings = {
        "format": _FORMAT,
        "content": source.digest(),
        "rank": integer("rank", rank, 1),
        "regularisation": positive("regularisation", regularisation),
        "num_iterations": integer("num_iterations", num_iterations, 1),
        "seed": integer("seed", seed, 0),
    }
    key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:32]
    path = cache_folder() / "factors" / f"{key}.npz"

    def make() -> Factors:
        ratings = load_ratings(data)
        try:
            factors = factorise(
                ratings,
                rank,
                regularisation=regularisation,
                num_iterations=num_iterations,
                seed=seed,
                progress=progress,
            )
        except ValueError as error:
            raise ValueError(f"{error} (in {source.place!r})") from error
        arrays = {
            "user_factors": factors.user_factors,
            "movie_factors": factors.movie_factors,
            "counts": factors.counts,
        }
        write_archive(path, arrays, {**settings, "mean": factors.mean, "noise_std": factors.noise_std})
        return factors

    return cached(path, lambda: _read(path, settings), make, "the cached factors are computed anew")


def _ridge(
    values: csr_array[Any], seen: csr_array[Any], others: Array, weight: float, with_freedom: bool
) -> tuple[Array, float]:
    """Every row's ridge regression of its ratings on the others' factors, and the degrees of freedom that all spend.

    ``values`` and ``seen`` are (rows, columns), ``others`` (columns, r); the result is (rows, r). The degrees of
    freedom take half the time, and are 0 without ``with_freedom``.
    """
    r = others.shape[1]
    upper, lower = np.triu_indices(r)
    products = others[:, upper] * others[:, lower]  # (columns, r (r + 1) / 2)
    unpack = np.empty((r, r), dtype=np.intp)
    unpack[upper, lower] = unpack[lower, upper] = np.arange(upper.size)
    targets = values @ others  # (rows, r)
    fitted, freedom = np.empty_like(targets), 0.0
    step = max(1, _BLOCK // (r * r))
    for start in range(0, len(targets), step):
        rows = slice(start, start + step)
        block = seen[rows]
        grams = (block @ products).take(unpack, axis=1)  # (n, r, r)
        counts = np.maximum(np.asarray(block.sum(axis=1)), 1.0)  # rows without ratings get zeros
        penalty = weight * counts[:, None, None] * np.eye(r)
        sides = np.concatenate([targets[rows, :, None], grams], axis=2) if with_freedom else targets[rows, :, None]
        solved = np.linalg.solve(grams + penalty, sides)
        fitted[rows] = solved[:, :, 0]
        freedom += float(np.trace(solved[:, :, 1:], axis1=1, axis2=2).sum()) if with_freedom else 0.0
    return fitted, freedom


def _residual_square(ratings: Ratings, users: Array, movies: Array, mean: float) -> float:
    total, step = 0.0, max(1, _BLOCK // (4 * users.shape[1]))
    for start in range(0, len(ratings), step):
        part = slice(start, start + step)
        fitted = np.einsum("nr,nr->n", users[ratings.users[part]], movies[ratings.movies[part]])
        residual = ratings.values[part] - mean - fitted
        total += float(residual @ residual)
    return total


def _normalise(users: Array, movies: Array) -> tuple[Array, Array]:
    """The same products ``users movies'`` in the basis that `factorise` describes."""
    cov = np.atleast_2d(np.cov(users, rowvar=False))
    try:
        chol = np.linalg.cholesky(cov)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"rank must be one that the users span, got {users.shape[1]}: fewer directions vary"
        ) from error
    _, _, axes = np.linalg.svd(movies @ chol, full_matrices=False)
    users, movies = np.linalg.solve(chol, users.T).T @ axes.T, movies @ chol @ axes.T
    largest = np.abs(movies).argmax(axis=0)
    signs = np.where(movies[largest, np.arange(movies.shape[1])] < 0, -1.0, 1.0)
    return users * signs, movies * signs


def _read(path: Path, settings: dict[str, Any]) -> Factors:
    arrays, saved = read_archive(path, ("user_factors", "movie_factors", "counts"))
    if {name: saved.get(name) for name in settings} != settings:
        raise ValueError(f"path must be the file of these settings, got {os.fspath(path)!r} with {saved!r:.300}")
    try:
        users, movies = (
            finite_array(f"{n}_factors", arrays[f"{n}_factors"], (None, settings["rank"])) for n in ("user", "movie")
        )
        counts = integers("counts", arrays["counts"], len(movies), 1 << 62)
        return Factors(users, movies, number("mean", saved["mean"]), positive("noise_std", saved["noise_std"]), counts)
    except (KeyError, ValueError) as error:
        raise ValueError(f"path must be a whole file of factors, got {os.fspath(path)!r}: {error}") from error


def _bar(passes: Iterable[int], progress: bool) -> Iterable[int]:
    if not progress:
        return passes
    from tqdm import tqdm

    return tqdm(passes, desc="factorising", unit="pass")
