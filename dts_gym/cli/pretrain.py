"""``dts-gym pretrain``: learns a prior file from a file of parameter vectors, a shape or MovieLens ratings."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from dts_gym.datasets.factorisation import cached_factors
from dts_gym.datasets.shapes import Shape, sample_shape
from dts_gym.diagnostics.prior_report import prior_figure, prior_report
from dts_gym.pretraining.learning import fit
from dts_gym.priors.chains import as_linear
from dts_gym.priors.reverse_process import Schedule
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import integer


def run_pretrain(
    data: str,
    out: Path,
    depth: int = 40,
    branch: int | Literal["auto"] | None = None,
    noise_cov: Path | None = None,
    errors: bool = False,
    rank: int = 5,
    min_ratings: int = 20,
    size: int = 10_000,
    dim: int | None = None,
    test: float = 0.2,
    figure: Path | None = None,
    schedule: Schedule = "cosine",
    max_steps: int = 6000,
    seed: int = 0,
    device: str = "cpu",
    progress: bool = True,
) -> str:
    """Learn a diffusion prior from data and write it to a file.

    Parameters
    ----------
    data :
        Data to learn from: a .npy or .csv file of vectors, one a row; or a shape's name, as SyntheticBandit-v0 accepts
        it, for draws of the shape, by default the past parameters of that environment; or MovieLens ratings: a
        release's name, a zip, a folder or a ratings file.
    out :
        The .safetensors file to write.
    depth :
        Number of links of the chain.
    branch :
        Levels above this one are shared by all actions. Unless given, the depth: actions are independent. "auto" finds
        the branch under which random subsets of held-out vectors are most probable.
    noise_cov :
        A .npy file with the covariance of the vectors' errors, (N, d, d) or (d, d).
    errors :
        For MovieLens, learn the factors without their errors, of variance noise_std^2 / ratings.
    rank :
        For MovieLens, the number of factors of a movie.
    min_ratings :
        For MovieLens, the least number of ratings of a movie; movies with fewer are left out.
    size :
        For a shape, the number of vectors to draw.
    dim :
        For a shape, its dimension, at least 2; the shape's own unless given.
    test :
        Share of the vectors that are kept from training for the report; 0 for none.
    figure :
        The PNG to write, a figure of the prior beside the held-out vectors.
    schedule :
        How the noise grows over the links of the chain.
    max_steps :
        Largest number of training steps.
    seed :
        Seed for all random draws.
    device :
        PyTorch device to train on.
    progress :
        Show a progress bar on stderr.

    Returns
    -------
    str
        The report of the prior against the vectors kept from training.
    """
    if not 0.0 <= test < 1.0:
        raise ValueError(f"test must be a share in [0, 1), got {test}")
    if not out.parent.is_dir():
        raise ValueError(f"out must be a file in a folder that exists, got {str(out)!r}")
    if data in get_args(Shape):
        # The same draws as the past parameters of `SyntheticBanditEnv`: TunedTS and MixTS fit the data that this prior
        # learns.
        rng = stream(seed, "past-parameters")
        theta, covs = sample_shape(cast(Shape, data), rng, integer("size", size, 1), dim), None
    else:
        theta, covs = _vectors(data, rank, min_ratings, errors, progress)
    if noise_cov is not None:
        covs = _npy("noise_cov", noise_cov)
    order = stream(seed, "split").permutation(len(theta))
    num_test = round(test * len(theta))
    kept, used = order[:num_test], order[num_test:]
    prior = fit(
        theta[used],
        depth,
        noise_cov=_rows(covs, used, len(theta)),
        branch=branch,
        schedule=schedule,
        max_steps=max_steps,
        seed=seed,
        device=device,
        progress=progress,
    )
    prior.save(out)
    lines = [
        f"{out}: a prior of depth {depth}, branch {prior.branch}, from {len(used)} vectors in {prior.dim} dimensions"
    ]
    if as_linear(prior) is not None and max_steps > 0:
        lines.append("held-out vectors show nothing that is not normal: the chain is linear")
    if num_test > prior.dim + 20:
        lines.append(str(prior_report(prior, theta[kept], noise_cov=_rows(covs, kept, len(theta)), seed=seed)))
        if covs is not None:
            lines.append("draws of the prior were given errors like those of the vectors")
    if figure is not None:
        prior_figure(prior, theta[kept] if num_test else theta, figure, seed=seed)
        lines.append(f"figure: {figure}")
    return "\n".join(lines)


def _rows(covs: Array | None, rows: IntArray, size: int) -> Array | None:
    """The covariances of these rows, where there is one for each vector; `fit` refuses any other shape."""
    return covs[rows] if covs is not None and covs.ndim == 3 and len(covs) == size else covs


def _vectors(data: str, rank: int, min_ratings: int, errors: bool, progress: bool) -> tuple[Array, Array | None]:
    path = Path(data).expanduser()
    if path.suffix == ".npy":
        return _npy("data", path), None
    if path.suffix == ".csv" and path.is_file() and not _is_ratings(path):
        return _csv(path), None
    factors = cached_factors(data, rank, progress=progress)
    enough = factors.counts >= integer("min_ratings", min_ratings, 1)
    if not errors:
        return factors.movie_factors[enough], None
    variances = factors.noise_std**2 / factors.counts[enough]  # users' factors have unit covariance
    return factors.movie_factors[enough], variances[:, None, None] * np.eye(factors.movie_factors.shape[1])


def _npy(name: str, path: Path) -> Array:
    try:
        with open(path, "rb") as file:
            return np.asarray(np.load(file, allow_pickle=False), dtype=np.float64)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name} must be a .npy file of numbers, there is none at {str(path)!r}") from error
    except Exception as error:  # a damaged file raises half a dozen types
        raise ValueError(f"{name} must be a .npy file of numbers, got {str(path)!r}: {error}") from error


def _is_ratings(path: Path) -> bool:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return file.readline().lower().startswith("userid,movieid,")


def _csv(path: Path) -> Array:
    """Read rows of numbers, with or without a line of names above them."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"data must be a .csv file of numbers, got {str(path)!r}: {error}") from error
    if rows and not all(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    if not rows:
        raise ValueError(f"data must have a row of numbers at least, got {str(path)!r}")
    for i, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]) or not all(_is_number(cell) for cell in row):
            raise ValueError(
                f"data must have {len(rows[0])} numbers in every row, got {row} in row {i} of {str(path)!r}"
            )
    return np.array(rows, dtype=np.float64)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
