"""The two-level Gaussian posterior to which every linear chain collapses: exact, O(d^2) in each round.

A chain of affine links with Gaussian noise is, action by action, ``theta_a = m + delta_a`` with
``m ~ N(m0, C)`` shared by all actions and ``delta_a ~ N(0, S)`` of its own. dTS, HierTS, MarginalLinTS,
LinTS and LinUCB are this one posterior with different ``(m0, C, S)``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.action_table import Dtype, Increment
from dts_gym.posteriors.evidence import learn, learn_all
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import Array, IntArray, factor


class TwoLevelPosterior(ActionPosterior):
    """Posterior of ``theta_a = m + delta_a`` under Gaussian rewards, and the actions that it picks.

    Parameters
    ----------
    prior : ``(m0, C, S)``.
    num_actions : K, the number of actions; only played ones are stored, so a large K costs nothing.
    noise_std : standard deviation of the rewards.
    dtype : precision of the matrices that choices read, see `ActionPosterior`.

    Notes
    -----
    Exact. ``scale`` is the exploration scale: every posterior standard deviation is multiplied by it (inference on the
    tempered model). An update costs O(d^2), the choice of an action one pass over the played actions' packed matrices.
    Rewards are centred by ``context' m0``. A reward is one scalar observation of ``m``, whose posterior is kept in
    square-root form: PSD whatever the noise and the contexts.
    """

    def __init__(self, prior: TwoLevelPrior, num_actions: int, noise_std: float, *, dtype: Dtype = "float64") -> None:
        super().__init__(prior.mean, prior.action_cov, num_actions, dtype)
        self.noise_std = noise_std
        # m = mean + root eps, eps ~ N(0, I_r); r = 0 where nothing is shared.
        self._mean = np.zeros(prior.mean.size)  # (d,)
        self._root = self.table.inverse @ factor(prior.shared_cov)  # (d, r)

    @property
    def shared(self) -> tuple[Array, Array]:
        """The shared part in the table's coordinates, mean (d,) and root (d, r); r = 0 where nothing is shared."""
        return self._mean, self._root

    @shared.setter
    def shared(self, arrays: tuple[Array, Array]) -> None:
        self._mean, self._root = arrays

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        self._mark_played(action)
        target = reward - float(context @ self.center)
        self._absorb(self.table.observe(action, context, target, self.noise_std**2))

    def _noise_variance(self, predictor: float) -> float:
        return self.noise_std**2

    def _absorb(self, increment: Increment) -> None:
        if self._root.size:
            v, variance, residual = increment
            learn(self._mean, self._root, v @ self._root, residual - float(v @ self._mean), variance)

    def update_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Condition on n rewards, (n, d), (n,) and (n,), in one pass: `update` one by one, to rounding.

        O(n d^2), in array operations: see `ActionTable.observe_all` and `learn_all`.
        """
        for action in dict.fromkeys(actions.tolist()):
            self._mark_played(action)
        targets = rewards - contexts @ self.center
        v, variance, residual = self.table.observe_all(actions, contexts, targets, self.noise_std**2)
        if self._root.size:
            learn_all(self._mean, self._root, v @ self._root, residual - v @ self._mean, variance)

    def _draw_shared(self, lead: tuple[int, ...], rng: np.random.Generator, scale: float) -> Array | None:
        if not self._root.size:
            return None
        noise = rng.standard_normal((*lead, self._root.shape[1]))
        return np.asarray(self._mean + scale * (noise @ self._root.T))

    def _shared_moments(self, scale: float) -> tuple[Array, Array]:
        return self._mean, self._root if scale == 1.0 else scale * self._root

    def _shared_state(self) -> Mapping[str, Array | IntArray]:
        return {"mean": self._mean.copy(), "root": self._root.copy()}

    def _restore_shared(self, state: Mapping[str, Array | IntArray]) -> None:
        self._mean = np.array(state["mean"], dtype=np.float64)
        self._root = np.array(state["root"], dtype=np.float64, order="C")
