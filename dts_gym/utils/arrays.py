"""The types of arrays, and the factor of a covariance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def factor(cov: Array) -> Array:
    """``R`` (d, r) with ``R R' = cov``, ``r`` the rank; also for singular ``cov``.

    Notes
    -----
    Eigenvalues of the correlations below 1e-14 of the largest are rounding and dropped; so the units in which a
    coordinate is measured do not matter. O(d^3).
    """
    std = np.sqrt(np.diagonal(cov).clip(0.0))
    unit = np.where(std > 0, std, 1.0)
    values, vectors = np.linalg.eigh(cov / np.outer(unit, unit))
    keep = values > 1e-14 * max(float(values[-1]), 0.0)
    return np.ascontiguousarray(unit[:, None] * vectors[:, keep] * np.sqrt(values[keep]))
