"""Convergence of Markov chains, and the number of independent draws that they are worth."""

from __future__ import annotations

import numpy as np

from dts_gym.utils.arrays import Array


def split_r_hat(values: Array) -> Array:
    """Split R-hat: each chain's halves are treated as separate chains.

    Parameters
    ----------
    values : (num_samples, chains, ...) draws, at least four samples.

    Returns
    -------
    (...)
        The root of the ratio of the pooled to the mean within-chain variance; 1 where nothing varies.

    Notes
    -----
    Source: Gelman et al., "Bayesian Data Analysis", 3rd edition (2013), section 11.4.

    Examples
    --------
    >>> draws = np.random.default_rng(0).standard_normal((1000, 4))
    >>> bool(split_r_hat(draws) < 1.01), bool(split_r_hat(draws + np.arange(4.0)) > 1.2)
    (True, True)
    """
    halves = _halves(values)
    n = halves.shape[0]
    within = halves.var(axis=0, ddof=1).mean(axis=0)
    between = halves.mean(axis=0).var(axis=0, ddof=1)
    unit = np.where(within > 0, within, 1.0)
    ratio = np.where(within > 0, (n - 1) / n + between / unit, np.where(between > 0, np.inf, 1.0))
    return np.asarray(np.sqrt(ratio))


def effective_draws(values: Array) -> Array:
    """Number of independent draws that estimate the mean as well as all chains together.

    Parameters
    ----------
    values : (num_samples, chains, ...) draws.

    Returns
    -------
    (...)
        At most ``num_samples * chains``.

    Notes
    -----
    The chains are split; autocorrelations are computed by FFT and summed in pairs up to the first negative pair, after
    the pairs are made to decrease (Geyer 1992; Vehtari et al. 2021, without ranks). O(num_samples log num_samples) for
    each series.
    """
    halves = _halves(values)
    n, m = halves.shape[:2]
    centred = halves - halves.mean(axis=0)
    spectrum = np.abs(np.fft.rfft(centred, 2 * n, axis=0)) ** 2
    autocov = np.fft.irfft(spectrum, 2 * n, axis=0)[:n].mean(axis=1) / n  # (n, ...), mean over chains
    within = autocov[0] * n / (n - 1)
    pooled = autocov[0] + halves.mean(axis=0).var(axis=0, ddof=1)
    correlation = 1.0 - (within - autocov) / np.where(pooled > 0, pooled, 1.0)
    correlation[0] = 1.0
    pairs = correlation[: n - n % 2].reshape(n // 2, 2, *correlation.shape[1:]).sum(axis=1)
    positive = np.logical_and.accumulate(pairs > 0, axis=0)
    falling = np.minimum.accumulate(np.where(positive, pairs, 0.0), axis=0)
    time = np.maximum(2.0 * falling.sum(axis=0) - 1.0, 1.0)
    return np.asarray(n * m / time)


def _halves(values: Array) -> Array:
    """(S, chains, ...) to (S // 2, 2 chains, ...)."""
    half = len(values) // 2
    return np.concatenate([values[:half], values[len(values) - half :]], axis=1)
