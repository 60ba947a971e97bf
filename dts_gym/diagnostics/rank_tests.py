"""Tests whether ranks are uniform: a chi-square over bins, their mean, their distance from the middle."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import chdtrc, ndtri

from dts_gym.utils.arrays import IntArray

# By chance a z-score reaches this with a two-sided probability of 6.8e-6, up to twice that for a chi-square of 16 to 60
# a bin.
Z_LIMIT = 4.5


class RankTest(NamedTuple):
    """The deviation of ranks from uniform.

    Attributes
    ----------
    p_value : p-value of the chi-square test over bins.
    z_score : its normal score, of the upper tail; at most 37.
    shift : mean of the ranks minus M / 2, relative to M + 1: -1/2 to 1/2.
    shift_z : the shift in standard errors.
    spread : mean distance of the ranks from M / 2, relative to that of uniform ranks: 0 to 2.
    spread_z : its difference from 1 in standard errors.
    verdict : "uniform" where all three z are within 4.5. Else the error of the posterior by the larger of shift
        and spread, "too low" or "too high", "too narrow" or "too wide"; where neither reaches 3 standard errors,
        "misshapen", or "too even" if the counts of the bins are.
    """

    p_value: float
    z_score: float
    shift: float
    shift_z: float
    spread: float
    spread_z: float
    verdict: str


def rank_test(ranks: IntArray, draws: int, bins: int) -> RankTest:
    """Test whether ranks on 0..draws are uniform.

    Parameters
    ----------
    ranks : (N,) ranks.
    draws : M, the number of draws.
    bins : number of bins of the chi-square; it need not divide M + 1.

    Examples
    --------
    >>> ranks = np.random.default_rng(0).integers(64, size=1000)
    >>> rank_test(ranks, 63, 16).verdict, rank_test(16 + ranks // 2, 63, 16).verdict
    ('uniform', 'too wide')
    """
    N = len(ranks)
    positions = np.arange(draws + 1)
    expected = N * rank_counts(positions, draws, bins) / (draws + 1)
    statistic = float(((rank_counts(ranks, draws, bins) - expected) ** 2 / expected).sum())
    p_value = float(chdtrc(bins - 1, statistic))
    z_score = float(-ndtri(max(p_value, 1e-300)))
    shift = float(ranks.mean() - draws / 2)
    distances = np.abs(positions - draws / 2)
    distance = float(np.abs(ranks - draws / 2).mean())
    shift_z = shift / float(positions.std()) * math.sqrt(N)
    # With one or two draws the distances have no spread.
    error = max(float(distances.std()), 1e-12) / math.sqrt(N)
    spread_z = (distance - float(distances.mean())) / error
    verdict = _verdict(z_score, shift_z, spread_z)
    spread = distance / float(distances.mean())
    return RankTest(p_value, z_score, shift / (draws + 1), shift_z, spread, spread_z, verdict)


def rank_counts(ranks: IntArray, draws: int, bins: int) -> IntArray:
    """Number of ranks in each of ``bins`` bins, of sizes as equal as possible, (bins,)."""
    return np.bincount(ranks * bins // (draws + 1), minlength=bins)


def _verdict(z_score: float, shift_z: float, spread_z: float) -> str:
    if max(abs(z_score), abs(shift_z), abs(spread_z)) < Z_LIMIT:
        return "uniform"
    if max(abs(shift_z), abs(spread_z)) < 3.0:
        return "misshapen" if z_score > 0 else "too even"
    if abs(spread_z) >= abs(shift_z):
        return "too narrow" if spread_z > 0 else "too wide"
    return "too low" if shift_z > 0 else "too high"  # high ranks: the draws lie below the truth
