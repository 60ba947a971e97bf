"""The two-level Gaussian posterior to which every linear chain collapses: exact, O(d^2) a round.

A chain of affine links with Gaussian noise is, action by action, ``theta_a = m + delta_a`` with
``m ~ N(m0, C)`` shared by all actions and ``delta_a ~ N(0, S)`` of its own. dTS, HierTS, MarginalLinTS,
LinTS and LinUCB are this one posterior with different ``(m0, C, S)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri_exp

from dts_gym.arrays import Array, IntArray, factor
from dts_gym.evidence import ActionTable
from dts_gym.messages import learn
from dts_gym.unplayed import UnplayedActions

# A batch is worked off in parts, each array of a part holding at most about this many numbers: 32 MB.
_BATCH_SCORES = 1 << 22


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


class TwoLevelPosterior:
    """Posterior of ``theta_a = m + delta_a`` under Gaussian rewards, and the actions that it picks.

    Parameters
    ----------
    prior : ``(m0, C, S)``.
    num_actions : K; costs nothing, only played actions are stored.
    noise_std : standard deviation of the rewards.

    Notes
    -----
    Exact. ``scale`` below is the exploration scale: every posterior standard deviation is multiplied by it
    (inference on the tempered model). An update costs O(d^2), the choice of an action one pass over the played
    actions' packed matrices. Rewards are centred by ``context' m0``, so ``m`` stands for ``m - m0`` inside, in the
    table's coordinates. A reward is one scalar observation of ``m``, whose posterior is kept in square-root form:
    PSD whatever the noise and the contexts.
    """

    def __init__(self, prior: TwoLevelPrior, num_actions: int, noise_std: float) -> None:
        self.prior = prior
        self.num_actions = num_actions
        self.noise_std = noise_std
        self.table = ActionTable(prior.action_cov)
        self.unplayed = UnplayedActions(num_actions)
        # m = mean + root eps, eps ~ N(0, I_r); r = 0 where nothing is shared.
        self._mean = np.zeros(prior.mean.size)  # (d,)
        self._root = self.table.inverse @ factor(prior.shared_cov)  # (d, r)

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        if action not in self.table.slots:
            self.unplayed.remove(action)
        target = reward - float(context @ self.prior.mean)
        v, variance, residual = self.table.observe(action, context, target, self.noise_std**2)
        if self._root.size:
            learn(self._mean, self._root, v @ self._root, residual - float(v @ self._mean), variance)

    def _shared_mean(self, like: Array) -> Array | None:
        """Posterior mean of ``m``, as many rows as ``like``; None where nothing is shared."""
        return np.broadcast_to(self._mean, like.shape) if self._root.size else None

    def _draw_shared(self, like: Array, rng: np.random.Generator, scale: float) -> Array | None:
        """Posterior draws of ``m``, one a row of ``like``; None where nothing is shared."""
        if not self._root.size:
            return None
        noise = rng.standard_normal((*like.shape[:-1], self._root.shape[1]))
        return np.asarray(self._mean + scale * (noise @ self._root.T))

    def _moments(self, x: Array, m: Array | None) -> tuple[Array, Array, Array, Array]:
        """Mean and variance of ``x' theta_a`` given ``m``: of the played actions, then of an unplayed one.

        ``x`` and ``m`` are (d,) or (n, d); the arrays are (P,) or (P, n), then () or (n,). The means leave out
        ``x' m0``, which all actions have.
        """
        table = self.table
        x = x @ table.basis
        u = x * table.reached
        variance0 = np.asarray((u * u).sum(axis=-1))
        mean = table.beta @ u.T
        mean0 = np.zeros_like(variance0)
        through, variance = table.forms(u, m)
        if m is not None and through is not None:
            mean0 = np.asarray((x * m).sum(axis=-1))
            mean -= through
            mean += mean0
        np.subtract(variance0, variance, out=variance)
        np.maximum(variance, 0.0, out=variance)
        return mean, variance, mean0, variance0

    def thompson(self, contexts: Array, rng: np.random.Generator, scale: float = 1.0) -> IntArray:
        """Best action under one posterior draw of all parameters, a draw a context.

        Parameters
        ----------
        contexts : (d,) or (n, d).
        rng : source of the draws.
        scale : exploration scale.

        Returns
        -------
        () or (n,)
        """
        if parts := self._parts(contexts):
            return np.concatenate([self.thompson(part, rng, scale) for part in parts])
        m = self._draw_shared(contexts, rng, scale)
        mean, variance, mean0, variance0 = self._moments(contexts, m)
        scores = rng.standard_normal(mean.shape)
        scores *= np.sqrt(variance, out=variance)
        if scale != 1.0:
            scores *= scale
        scores += mean
        remaining = len(self.unplayed)
        if remaining:
            # The maximum of `remaining` i.i.d. normals, by the quantile of U^(1 / remaining).
            top = ndtri_exp(rng.standard_exponential(mean0.shape) / -remaining)
            top = mean0 + (scale * np.sqrt(variance0)) * top
        else:
            top = np.full(mean0.shape, -np.inf)
        return self._pick(scores, top, rng)

    def _parts(self, contexts: Array) -> list[Array]:
        """The batch in parts of bounded memory; none where it needs no parting."""
        rows = max(1, _BATCH_SCORES // max(len(self.table), self.table.packed_dim))
        if contexts.ndim == 1 or len(contexts) <= rows:
            return []
        return [contexts[start : start + rows] for start in range(0, len(contexts), rows)]

    def upper_confidence(self, contexts: Array, rng: np.random.Generator, scale: float = 1.0) -> IntArray:
        """Action of the largest mean plus ``scale`` posterior standard deviations; ties at random.

        Takes and returns what `thompson` does. The standard deviation is the marginal one, of the shared part
        too: O(P d^2) a context more than `thompson` where something is shared.
        """
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale) for x in contexts], dtype=np.int64)
        mean, variance, mean0, variance0 = self._moments(contexts, self._shared_mean(contexts))
        if self._root.size:
            x = contexts @ self.table.basis
            v = np.vstack([x - self.table.gamma @ self.table.product_query(x * self.table.reached), x])  # (P + 1, d)
            reach = v @ self._root  # (P + 1, r)
            extra = (reach * reach).sum(axis=1)
            variance, variance0 = variance + extra[:-1], variance0 + extra[-1]
        bounds = mean + scale * np.sqrt(variance)
        top = mean0 + scale * np.sqrt(variance0) if len(self.unplayed) else np.asarray(-np.inf)
        best = max(bounds.max(initial=-np.inf), float(top))
        tied = self.table.actions[bounds == best]
        chosen = int(rng.integers(len(tied) + (len(self.unplayed) if top == best else 0)))
        return np.asarray(tied[chosen] if chosen < len(tied) else self.unplayed.draw_one(rng))

    def greedy(self, contexts: Array) -> IntArray:
        """Action of the largest posterior mean; of tied actions the lowest-numbered. Shapes as `thompson`."""
        if parts := self._parts(contexts):
            return np.concatenate([self.greedy(part) for part in parts])
        mean, _, mean0, _ = self._moments(contexts, self._shared_mean(contexts))
        best = mean.max(axis=0, initial=-np.inf)
        numbers = self.table.actions.reshape(-1, *[1] * best.ndim)  # (P,) or (P, 1)
        chosen = np.where(mean == best, numbers, self.num_actions).min(axis=0, initial=self.num_actions)
        if len(self.unplayed):
            lowest = self.unplayed.lowest(self.table.slots)
            chosen = np.where(mean0 == best, np.minimum(chosen, lowest), np.where(mean0 > best, lowest, chosen))
        return np.asarray(chosen)

    def _pick(self, scores: Array, top: Array, rng: np.random.Generator) -> IntArray:
        """The best played action, or where ``top`` beats it an unplayed one."""
        if len(self.table):
            best = scores.argmax(axis=0)
            actions = np.asarray(self.table.actions[best])
            reached = scores[best] if scores.ndim == 1 else scores[best, np.arange(scores.shape[1])]
            beaten = np.asarray(top > reached)
            if not beaten.any():
                return actions
        else:
            actions, beaten = np.zeros(top.shape, dtype=np.int64), np.ones(top.shape, dtype=bool)
        if not beaten.ndim:
            return np.asarray(self.unplayed.draw_one(rng))
        actions[beaten] = self.unplayed.draw(rng, int(np.count_nonzero(beaten)))
        return actions

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0) -> Array:
        """One posterior draw of all actions' parameters, (K, d): O(K d^2 + P d^3), for small K."""
        K, d, reached = self.num_actions, self.table.dim, self.table.reached
        m = self._draw_shared(np.zeros(d), rng, scale)
        center = np.zeros(d) if m is None else m
        theta = center + scale * reached * rng.standard_normal((K, d))  # in the table's coordinates
        gamma = self.table.unpack(self.table.gamma)  # (P, d, d)
        values, vectors = np.linalg.eigh(np.diag(reached) - gamma * np.outer(reached, reached))
        noise = scale * np.sqrt(values.clip(0.0)) * rng.standard_normal(values.shape)
        own = (self.table.beta - gamma @ center) * reached + (vectors @ noise[..., None])[..., 0]
        theta[self.table.actions] = center + own
        return np.asarray(theta @ self.table.basis.T + self.prior.mean)

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K."""
        K, d, basis, reached = self.num_actions, self.table.dim, self.table.basis, self.table.reached
        gamma, beta = np.zeros((K, d, d)), np.zeros((K, d))
        gamma[self.table.actions] = self.table.unpack(self.table.gamma)
        beta[self.table.actions] = self.table.beta
        response = np.eye(d) - reached[:, None] * gamma  # (K, d, d): how theta_a follows m
        mean = beta * reached + response @ self._mean
        spread = (basis @ response @ self._root).reshape(K * d, -1)  # (K d, r)
        cov = spread @ spread.T
        own = basis @ (np.diag(reached) - gamma * np.outer(reached, reached)) @ basis.T  # (K, d, d)
        for a in range(K):
            block = slice(a * d, (a + 1) * d)
            cov[block, block] += (own[a] + own[a].T) / 2
        return self.prior.mean + mean @ basis.T, scale**2 * cov

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {**self.table.state(), "mean": self._mean.copy(), "root": self._root.copy()}

    def restore(self, state: dict[str, Array | IntArray]) -> None:
        """Take over what `state` gave."""
        self._mean = np.array(state["mean"], dtype=np.float64)
        self._root = np.array(state["root"], dtype=np.float64, order="C")
        self.table.restore(state)
        self.unplayed = UnplayedActions(self.num_actions)
        for action in self.table.actions.tolist():
            self.unplayed.remove(action)
