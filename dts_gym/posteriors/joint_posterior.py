"""The dense dK x dK Gaussian posterior: the truth in tests, and the cost that dTS avoids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.choices import any_of_best
from dts_gym.posteriors.evidence import learn
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.utils.arrays import Array, BoolArray, IntArray, factor


class JointPosterior:
    """Posterior of all actions' parameters at once, as ``theta = mean + root z`` with ``z ~ N(0, I)``.

    Parameters
    ----------
    prior : a chain of affine links; its branch sets which levels actions share.
    num_actions : K, the number of actions.
    noise_std : standard deviation of the rewards.

    Notes
    -----
    Exact for linear-Gaussian models; covariances may be singular. The root starts as the chain's unrolled noises, not
    as a collapsed covariance, and is updated by Potter's square-root form: positive semi-definite by construction.
    An update, a draw and the memory are
    O(K^2 d^2).

    Source: Potter's update as in Bierman, "Factorization Methods for Discrete Sequential Estimation" (1977).
    """

    def __init__(self, prior: LinearDiffusionPrior, num_actions: int, noise_std: float) -> None:
        self.num_actions, self.dim = num_actions, prior.dim
        self.noise_std = noise_std
        mean, self._root = unrolled(prior, num_actions)
        self._mean = np.tile(mean, num_actions)  # (K d,)

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        block = slice(action * self.dim, (action + 1) * self.dim)
        residual = reward - float(context @ self._mean[block])
        learn(self._mean, self._root, context @ self._root[block], residual, self.noise_std**2)

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best allowed action under one posterior draw of all parameters for each context: (d,) -> (), (n, d) -> (n,).

        ``mask`` (K,) allows actions, None all.
        """
        if contexts.ndim == 2:
            return np.array([self.thompson(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        return any_of_best(self.sample_parameters(rng, scale) @ contexts, mask, rng)

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed action of the largest mean plus ``scale`` standard deviations; ties at random. See `thompson`."""
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        reach = contexts @ self._root.reshape(self.num_actions, self.dim, -1)  # (K, n)
        bounds = self._means(contexts) + scale * np.sqrt((reach * reach).sum(axis=-1))
        return any_of_best(bounds, mask, rng)

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d), which are normal. O(K d n) for each context."""
        reach = np.stack([x @ self._root.reshape(self.num_actions, self.dim, -1) for x in contexts])
        variances = scale**2 * (reach * reach).sum(axis=-1)
        own = NormalLaws(np.ones((1, 1, 1)), self._means(contexts)[None], variances[None])
        return ActionLaws(self.num_actions, np.arange(self.num_actions), own, None)

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        return any_of_best(self._means(contexts), mask, rng)

    def _means(self, contexts: Array) -> Array:
        """``x' E[theta_a]`` of all actions: (K,) or (n, K)."""
        return np.asarray(contexts @ self._mean.reshape(self.num_actions, self.dim).T)

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, one (K, d) or ``size`` of them (size, K, d)."""
        lead = () if size is None else (size,)
        noise = scale * rng.standard_normal((*lead, self._root.shape[1]))
        return np.asarray((self._mean + noise @ self._root.T).reshape(*lead, self.num_actions, self.dim))

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major."""
        return self._mean.reshape(self.num_actions, self.dim).copy(), scale**2 * self._root @ self._root.T

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {"mean": self._mean.copy(), "root": self._root.copy()}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._mean = np.array(state["mean"], dtype=np.float64)
        self._root = np.array(state["root"], dtype=np.float64, order="C")


def unrolled(prior: LinearDiffusionPrior, num_actions: int) -> tuple[Array, Array]:
    """The mean (d,) of an action, and the root (K d, n) by which the chain's noises make all of them.

    n is the number of normal variables that a draw of the chain uses, at most K d: a longer root is shortened by an
    orthogonal change of its variables.
    """
    K, d = num_actions, prior.dim
    mean = np.zeros(d)
    columns: list[Array] = []
    for ell in range(prior.depth, -1, -1):
        if ell < prior.depth:
            W = prior.weights[ell]  # of link ell + 1
            mean = W @ mean + prior.offsets[ell]
            columns = [(W @ part.reshape(K, d, -1)).reshape(K * d, -1) for part in columns]
        own = factor(prior.covariances[ell])  # (d, r), noise of psi_ell
        columns.append(np.asarray(np.kron(np.eye(K) if ell <= prior.branch else np.ones((K, 1)), own)))
    root = np.concatenate(columns, axis=1)
    if root.shape[1] > K * d:
        root = np.linalg.qr(root.T).R.T
    return mean, np.ascontiguousarray(root)
