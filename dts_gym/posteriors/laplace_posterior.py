"""Posterior draws from a denoising diffusion prior, with the evidence on every level as if it were the data's.

This is the rule of Kveton et al., to compare dTS with. Evidence ``(G, h)`` about ``z_0`` is used as evidence about
``z_l`` as if ``z_0 = z_l / sqrt(abar_l)``: precision ``G / abar_l``, natural mean ``h / sqrt(abar_l)``. A draw goes
down the chain, and each step's normal distribution is multiplied with the evidence of its own level.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.choices import best, candidates, copies_of_draws, greedy, largest_of_normals
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.glm.reward_evidence import RewardEvidence
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.unplayed import UnplayedActions
from dts_gym.priors.fitting import fit_gaussian, prior_draws
from dts_gym.priors.prior import ChainPrior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray, conditioned_root, factor
from dts_gym.utils.validation import integer

_FIXED_SEED = 20240612
# Number of draws of each action in its moments, by a fixed rule: greedy play is a function of the data.
_MOMENT_DRAWS = 512
# Approximate number of chains drawn together in a batch of contexts.
_BATCH_CHAINS = 1 << 14


@runtime_checkable
class ReverseStep(Protocol):
    """The part of a link that is read: the mean, given ``z_l``, of ``z_{l-1}`` or, at the end, ``offset + scale z_0``.

    Attributes
    ----------
    alpha_bar : ``abar_l``, the share of the data's variance left at the level above.
    alpha_bar_before : ``abar_{l-1}``, the share at the level below.
    scale : (d, d) scale of the units, None for the identity.
    offset : (d,) offset of the units, None for zeros.
    """

    alpha_bar: float
    alpha_bar_before: float
    scale: Array | None
    offset: Array | None

    def __call__(self, psi: Array) -> Array:
        """The link's value: (..., d) -> (..., d)."""


