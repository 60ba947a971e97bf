"""Beliefs about the scores of K actions: what a rule sees of a run.

A score is the mean reward of an action at a fixed context (for rewards that are not Gaussian, its linear predictor,
which has the same order). `ScoreBelief` holds a normal distribution of the K scores, exactly, for many runs at a time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any

import numpy as np

from dts_gym.identification.streams import RunStreams
from dts_gym.problem.rewards import GaussianReward
from dts_gym.utils.arrays import Array, IntArray, factor
from dts_gym.utils.validation import as_float64, covariance, finite_array, integers

_UNIT = float(np.finfo(np.float64).eps)


class Belief(ABC):
    """What a rule may read of R runs: a belief about the K scores, and the rewards so far.

    Attributes
    ----------
    mean : (R, K) posterior means of the scores.
    cov : (R, K, K) posterior covariances.
    counts : (R, K) number of rewards of every action.
    totals : (R, K) sums of these rewards.
    noise_std : standard deviation of a reward around its score.
    is_normal : whether the scores have a joint normal distribution, so that mean and covariance say all.
    """

    counts: IntArray
    totals: Array
    noise_std: float
    is_normal = True

    @property
    @abstractmethod
    def mean(self) -> Array:
        """(R, K) posterior means."""

    @property
    @abstractmethod
    def cov(self) -> Array:
        """(R, K, K) posterior covariances."""

    @property
    def variances(self) -> Array:
        """(R, K) posterior variances of the scores."""
        return np.diagonal(self.cov, axis1=-2, axis2=-1)

    @abstractmethod
    def draw(self, streams: RunStreams, size: int, rows: IntArray | None = None) -> Array:
        """Posterior draws of the scores, (R, size, K); of the runs ``rows`` only where given, with their streams."""

    @abstractmethod
    def update(self, action: Any, reward: Any) -> None:
        """Condition on one reward a run, (R,) and (R,)."""

    def difference_variances(self, action: IntArray) -> Array:
        """(R, K) posterior variances of the score of ``action`` (R,) less that of every action."""
        rows = np.arange(len(action))
        own = self.variances
        return np.asarray((own + own[rows, action][:, None] - 2 * self.cov[rows, action]).clip(0.0))

    def average_rewards(self) -> Array:
        """(R, K) average rewards; for an action without rewards its posterior mean."""
        return np.where(self.counts > 0, self.totals / np.maximum(self.counts, 1), self.mean)


class ScoreBelief(Belief):
    """A normal distribution of K scores, in R runs that advance together.

    Parameters
    ----------
    mean : (K,), or (R, K) for R runs, prior means of the scores.
    cov : (K, K) or (R, K, K) PSD prior covariances; may be singular.
    noise_std : standard deviation of a reward around its score, 1e-50 to 1e50.

    Raises
    ------
    ValueError
        If a covariance is not symmetric and PSD, or shapes do not fit.

    Notes
    -----
    Exact. A root ``F`` of the covariance, ``F F' = cov``, is updated by Potter's formula, so that the covariance stays
    PSD whatever the rounding: with ``f`` the action's row of F and ``D = f'f + noise_std^2``,
    ``mean += F f (y - m) / D`` and ``F -= F f f' / (D + noise_std sqrt(D))``, which for the action's own row is
    ``f noise_std / sqrt(D)``. O(K r) a reward and run, r the rank. However small the noise, deviations of played
    actions are right to 1e-12, those of others to 1e-16 prior deviations too. A reward counts as no more precise than
    the rounding of its float64 number.

    Source: Potter 1963; Bierman, "Factorization Methods for Discrete Sequential Estimation" (1977), chapter 2.

    Examples
    --------
    >>> belief = ScoreBelief([0.0, 0.0], [[1.0, 0.5], [0.5, 1.0]])
    >>> belief.update(0, 2.0)
    >>> belief.mean, belief.cov
    (array([[1. , 0.5]]), array([[[0.5  , 0.25 ],
            [0.25 , 0.875]]]))
    """

    def __init__(self, mean: Any, cov: Any, noise_std: float = 1.0) -> None:
        means, covs = np.atleast_2d(as_float64("mean", mean)), as_float64("cov", cov)
        runs, K = means.shape if means.ndim == 2 else (0, 0)
        if K < 1:
            raise ValueError(f"mean must be (K,) or (R, K), got shape {means.shape}")
        self._mean = finite_array("mean", means, (runs, K))
        covs = covs[None] if covs.ndim == 2 else covs
        covs = finite_array("cov", covs, (None, K, K), copy=False)
        if len(covs) not in (1, runs):
            raise ValueError(f"cov must be of one run or of {runs}, got {len(covs)}")
        roots = [factor(covariance("cov", one, K)) for one in covs]
        root = np.zeros((len(covs), K, max(part.shape[1] for part in roots)))
        for place, part in enumerate(roots):
            root[place, :, : part.shape[1]] = part
        self._root = np.broadcast_to(root, (runs, *root.shape[1:])).copy()
        self.noise_std = GaussianReward(noise_std).noise_std
        self.counts = np.zeros((runs, K), dtype=np.int64)
        self.totals = np.zeros((runs, K))

    def __len__(self) -> int:
        return len(self._mean)

    @property
    def mean(self) -> Array:
        """(R, K) posterior means."""
        return self._mean

    @property
    def root(self) -> Array:
        """(R, K, r) ``F``, with ``F F'`` the posterior covariances."""
        return self._root

    @cached_property
    def _cov(self) -> Array:
        return np.asarray(self._root @ np.swapaxes(self._root, -1, -2))

    @property
    def cov(self) -> Array:
        """(R, K, K) posterior covariances."""
        return self._cov

    @property
    def variances(self) -> Array:
        """(R, K) posterior variances of the scores."""
        return np.asarray(np.einsum("rki,rki->rk", self._root, self._root))

    def difference_variances(self, action: IntArray) -> Array:
        """(R, K) posterior variances of the score of ``action`` (R,) less that of every action."""
        apart = self._root - self._root[np.arange(len(action)), action][:, None]
        return np.asarray(np.einsum("rki,rki->rk", apart, apart))

    def draw(self, streams: RunStreams, size: int, rows: IntArray | None = None) -> Array:
        """Posterior draws of the scores, (R, size, K), by one standard normal number for each column of the root."""
        mean, root = (self._mean, self._root) if rows is None else (self._mean[rows], self._root[rows])
        return np.asarray(mean[:, None] + streams.normal(size, root.shape[-1]) @ np.swapaxes(root, -1, -2))

    def update(self, action: Any, reward: Any) -> None:
        """Condition on one reward a run.

        Parameters
        ----------
        action : (R,) actions that were played; an int for one run.
        reward : (R,) their rewards; a number for one run.

        Raises
        ------
        ValueError
            If an action or a reward is out of range; the belief is then unchanged.
        """
        runs, K = self._mean.shape
        actions = integers("action", np.atleast_1d(action) if np.ndim(action) == 0 else action, runs, K)
        rewards = finite_array("reward", np.atleast_1d(as_float64("reward", reward)), (runs,))
        rows = np.arange(runs)
        believed = self._mean[rows, actions]
        noise = np.maximum(self.noise_std, _UNIT * np.maximum(np.abs(rewards), np.abs(believed)))
        f = self._root[rows, actions]  # (R, r)
        largest = np.abs(f).max(axis=1, initial=np.finfo(np.float64).tiny, keepdims=True)
        std = np.hypot(noise, largest[:, 0] * np.linalg.norm(f / largest, axis=1))  # of the reward, sqrt(D)
        column = np.einsum(
            "rki,ri->rk", self._root, f / std[:, None]
        )  # cov of every score with the played one, over it
        self._mean += column * ((rewards - believed) / std)[:, None]
        self._root -= column[:, :, None] * (f / (std + noise)[:, None])[:, None, :]
        self._root[rows, actions] = f * (noise / std)[:, None]  # what the line above cancels down to
        self.counts[rows, actions] += 1
        self.totals[rows, actions] += rewards
        self.__dict__.pop("_cov", None)
