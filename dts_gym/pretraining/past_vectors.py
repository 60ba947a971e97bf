"""The vectors that a prior is learned from, checked: the parameters of past items, their errors, their catalogues."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dts_gym.pretraining.branch_choice import checked_labels
from dts_gym.utils.arrays import Array, factor
from dts_gym.utils.validation import LARGEST, covariances, finite_array


class PastVectors(NamedTuple):
    """Parameter vectors of past items, as they were observed.

    Attributes
    ----------
    theta : (N, d) vectors.
    errors : (N, d, d) or (d, d) covariance of each vector's error; None: the vectors are exact.
    labels : (N,) catalogue of each vector; None: unknown.
    """

    theta: Array
    errors: Array | None
    labels: NDArray[Any] | None


def past_vectors(theta: Any, noise_cov: Any | None, catalogues: Any | None, choose_branch: bool) -> PastVectors:
    """Check and pack the vectors of `dts_gym.pretraining.fit`; ValueError if one does not fit.

    Parameters
    ----------
    theta, noise_cov, catalogues : as in `fit`.
    choose_branch : whether the branch is chosen from the vectors, which is not possible for vectors with errors.
    """
    seen, errors = _checked(theta, noise_cov)
    if choose_branch and errors is not None:
        raise ValueError("branch must be a number or None with noise_cov: catalogues are compared without errors")
    return PastVectors(seen, errors, None if catalogues is None else checked_labels(catalogues, len(seen)))


def _checked(theta: Array, noise_cov: Array | None) -> tuple[Array, Array | None]:
    """Return the vectors and their errors' covariances, checked; else raise ValueError."""
    seen = finite_array("theta", theta, (None, None), LARGEST)
    N, d = seen.shape
    if d < 1:
        raise ValueError(f"theta must have a column at least, got shape {seen.shape}")
    distinct = len(np.unique(seen, axis=0))
    if distinct < d + 2:
        raise ValueError(
            f"theta must have {d + 2} distinct rows at least, two more than its {d} columns, got {distinct} of {N}"
        )
    constant = np.flatnonzero(np.ptp(seen, axis=0) <= 1e-12 * np.abs(seen).max(axis=0))
    if constant.size:
        raise ValueError(f"theta must vary in every column, got columns {constant.tolist()} constant: leave them out")
    total = np.cov(seen, rowvar=False).reshape(d, d)
    if factor(total).shape[1] < d:
        raise ValueError(_hyperplane(total))
    if noise_cov is None:
        return seen, None
    return seen, covariances("noise_cov", noise_cov, N, d, LARGEST**2)


def _hyperplane(cov: Array) -> str:
    std = np.sqrt(np.diagonal(cov))
    values, vectors = np.linalg.eigh(cov / np.outer(std, std))
    return (
        f"theta must not be confined to a hyperplane, got standardised columns with no spread along "
        f"{vectors[:, 0].round(3).tolist()} (least eigenvalue {values[0]:.3g}): drop a column"
    )
