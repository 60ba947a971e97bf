"""The two-level Gaussian posterior to which every linear chain collapses: exact, O(d^2) a round.

A chain of affine links with Gaussian noise is, action by action, ``theta_a = m + delta_a`` with
``m ~ N(m0, C)`` shared by all actions and ``delta_a ~ N(0, S)`` of its own. dTS, HierTS, MarginalLinTS,
LinTS and LinUCB are this one posterior with different ``(m0, C, S)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dts_gym.action_posterior import ActionPosterior
from dts_gym.evidence import Dtype
from dts_gym.messages import learn, learn_all
from dts_gym.utils.arrays import Array, IntArray, factor


class TwoLevelPrior(NamedTuple):
    """``theta_a = m + delta_a``, ``m ~ N(mean, shared_cov)``, ``delta_a ~ N(0, action_cov)``.

    Attributes
    ----------
    mean : (d,) mean of the shared part, ``m0``.
    shared_cov : (d, d) PSD, ``C``; zero where actions are independent.
    action_cov : (d, d) PSD, ``S``; may be singular.
    """

    mean: Array
    shared_cov: Array
    action_cov: Array


def collapse(
    weights: Sequence[Array], covariances: Sequence[Array], offsets: Sequence[Array], branch: int
) -> TwoLevelPrior:
    """Collapse a chain of affine links into its two levels.

    Parameters
    ----------
    weights : L arrays (d, d); ``weights[ell - 1]`` is ``W_ell``.
    covariances : L + 1 arrays (d, d); ``covariances[ell - 1]`` is ``Sigma_ell``.
    offsets : L arrays (d,); ``offsets[ell - 1]`` is ``c_ell``.
    branch : levels above it are shared by all actions, 0..L.

    Returns
    -------
    TwoLevelPrior

    Notes
    -----
    Exact. With ``P_ell = W_1 ... W_ell``: ``S = sum_{ell <= branch + 1} P_{ell-1} Sigma_ell P_{ell-1}'``,
    ``C`` the rest of that sum, ``m0 = sum_ell P_{ell-1} c_ell``. O(L d^3), once.
    """
    d = covariances[0].shape[0]
    mean, shared, own = np.zeros(d), np.zeros((d, d)), np.zeros((d, d))
    product = np.eye(d)
    for level, cov in enumerate(covariances, start=1):
        term = product @ cov @ product.T
        if level <= branch + 1:
            own += term
        else:
            shared += term
        if level <= len(weights):
            mean += product @ offsets[level - 1]
            product = product @ weights[level - 1]
    return TwoLevelPrior(mean, (shared + shared.T) / 2, (own + own.T) / 2)


class TwoLevelPosterior(ActionPosterior):
    """Posterior of ``theta_a = m + delta_a`` under Gaussian rewards, and the actions that it picks.

    Parameters
    ----------
    prior : ``(m0, C, S)``.
    num_actions : K; costs nothing, only played actions are stored.
    noise_std : standard deviation of the rewards.
    dtype : of the matrices that choices read, as `ActionPosterior` says.

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

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        self._mark_played(action)
        target = reward - float(context @ self._center)
        v, variance, residual = self.table.observe(action, context, target, self.noise_std**2)
        if self._root.size:
            learn(self._mean, self._root, v @ self._root, residual - float(v @ self._mean), variance)

    def update_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Condition on n rewards, (n, d), (n,) and (n,), in one pass: `update` one by one, to rounding.

        O(n d^2), in array operations: see `ActionTable.observe_all` and `learn_all`.
        """
        for action in dict.fromkeys(actions.tolist()):
            self._mark_played(action)
        targets = rewards - contexts @ self._center
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
