"""The dense dK x dK Gaussian posterior: the truth in tests, and the cost that dTS avoids."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.choices import any_of_best
from dts_gym.posteriors.evidence import learn
from dts_gym.posteriors.marginals import ActionLaws
from dts_gym.posteriors.precise_rows import LIMIT, Observation, PreciseRows, refuse
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.utils.arrays import Array, BoolArray, IntArray, factor
from dts_gym.utils.twofold import Twofold, product

_FIRST = np.zeros(1, dtype=np.int64)
_UNIT = float(np.finfo(np.float64).eps)


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
        self._prior = prior
        mean, self._root = unrolled(prior, num_actions)
        self._mean = np.tile(mean, num_actions)  # (K d,)
        self._marginal = self._root[: self.dim] @ self._root[: self.dim].T  # prior covariance of one action
        self._weight = 0.0  # trace of the rewards' precision, in units of the prior
        self._narrow: PreciseRows | None = None  # one row, in twofold precision

    @property
    def is_careful(self) -> bool:
        """Whether rewards outweigh the prior so much that the posterior is kept in twofold precision."""
        return self._narrow is not None

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        block = slice(action * self.dim, (action + 1) * self.dim)
        self._weight += float(context @ self._marginal @ context) / self.noise_std**2
        if self._weight > LIMIT:
            if self._narrow is None:
                self._make_narrow()
            self._narrow_by(block, context, reward)
            return
        residual = reward - float(context @ self._mean[block])
        learn(self._mean, self._root, context @ self._root[block], residual, self.noise_std**2)

    def _make_narrow(self, lost: float = 0.0) -> None:
        D = len(self._mean)
        self._narrow = PreciseRows(D)
        cov = product(self._root, self._root.T)
        self._narrow.append(Twofold(self._mean), cov, Twofold(np.eye(D)), lost)

    def _narrow_by(self, block: slice, context: Array, reward: float) -> None:
        assert self._narrow is not None
        x = np.zeros((1, len(self._mean)))
        x[0, block] = context
        self._narrow.observe(_FIRST, Observation(x, Twofold([reward]), Twofold([self.noise_std]) * self.noise_std))
        self._mean, self._root, _ = (part[0] for part in self._narrow.moments(_FIRST))

    def _scores(self, context: Array) -> tuple[Array, Array]:
        """Mean (K,) and root (K, n) of all actions' ``x' theta_a``."""
        if self._narrow is None:
            return self._means(context), context @ self._root.reshape(self.num_actions, self.dim, -1)
        queries = np.kron(np.eye(self.num_actions), context)
        rows = [self._narrow.read(_FIRST, Twofold(query[None])) for query in queries]
        mean, mean_error, std_error = (
            np.concatenate(part) for part in zip(*((r.mean.high, r.mean_error, r.std_error) for r in rows), strict=True)
        )
        root = np.concatenate([row.root for row in rows])
        refuse(mean, np.sqrt((root * root).sum(axis=1)), mean_error, std_error)
        return mean, root

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best allowed action under one posterior draw of all parameters for each context: (d,) -> (), (n, d) -> (n,).

        ``mask`` (K,) allows actions, None all.
        """
        if contexts.ndim == 2:
            return np.array([self.thompson(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        if self.is_careful:
            mean, root = self._scores(contexts)
            return any_of_best(mean + scale * (root @ rng.standard_normal(root.shape[1])), mask, rng)
        return any_of_best(self.sample_parameters(rng, scale) @ contexts, mask, rng)

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed action of the largest mean plus ``scale`` standard deviations; ties at random. See `thompson`."""
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        mean, root = self._scores(contexts)
        return any_of_best(mean + scale * np.sqrt((root * root).sum(axis=-1)), mask, rng)

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d), which are normal. O(K d n) for each context."""
        means, roots = (np.stack(part) for part in zip(*map(self._scores, contexts), strict=True))
        variances = scale**2 * (roots * roots).sum(axis=-1)
        return ActionLaws.of_normals(self.num_actions, np.arange(self.num_actions), means, variances)

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        if self.is_careful:
            rows = np.stack([self._scores(x)[0] for x in np.atleast_2d(contexts)])
            return any_of_best(rows[0] if contexts.ndim == 1 else rows, mask, rng)
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
        narrow = {} if self._narrow is None else {f"narrow.{name}": v for name, v in self._narrow.state().items()}
        return {"mean": self._mean.copy(), "root": self._root.copy(), "weight": np.array([self._weight]), **narrow}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self._mean = np.array(state["mean"], dtype=np.float64)
        self._root = np.array(state["root"], dtype=np.float64, order="C")
        narrow = {name.removeprefix("narrow."): v for name, v in state.items() if name.startswith("narrow.")}
        self._narrow = None
        if narrow:
            self._narrow = PreciseRows(len(self._mean))
            self._narrow.restore(narrow)
        if "weight" in state:
            self._weight = float(state["weight"][0])
            return
        # Of a file from before: the weight from the root, whose rounding past the limit is lost.
        first = unrolled(self._prior, self.num_actions)[1]
        shrunk = np.linalg.svd(np.linalg.lstsq(first, self._root)[0], compute_uv=False)
        self._weight = float((1.0 / np.maximum(shrunk, _UNIT) ** 2 - 1.0).sum())
        if self._weight > LIMIT:
            self._make_narrow(lost=_UNIT * self._weight)


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
