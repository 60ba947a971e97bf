"""Actions with an offset each around a posterior of independent actions: ``theta_a = m_a + r_a``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.choices import any_of_best
from dts_gym.posteriors.information import RewardDraws
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class OffsetPosterior:
    """Posterior of ``theta_a = m_a + r_a``, and the actions that it picks.

    Parameters
    ----------
    engine : posterior of the ``r_a``, which are independent; it knows the offsets that its rewards see.
    offsets : (K, d), ``m_a``.

    Notes
    -----
    As exact as the posterior of the ``r_a``: scores are drawn from its `laws`, mixtures of normal distributions, which
    for chains by particles average some 512 draws by a fixed rule. Unplayed actions are not exchangeable; a choice
    costs O(K) besides that of the laws.
    """

    def __init__(self, engine: BranchedPosterior, offsets: Array) -> None:
        self.engine, self.offsets = engine, offsets

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        self.engine.update(context, action, reward)

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean."""
        self.engine.expect(context, action)

    def _score_draws(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> Array:
        """Posterior draws of all scores for one context, (size, K)."""
        laws = self.laws(context[None], scale).own
        shape = np.broadcast_shapes(laws.weights.shape, laws.means.shape, laws.variances.shape)
        weights, means, variances = (np.broadcast_to(part, shape)[:, 0] for part in laws)  # (C, K)
        cumulative = weights.cumsum(axis=0)
        levels = rng.random((size, len(self.offsets))) * cumulative[-1]
        columns = np.arange(len(self.offsets))
        picked = np.array([np.searchsorted(cumulative[:, a], levels[:, a], side="right") for a in columns]).T
        picked = np.minimum(picked, len(means) - 1)
        noise = rng.standard_normal(levels.shape)
        return np.asarray(means[picked, columns] + np.sqrt(variances[picked, columns]) * noise)

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best allowed action under one posterior draw of all scores: (d,) -> (), (n, d) -> (n,), a draw a row."""
        if contexts.ndim == 2:
            return np.array([self.thompson(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        return any_of_best(self._score_draws(contexts, rng, scale, 1)[0], mask, rng)

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed action of the largest mean plus ``scale`` standard deviations; ties at random. See `thompson`."""
        laws = self.laws(np.atleast_2d(contexts), 1.0).own
        bounds = laws.mean() + scale * np.sqrt(laws.variance())
        return any_of_best(bounds if contexts.ndim == 2 else bounds[0], mask, rng)

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        means = self.laws(np.atleast_2d(contexts), 1.0).own.mean()
        return any_of_best(means if contexts.ndim == 2 else means[0], mask, rng)

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d): those of ``x' r_a``, moved by ``x' m_a``."""
        laws = self.engine.laws(contexts, scale)
        own = _in_columns(laws, len(contexts))
        moved = NormalLaws(own.weights, own.means + contexts @ self.offsets.T, own.variances)
        return ActionLaws(laws.num_actions, np.arange(laws.num_actions), moved, None)

    def laws_given_shared(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> ActionLaws:
        """Distributions of ``x' theta_a``: nothing is shared, so that there is one row."""
        return self.laws(context[None], scale)

    def reward_draws(
        self,
        context: Array,
        rng: np.random.Generator,
        scale: float,
        num_draws: int,
        model: RewardModel,
        mask: BoolArray | None = None,
    ) -> RewardDraws:
        """Posterior draws of the allowed actions' mean rewards, for one context; unplayed ones count one by one."""
        actions = np.arange(len(self.offsets)) if mask is None else np.flatnonzero(mask)
        return RewardDraws.of_scores(actions, self._score_draws(context, rng, scale, num_draws)[:, actions], model)

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, one (K, d) or ``size`` of them (size, K, d)."""
        return self.engine.sample_parameters(rng, scale, size) + self.offsets

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K."""
        mean, cov = self.engine.moments(scale)
        return mean + self.offsets, cov

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return self.engine.state()

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self.engine.restore(state)


def _in_columns(laws: ActionLaws, n: int) -> NormalLaws:
    """The distributions of all K actions, (C, n, K); where the others have fewer components, some of weight 0."""
    own, other, K, P = laws.own, laws.other, laws.num_actions, len(laws.actions)
    sizes = [max(map(len, own))] + ([] if other is None else [max(map(len, other))])
    parts = []
    for i, each in enumerate(own):
        whole = np.zeros((max(sizes), n, K))
        if other is not None:
            whole[: sizes[1]] = np.broadcast_to(other[i], (sizes[1], n))[..., None]
        whole[:, :, laws.actions] = 0.0
        whole[: sizes[0], :, laws.actions] = np.broadcast_to(each, (sizes[0], n, P))
        parts.append(whole)
    return NormalLaws(*parts)
