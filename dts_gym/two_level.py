"""The two-level Gaussian posterior to which every linear chain collapses: exact, O(d^2) a round.

A chain of affine links with Gaussian noise is, action by action, ``theta_a = m + delta_a`` with
``m ~ N(m0, C)`` shared by all actions and ``delta_a ~ N(0, S)`` of its own. dTS, HierTS, MarginalLinTS,
LinTS and LinUCB are this one posterior with different ``(m0, C, S)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs, dtrtrs
from scipy.special import ndtri_exp

from dts_gym.arrays import Array, IntArray, factor
from dts_gym.evidence import ActionTable
from dts_gym.messages import Evidence, condition
from dts_gym.unplayed import UnplayedActions

# Scores of a batch are computed at most this many at a time: 32 MB.
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
    actions' packed matrices. Rewards are centred by ``context' m0``, so ``m`` stands for ``m - m0`` inside.
    """

    def __init__(self, prior: TwoLevelPrior, num_actions: int, noise_std: float) -> None:
        self.prior = prior
        self.num_actions = num_actions
        self.noise_std = noise_std
        self.table = ActionTable(prior.action_cov)
        self.unplayed = UnplayedActions(num_actions)
        self._root = factor(prior.shared_cov)  # (d, r), r = 0 where nothing is shared; m = root z, z ~ N(0, I)
        self._precision = np.eye(self._root.shape[1])  # (r, r) of z given the data
        self._natural = np.zeros(self._root.shape[1])  # (r,)
        self._solved: tuple[Array, Array] | None = None

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        if action not in self.table.slots:
            self.unplayed.remove(action)
        target = reward - float(context @ self.prior.mean)
        increment = self.table.observe(action, context, target, self.noise_std**2)
        if self.table.stale(action):
            self.table.refresh(action)
            self._sum_messages()
        elif self._natural.size:
            w = increment.v @ self._root  # (r,)
            self._precision += np.multiply.outer(w, w / increment.variance)
            self._natural += w * (increment.residual / increment.variance)
        self._solved = None

    def _sum_messages(self) -> None:
        gamma, beta = self.table.total_message()
        self._precision = np.eye(self._natural.size) + self._root.T @ gamma @ self._root
        self._natural = beta @ self._root

    def _shared(self) -> tuple[Array, Array]:
        """Cholesky factor of the precision of ``z`` (lower, (r, r)) and posterior mean of ``z`` (r,)."""
        if self._solved is None:
            chol, _ = dpotrf(self._precision, lower=1)
            mean, _ = dpotrs(chol, self._natural, lower=1)
            self._solved = chol, mean
        return self._solved

    def _shared_mean(self, like: Array) -> Array | None:
        """Posterior mean of ``m``, as many rows as ``like``; None where nothing is shared."""
        if not self._natural.size:
            return None
        return np.broadcast_to(self._root @ self._shared()[1], like.shape)

    def _draw_shared(self, like: Array, rng: np.random.Generator, scale: float) -> Array | None:
        """Posterior draws of ``m``, one a row of ``like``; None where nothing is shared."""
        r = self._natural.size
        if not r:
            return None
        chol, mean = self._shared()
        noise = rng.standard_normal((r, *like.shape[:-1]))
        z, _ = dtrtrs(chol, noise, lower=1, trans=1)
        shared: Array = (z.T * scale + mean) @ self._root.T
        return shared

    def _moments(self, x: Array, m: Array | None) -> tuple[Array, Array, Array, Array]:
        """Mean and variance of ``x' theta_a`` given ``m``: of the played actions, then of an unplayed one.

        ``x`` and ``m`` are (d,) or (n, d); the arrays are (P,) or (P, n), then () or (n,).
        """
        table = self.table
        u = x @ self.prior.action_cov
        variance0 = np.asarray((u * x).sum(axis=-1))
        mean = table.beta @ u.T
        mean0 = np.zeros_like(variance0)
        if m is not None:
            mean0 = np.asarray((x * m).sum(axis=-1))
            mean -= table.gamma @ table.bilinear_queries(u, m)
            mean += mean0
        variance = table.gamma @ table.quadratic_queries(u)
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
        if contexts.ndim == 2 and len(contexts) * max(len(self.table), 1) > _BATCH_SCORES and len(contexts) > 1:
            half = len(contexts) // 2
            return np.concatenate([self.thompson(part, rng, scale) for part in (contexts[:half], contexts[half:])])
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

    def upper_confidence(self, contexts: Array, rng: np.random.Generator, scale: float = 1.0) -> IntArray:
        """Action of the largest mean plus ``scale`` posterior standard deviations; ties at random.

        Takes and returns what `thompson` does. The standard deviation is the marginal one, of the shared part
        too: O(P d^2) a context more than `thompson` where something is shared.
        """
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale) for x in contexts], dtype=np.int64)
        mean, variance, mean0, variance0 = self._moments(contexts, self._shared_mean(contexts))
        if self._natural.size:
            chol, _ = self._shared()
            u = contexts @ self.prior.action_cov
            v = np.vstack([contexts - self.table.gamma @ self.table.product_query(u), contexts])  # (P + 1, d)
            through, _ = dtrtrs(chol, (v @ self._root).T, lower=1)  # (r, P + 1)
            extra = (through * through).sum(axis=0)
            variance, variance0 = variance + extra[:-1], variance0 + extra[-1]
        top = mean0 + scale * np.sqrt(variance0) if len(self.unplayed) else np.asarray(-np.inf)
        return self._pick(mean + scale * np.sqrt(variance), top, rng)

    def greedy(self, contexts: Array) -> IntArray:
        """Action of the largest posterior mean; of tied actions the lowest-numbered. Shapes as `thompson`."""
        mean, _, mean0, _ = self._moments(contexts, self._shared_mean(contexts))
        return self._pick(mean, mean0 if len(self.unplayed) else np.full(mean0.shape, -np.inf), None)

    def _pick(self, scores: Array, top: Array, rng: np.random.Generator | None) -> IntArray:
        """The best played action, or where ``top`` beats it an unplayed one (None for rng: the lowest)."""
        if len(self.table):
            best = scores.argmax(axis=0)
            actions = self.table.actions[best]
            reached = scores[best] if scores.ndim == 1 else scores[best, np.arange(scores.shape[1])]
            beaten = top > reached
            if not beaten.any():
                return np.asarray(actions)
        else:
            actions, beaten = np.zeros(top.shape, dtype=np.int64), np.ones(top.shape, dtype=bool)
        count = int(np.count_nonzero(beaten))
        if rng is None:
            fresh = np.full(count, self.unplayed.lowest(self.table.slots), dtype=np.int64)
        else:
            fresh = self.unplayed.draw(rng, count)
        if not beaten.ndim:
            return np.asarray(fresh[0])
        actions[beaten] = fresh
        return np.asarray(actions)

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0) -> Array:
        """One posterior draw of all actions' parameters, (K, d): O(K d^2 + P d^3), for small K."""
        d = self.table.dim
        m = self._draw_shared(np.zeros(d), rng, scale)
        center = np.zeros(d) if m is None else m
        root = factor(self.prior.action_cov)
        theta = center + scale * rng.standard_normal((self.num_actions, root.shape[1])) @ root.T
        if len(self.table):
            mean, F = condition(center, Evidence(*self.table.evidence()), self.prior.action_cov)
            noise = rng.standard_normal((len(self.table), F.shape[-1], 1))
            theta[self.table.actions] = mean + scale * (F @ noise)[..., 0]
        return theta + self.prior.mean

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K."""
        K, d = self.num_actions, self.table.dim
        S = self.prior.action_cov
        gamma, beta = np.zeros((K, d, d)), np.zeros((K, d))
        gamma[self.table.actions] = self.table.unpack(self.table.gamma)
        beta[self.table.actions] = self.table.beta
        response = np.eye(d) - S @ gamma  # (K, d, d): how theta_a follows m
        m = self._shared_mean(np.zeros(d))
        mean = self.prior.mean + beta @ S + (0.0 if m is None else response @ m)
        cov = np.zeros((K * d, K * d))
        if self._natural.size:
            chol, _ = self._shared()
            spread = response @ self._root  # (K, d, r)
            half, _ = dtrtrs(chol, spread.reshape(K * d, -1).T, lower=1)
            cov = half.T @ half
        for a in range(K):
            block = slice(a * d, (a + 1) * d)
            own = S - S @ gamma[a] @ S
            cov[block, block] += (own + own.T) / 2
        return mean, scale**2 * cov

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {**self.table.state(), "precision": self._precision.copy(), "natural": self._natural.copy()}

    def restore(self, state: dict[str, Array | IntArray]) -> None:
        """Take over what `state` gave."""
        state = dict(state)
        self._precision = np.array(state.pop("precision"), dtype=np.float64)
        self._natural = np.array(state.pop("natural"), dtype=np.float64)
        self.table.restore(state)
        self.unplayed = UnplayedActions(self.num_actions)
        for action in self.table.actions.tolist():
            self.unplayed.remove(action)
        self._solved = None
