"""The dense dK x dK Gaussian posterior: the truth in tests, and the cost that dTS avoids."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class JointPosterior:
    """Posterior of all actions' parameters at once, updated one observation at a time.

    Parameters
    ----------
    mean : (K, d) prior mean.
    cov : (K d, K d) prior covariance, action-major.
    noise_std : standard deviation of the rewards.

    Notes
    -----
    Exact for linear-Gaussian models. O(K^2 d^2) an update and in memory.
    """

    def __init__(self, mean: Array, cov: Array, noise_std: float) -> None:
        self.num_actions, self.dim = mean.shape
        self.mean = mean.reshape(-1).astype(np.float64)  # (K d,)
        self.cov = np.array(cov, dtype=np.float64)  # (K d, K d)
        self.noise_std = float(noise_std)

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on ``reward ~ N(context' theta_action, noise_std^2)``."""
        block = slice(action * self.dim, (action + 1) * self.dim)
        gain = self.cov[:, block] @ context  # (K d,)
        variance = self.noise_std**2 + context @ gain[block]
        self.mean = self.mean + gain * ((reward - context @ self.mean[block]) / variance)
        self.cov -= np.outer(gain, gain) / variance
        self.cov = (self.cov + self.cov.T) / 2

    def sample(self, rng: np.random.Generator) -> Array:
        """One draw of all parameters, (K, d)."""
        values, vectors = np.linalg.eigh(self.cov)
        noise = rng.standard_normal(values.size) * np.sqrt(np.clip(values, 0.0, None))
        return (self.mean + vectors @ noise).reshape(self.num_actions, self.dim)
