"""Quantiles of Poisson laws of any mean."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, pdtr, pdtrc

from dts_gym.utils.arrays import Array

# Up to this mean the Poisson quantile is searched; above, its expansion is off by less than 1e-8 in probability.
_SEARCHED_MEAN = 1e6


def poisson_quantile(probability: Array, mean: Array) -> Array:
    """The smallest count whose distribution function reaches ``probability`` (< 1); all are (n,).

    Source: Cornish and Fisher (1938) for the start; from it, a search by ones.
    """
    probability = probability.clip(2.0**-54)  # 0 stands for the numbers up to 2^-53
    z = ndtri(probability)
    count = np.floor(mean + np.sqrt(mean) * z + (z * z - 1.0) / 6.0 + 0.5).clip(0.0)
    searched = mean <= _SEARCHED_MEAN
    k, p, m = count[searched], probability[searched], mean[searched]

    def too_low(k: Array) -> NDArray[np.bool_]:
        # Each tail by its own function: near one, the other's rounding is larger than what is left.
        return np.asarray(np.where(p < 0.5, pdtr(k, m) < p, pdtrc(k, m) > 1.0 - p), dtype=np.bool_)

    while (low := too_low(k)).any():
        k += low
    while (high := (k > 0) & ~too_low(k - 1.0)).any():
        k -= high
    count[searched] = k
    return np.asarray(count)