class LaplacePosterior:
    """Posterior of independent actions, each with a chain of reverse steps, and the actions that it picks.

    Parameters
    ----------
    prior : a denoising diffusion prior, read at branch L: nothing is shared.
    num_actions : K, the number of actions.
    model : distribution of the rewards.
    expansion : where rewards that are not Gaussian are expanded, see `GLMTable`; "map" and "online" expand at the most
        probable parameters under a normal distribution with the prior's moments.
    pool_size : number of prior draws that represent the unplayed actions of a round, one each while they suffice.

    Raises
    ------
    ValueError
        If the prior's links are not consecutive reverse steps down to the data.

    Notes
    -----
    The method is approximate for any number of draws: the evidence is counted on every level, and ``z_l`` is used as if
    it were the data. With no data it is the prior, with much data the estimate. An update costs O(L d^3) and the refit
    of rewards that are not Gaussian; a choice costs L evaluations of a link for every played and unplayed action. Where
    there are more unplayed actions than ``pool_size``, that many draws represent all, each several that share its mean.
    Memory is O(L d^2) for each played action. `moments` and `greedy` are Monte Carlo averages by a fixed rule.
    ``scale`` is the exploration scale: it multiplies the noise of every step given the evidence.

    Source: Kveton et al., "Online Posterior Sampling with a Diffusion Prior" (2024), Theorem 2.
    """

    def __init__(
        self,
        prior: ChainPrior,
        num_actions: int,
        model: RewardModel,
        expansion: Mode = "map",
        *,
        pool_size: int = 10_000,
    ) -> None:
        d = prior.dim
        self._alpha_bars = alpha_bars_of(prior)
        self.num_actions = num_actions
        self.pool_size = integer("pool_size", pool_size, 1)
        self.unplayed = UnplayedActions(num_actions)
        # With no noise of its own, an action's message is its evidence.
        self.table = ActionTable(np.zeros((d, d)))
        self._prior = prior
        self._roots = [factor(cov) for cov in prior.covariances]
        padded = [np.pad(root, ((0, 0), (0, d - root.shape[1]))) for root in self._roots]
        self._padded_roots = np.stack(padded)  # (L + 1, d, d)
        self._evidence = RewardEvidence(model, d, expansion)
        self._law: tuple[Array, Array] | None = None
        # For every played action and level the step given the evidence, as a map [mean, noise] -> value.
        self._maps = np.empty((0, prior.depth + 1, 2 * d, d))
        self._shifts = np.empty((0, prior.depth + 1, d))
        self._known: dict[float, tuple[Array, Array, Array, Array]] = {}
        self._sample: tuple[float, Array, Array] | None = None  # scale, draws of the played actions and of ``f_1``

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        new = action not in self.table.slots
        self._evidence.observe(self.table, context, action, reward, self._marginal)
        if new:
            self.unplayed.remove(action)
            self._maps = np.concatenate([self._maps, np.empty((1, *self._maps.shape[1:]))])
            self._shifts = np.concatenate([self._shifts, np.empty((1, *self._shifts.shape[1:]))])
        self._follow(self.table.slots[action])
        self._known, self._sample = {}, None

    def _marginal(self) -> tuple[Array, Array]:
        """Mean and covariance of an action's parameters under the prior."""
        if self._law is None:
            mean, _, cov = fit_gaussian(prior_draws(self._prior))
            self._law = mean, cov
        return self._law

    def _follow(self, slot: int) -> None:
        """Update a played action's steps to its evidence."""
        d, first = self.table.dim, self._prior.links[0]
        assert isinstance(first, ReverseStep)
        G, h = self.table.messages(slot)
        R = np.eye(d) if first.scale is None else first.scale
        G0, h0 = R.T @ G @ R, (h if first.offset is None else h - G @ first.offset) @ R
        bars = self._alpha_bars[1:, None]
        G_all = np.concatenate([G[None], G0 / bars[..., None]])  # (L + 1, d, d), the evidence on each level
        h_all = np.concatenate([h[None], h0 / np.sqrt(bars)])  # (L + 1, d)
        # As `dts_gym.posteriors.evidence.condition`: each step's N(m, root root') times the evidence.
        F, _ = conditioned_root(self._padded_roots, G_all)  # (L + 1, d, d)
        F_transposed = F.swapaxes(1, 2)
        self._maps[slot, :, :d] = np.eye(d) - G_all @ F @ F_transposed
        self._maps[slot, :, d:] = F_transposed
        self._shifts[slot] = (F @ (F_transposed @ h_all[..., None]))[..., 0]

    def _draws(self, size: int, num_unplayed: int, rng: np.random.Generator, scale: float) -> tuple[Array, Array]:
        """Draws of the played actions' parameters, (P, size, d), and of ``f_1`` of others, (num_unplayed, d)."""
        (P, depth, _, d), links = self._maps.shape, self._prior.links
        played, others = np.zeros((P, size, d)), np.zeros((num_unplayed, d))
        for ell in range(depth - 1, -1, -1):
            if ell < depth - 1:
                value = links[ell](np.concatenate([played.reshape(-1, d), others]))
                played, others = value[: P * size].reshape(P, size, d), value[P * size :]
            noise = scale * rng.standard_normal((P, size, d))
            played = np.concatenate([played, noise], axis=2) @ self._maps[:, ell] + self._shifts[:, ell, None]
            if ell:
                root = self._roots[ell]
                others = others + scale * rng.standard_normal((num_unplayed, root.shape[1])) @ root.T
        return played, others

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best allowed action under one posterior draw of all parameters for each context: (d,) -> (), (n, d) -> (n,).

        ``mask`` (K,) allows actions, None all.
        """
        if contexts.ndim == 1:
            return np.asarray(self.thompson(contexts[None], rng, scale, mask)[0])
        among = candidates(self.table, self.unplayed, mask)
        remaining = len(among.unplayed)
        pool = min(remaining, self.pool_size)
        rows = max(1, _BATCH_CHAINS // (len(self.table) + pool))
        if len(contexts) > rows:
            parts = range(0, len(contexts), rows)
            return np.concatenate([self.thompson(contexts[i : i + rows], rng, scale, mask) for i in parts])
        n = len(contexts)
        played, others = self._draws(n, n * pool, rng, scale)
        top = np.full(n, -np.inf)
        if remaining:
            copies = copies_of_draws(remaining, pool)
            own = scale * np.linalg.norm(contexts @ self._roots[0], axis=1, keepdims=True)
            # The best of each draw's copies, which differ by their own noise.
            shared = np.einsum("nud,nd->nu", others.reshape(n, pool, contexts.shape[1]), contexts)
            top = largest_of_normals(shared, own, copies, rng).max(axis=1)
        return best(among, np.einsum("pnd,nd->pn", played, contexts), top, rng)

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        mean, _, mean0, _ = self._value_moments(1.0)
        among = candidates(self.table, self.unplayed, mask)
        return greedy(among, (contexts @ mean.T).T, np.asarray(contexts @ mean0), rng)

    def _fixed_draws(self, scale: float) -> tuple[Array, Array]:
        """`_draws` by a fixed rule."""
        return self._draws(_MOMENT_DRAWS, 4 * _MOMENT_DRAWS, np.random.default_rng(_FIXED_SEED), scale)

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d), by draws, for unplayed actions with noise.

        The draws are kept until the next reward, 512 for each played action.
        """
        if self._sample is None or self._sample[0] != scale:
            self._sample = scale, *self._fixed_draws(scale)
        _, played, others = self._sample
        means = (played @ contexts.T).transpose(1, 2, 0)  # (C, n, P)
        own = NormalLaws(np.full((len(means), 1, 1), 1.0 / len(means)), means, np.zeros((1, 1, 1)))
        noise = scale**2 * ((contexts @ self._roots[0]) ** 2).sum(axis=1)
        other = NormalLaws(np.full((len(others), 1), 1.0 / len(others)), others @ contexts.T, noise[None])
        return ActionLaws(self.num_actions, self.table.actions, own, other)

    def _value_moments(self, scale: float) -> tuple[Array, Array, Array, Array]:
        """Mean (P, d) and covariance (P, d, d) of the played actions' parameters; (d,) and (d, d) of another's."""
        if scale not in self._known:
            played, others = self._fixed_draws(scale)
            mean = played.mean(axis=1)
            off, off0 = played - mean[:, None], others - others.mean(axis=0)
            cov0 = off0.T @ off0 / len(off0) + scale**2 * self._prior.covariances[0]
            self._known[scale] = mean, off.swapaxes(1, 2) @ off / _MOMENT_DRAWS, others.mean(axis=0), cov0
        return self._known[scale]

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, one (K, d) or ``size`` of them (size, K, d): for small K."""
        K, P, d, n = self.num_actions, len(self.table), self.table.dim, 1 if size is None else size
        played, others = self._draws(n, n * (K - P), rng, scale)
        noise = rng.standard_normal((len(others), self._roots[0].shape[1]))
        theta = np.empty((n, K, d))
        new = np.ones(K, dtype=bool)
        new[self.table.actions] = False
        theta[:, self.table.actions] = played.swapaxes(0, 1)
        theta[:, new] = (others + scale * noise @ self._roots[0].T).reshape(n, K - P, d)
        return theta[0] if size is None else theta

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K, by Monte Carlo."""
        K, d = self.num_actions, self.table.dim
        mean, cov, mean0, cov0 = self._value_moments(scale)
        means, blocks = np.tile(mean0, (K, 1)), np.tile(cov0, (K, 1, 1))
        means[self.table.actions], blocks[self.table.actions] = mean, cov
        full = np.zeros((K, d, K, d))
        full[np.arange(K), :, np.arange(K), :] = blocks
        return means, full.reshape(K * d, K * d)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return {
            **self.table.state(),
            **self._evidence.state(),
            "maps": self._maps.copy(),
            "shifts": self._shifts.copy(),
        }

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self.table.restore(state)
        self._evidence.restore(state)
        self._maps, self._shifts = np.array(state["maps"], float), np.array(state["shifts"], float)
        self.unplayed = UnplayedActions(self.num_actions, self.table.actions.tolist())
        self._known, self._sample = {}, None


def alpha_bars_of(prior: ChainPrior) -> Array:
    """``abar_0 = 1, abar_1, ..., abar_L`` of a denoising diffusion prior; ValueError for another."""
    bars = [1.0]
    for i, link in enumerate(prior.links):
        if not isinstance(link, ReverseStep):
            raise ValueError(
                "prior must be a denoising diffusion prior, of links with alpha_bar, alpha_bar_before, scale and "
                f"offset, got a {type(link).__name__} for links[{i}]"
            )
        if link.alpha_bar_before != bars[-1]:
            raise ValueError(f"links[{i}] must begin where the one below ends, at {bars[-1]}, got "
                             f"alpha_bar_before {link.alpha_bar_before}")  # fmt: skip
        if i and (link.scale is not None or link.offset is not None):
            raise ValueError(f"links[{i}] must have no scale and no offset, as all but links[0]")
        bars.append(link.alpha_bar)
    if len(bars) == 1:
        raise ValueError("prior must have a link or more, got none")
    return np.array(bars)
