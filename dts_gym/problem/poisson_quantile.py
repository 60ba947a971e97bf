"""Quantiles of Poisson distributions of any mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, pdtr, pdtrc

from dts_gym.utils.arrays import Array

# Up to this mean the Poisson quantile is searched; above, its expansion has an error below 1e-8 in probability.
_SEARCHED_MEAN = 1e6


def poisson_quantile(probability: Array, mean: Array) -> Array:
    """The smallest count whose distribution function reaches ``probability`` (< 1); all arrays are (n,).

    The search starts from the expansion of Cornish and Fisher (1938) and moves by ones.
    """
    probability = probability.clip(2.0**-54)  # 0 represents the numbers up to 2^-53
    z = ndtri(probability)
    count = np.floor(mean + np.sqrt(mean) * z + (z * z - 1.0) / 6.0 + 0.5).clip(0.0)
    searched = mean <= _SEARCHED_MEAN
    k, p, m = count[searched], probability[searched], mean[searched]

    def too_low(k: Array) -> NDArray[np.bool_]:
        # Each tail uses its own function: near probability one, the other's rounding error exceeds the tail that is
        # left.
        return np.asarray(np.where(p < 0.5, pdtr(k, m) < p, pdtrc(k, m) > 1.0 - p), dtype=np.bool_)

    while (low := too_low(k)).any():
        k += low
    while (high := (k > 0) & ~too_low(k - 1.0)).any():
        k -= high
    count[searched] = k
    return np.asarray(count)
