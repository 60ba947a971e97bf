"""The posterior of a chain whose lower levels are each action's own: a particle filter an action.

Above the branch the levels are shared, as in `dts_gym.chain_posterior`; at branch L nothing is, and actions are
independent draws of the whole chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np
from scipy.special import ndtri_exp

from dts_gym.arrays import Array, BoolArray, IntArray, integer
from dts_gym.cavity import parameter_law
from dts_gym.chain_posterior import Surrogate
from dts_gym.evidence import ActionTable
from dts_gym.glm_table import Mode
from dts_gym.laws import ActionLaws, NormalLaws
from dts_gym.messages import Evidence
from dts_gym.particles import Particles, default_defensive, pick, sample_actions, sample_shared
from dts_gym.priors import Prior
from dts_gym.resampling import resample
from dts_gym.reward_evidence import RewardEvidence
from dts_gym.rewards import RewardModel
from dts_gym.surrogates import (
    AffineMap,
    Messages,
    as_chain,
    deck_surrogates,
    statistical_surrogates,
    upward_messages,
)
from dts_gym.tangent_search import TangentSearch
from dts_gym.tangents import jacobian_surrogates
from dts_gym.unplayed import UnplayedActions, split_mask

Pool = Literal["fresh", "kept"]

# Draws that a cloud holds at least; of an action's filter for its moments, and of the prior for an unplayed action's.
_CLOUD, _MOMENT_PARTICLES, _PRIOR_DRAWS = 32, 512, 8192
# Draws of the shared part for moments, and particles of each action below each of them.
_SHARED_DRAWS, _OWN_PARTICLES = 128, 16
_FIXED_SEED = 20231116


def checked_pool(pool: Pool, branch: int, depth: int) -> Pool:
    """``pool``, which must be a kind of pool that the branch allows, or ValueError."""
    if pool not in get_args(Pool) or (pool == "kept" and branch < depth):
        raise ValueError(f"pool must be one of {get_args(Pool)}, and 'fresh' below branch {depth}, got {pool!r}")
    return pool


class BranchedPosterior:
    """Posterior of actions with chains of their own below the branch, and the actions that it picks.

    Parameters
    ----------
    prior : a chain of any links.
    num_actions : K.
    model : law of the rewards.
    branch : 1..L, levels above it are shared.
    num_particles : P of every filter.
    surrogate : affine stand-ins for the links in the upward messages: "jacobian", "statistical" or "deck".
    expansion : of rewards that are not Gaussian, as `GLMTable` says.
    pool_size : draws of the prior that stand for the unplayed actions of a round, one each while they suffice.
    pool : "fresh", these are drawn anew each round; or at branch L "kept", they are drawn once, and every round deals
        a random part of them to the unplayed actions (an approximation).

    Notes
    -----
    At branch L consistent in P for the chain's posterior given the evidence. Between, the shared part is approximate:
    it is filtered with messages that have passed the actions' surrogates; each action's own levels are then filtered
    given that draw. Exact with linear links at any branch.

    At branch L a played action keeps a cloud, draws of its filter resampled to equal weights, each used once and in
    random order; it is renewed when used up or when its evidence changes: a round costs one filter, P L link
    evaluations, and now and then others. Between, every played action is filtered every round: P b link evaluations
    each. Unplayed actions are drawn from the prior anew each round, b link evaluations each; where they are more than
    ``pool_size``, that many draws stand for all, each for several actions that share its mean (an approximation). A
    kept pool costs a round no link evaluations; it stands for the prior as a sample of its size does.
    """

    def __init__(
        self,
        prior: Prior,
        num_actions: int,
        model: RewardModel,
        *,
        branch: int,
        num_particles: int = 32,
        surrogate: Surrogate = "jacobian",
        expansion: Mode = "map",
        pool_size: int = 10_000,
        pool: Pool = "fresh",
    ) -> None:
        self.branch = integer("branch", branch, 1, prior.depth)
        self.num_actions = num_actions
        self.num_particles = integer("num_particles", num_particles, 1)
        self.pool_size = integer("pool_size", pool_size, 1)
        self.pool = checked_pool(pool, self.branch, prior.depth)
        self._kept: tuple[float, Array] | None = None  # scale, draws
        self.table = ActionTable(prior.covariances[0])
        self.unplayed = UnplayedActions(num_actions)
        self.effective_sample_size = 1.0
        self._chain = as_chain(prior)
        self._evidence = RewardEvidence(model, prior.dim, expansion)
        self._surrogate: Surrogate = surrogate
        self._defensive = default_defensive(prior, surrogate) if self.num_particles > 1 else 0.0
        self._statistical = statistical_surrogates(self._chain, np.random.default_rng(_FIXED_SEED))
        self._maps = deck_surrogates(self._chain) if surrogate == "deck" else self._statistical
        # At branch L each played action has tangents of its own, found when its evidence changes.
        self._searches: list[TangentSearch] = []
        self._counts: list[int] = []  # updates of each played action
        self._path: list[Array] | None = None  # between, one search for all: its last path
        self._clouds = np.empty((0, self._cloud_size, prior.dim))
        self._left: IntArray = np.empty(0, dtype=np.int64)  # members of each cloud that are not used up
        self._cloud_scale = 1.0
        self._known: dict[float, tuple[Array, Array, Array, Array]] = {}
        self._sample: tuple[float, Array, Array, Array] | None = None  # scale, and what `_fixed_draws` gave
        self._prior_moments: tuple[Array, Array] | None = None

    @property
    def _independent(self) -> bool:
        return self.branch == len(self._chain.links)

    @property
    def _filters(self) -> int:
        """Filters that fill a cloud."""
        return max(1, _CLOUD // self.num_particles)

    @property
    def _cloud_size(self) -> int:
        return self._filters * self.num_particles

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        new = action not in self.table.slots
        self._evidence.observe(self.table, context, action, reward, lambda: self._without(action))
        if new:
            self.unplayed.remove(action)
            self._counts.append(0)
            self._clouds = np.concatenate([self._clouds, np.empty((1, *self._clouds.shape[1:]))])
            self._left = np.append(self._left, 0)
            if self._own_tangents:
                self._searches.append(TangentSearch(self._chain, self._statistical, (_FIXED_SEED, action)))
        slot = self.table.slots[action]
        self._counts[slot] += 1
        self._left[slot] = 0
        self._known, self._sample = {}, None
        if self._own_tangents:
            self._searches[slot].search(self.table.messages(slot), self._counts[slot])
        elif self._surrogate == "jacobian":
            self._search_all()

    @property
    def _own_tangents(self) -> bool:
        return self._independent and self._surrogate == "jacobian"

    def _search_all(self) -> None:
        """Tangents for the evidence as it stands, shared levels and all played actions', from the last path."""
        message = self.table.messages(list(range(len(self.table))))
        start = None
        if self._path is not None:
            start = list(self._path)
            missing = len(self.table) - len(start[0])
            if missing:
                start[: self.branch] = [
                    np.vstack([own, np.repeat(fresh[None], missing, axis=0)])
                    for own, fresh in zip(start[: self.branch], self._unplayed_path(start[self.branch]), strict=True)
                ]
        found = jacobian_surrogates(self._chain, message, self.branch, start)
        self._maps, self._path = found.surrogates, found.path

    def _unplayed_path(self, psi: Array) -> list[Array]:
        """The most probable own levels of an action without data, given ``psi_{b+1}``: ``b`` arrays (d,)."""
        own: list[Array] = []
        for ell in range(self.branch, 0, -1):
            psi = self._chain.links[ell](psi)
            own.append(psi)
        return own[::-1]

    def _without(self, action: int) -> tuple[Array, Array]:
        """Moments of an action's parameters given the other actions' data, were the surrogates the links."""
        slot, d = self.table.slots.get(action), self.table.dim
        maps = [self._map_of(ell, slot) for ell in range(1, len(self._chain.links) + 1)]
        others = Evidence(np.zeros((d, d)), np.zeros(d))
        if self._independent or not len(self.table):
            return parameter_law(self._chain, maps, 1, others)
        others = self._upward(range(len(self.table))).values[self.branch]
        if slot is not None:
            # Past the action's own levels alone, its message stands unsummed at the branch.
            own = upward_messages(self._chain, maps, self.table.messages(slot)).values[self.branch]
            others = Evidence(others.G - own.G, others.h - own.h)
        return parameter_law(self._chain, maps, self.branch + 1, others)

    def _map_of(self, ell: int, slot: int | None) -> AffineMap:
        """The surrogate of a link, an action's own up to the branch; before its first reward the prior's."""
        if self._own_tangents:
            return self._searches[slot].maps[ell - 1] if slot is not None else self._statistical[ell - 1]
        weight, offset = self._maps[ell - 1]
        if weight.ndim == 2:
            return self._maps[ell - 1]
        return self._statistical[ell - 1] if slot is None else AffineMap(weight[slot], offset[slot])

    def _upward(self, slots: Sequence[int]) -> Messages:
        """Messages on all levels, of some played actions at branch L, of all of them else."""
        maps = self._maps
        if self._own_tangents:
            maps = [
                AffineMap(*(np.array(part) for part in zip(*level, strict=True)))
                for level in zip(*(self._searches[slot].maps for slot in slots), strict=True)
            ]
        return upward_messages(self._chain, maps, self.table.messages(list(slots)), self.branch)

    def _values(self, rng: np.random.Generator, scale: float, *, from_clouds: bool) -> tuple[Array, Array | None]:
        """One posterior draw of the played actions' ``f_1(psi_1)``, (P, d), and of ``f_{b+1}`` (d,) if it is shared."""
        played = range(len(self.table))
        if self._independent:
            if not played:
                return np.empty((0, self.table.dim)), None
            if from_clouds:
                return self._from_clouds(rng, scale), None
            own = self._own_filters(played, None, rng, scale)
            return pick(own, rng)[0], None
        parent: Array = self._shared_draws(1, rng, scale)[0]
        if not played:
            return np.empty((0, self.table.dim)), parent
        return pick(self._own_filters(played, parent[None], rng, scale), rng)[0], parent

    def _shared_draws(self, size: int, rng: np.random.Generator, scale: float) -> Array:
        """Draws of ``f_{b+1}(psi_{b+1})``, (size, d)."""
        if len(self.table):
            messages = self._upward(range(len(self.table)))
        else:
            d = self.table.dim
            nothing = Evidence(np.zeros((1, d, d)), np.zeros((1, d)))
            messages = upward_messages(self._chain, self._statistical, nothing, self.branch)
        particles = sample_shared(
            self._chain, messages, self.branch, self.num_particles, rng,
            size=size, exploration=scale, defensive=self._defensive,
        )  # fmt: skip
        self.effective_sample_size = float(particles.effective_sample_size.mean())
        return pick(particles, rng)

    def _own_filters(
        self,
        slots: Sequence[int],
        parents: Array | None,
        rng: np.random.Generator,
        scale: float,
        *,
        size: int = 1,
        num_particles: int | None = None,
    ) -> Particles:
        """Filters of played actions' own levels, (n, k, P, d), given draws (n, d) of a shared part."""
        particles = sample_actions(
            self._chain, self._upward(slots), self.branch, parents, num_particles or self.num_particles, rng,
            size=size, exploration=scale, defensive=self._defensive,
        )  # fmt: skip
        least = float(particles.effective_sample_size.mean())
        self.effective_sample_size = least if parents is None else min(self.effective_sample_size, least)
        return particles

    def _from_clouds(self, rng: np.random.Generator, scale: float) -> Array:
        """The next member of every played action's cloud, (P, d)."""
        if scale != self._cloud_scale:
            self._left[:] = 0
            self._cloud_scale = scale
        empty = np.flatnonzero(self._left == 0)
        if empty.size:
            particles = self._own_filters(empty.tolist(), None, rng, scale, size=self._filters)
            n, k, P = particles.log_weights.shape
            ancestors = resample(particles.log_weights.reshape(n * k, P), rng).reshape(n, k, P)
            members = np.take_along_axis(particles.value, ancestors[..., None], axis=-2)
            members = members.transpose(1, 0, 2, 3).reshape(k, n * P, -1)
            order = rng.random((k, n * P)).argsort(axis=1)
            self._clouds[empty] = np.take_along_axis(members, order[..., None], axis=1)
            self._left[empty] = n * P
        self._left -= 1
        return np.asarray(self._clouds[np.arange(len(self._left)), self._left])

    def _prior_values(self, size: int, parent: Array | None, rng: np.random.Generator, scale: float) -> Array:
        """Draws of an unplayed action's ``f_1(psi_1)``, (size, d), given the shared part."""
        mean = np.zeros(self.table.dim) if parent is None else parent
        value = np.broadcast_to(mean, (size, len(mean)))
        for ell in range(self.branch, 0, -1):
            root = self._chain.roots[ell]
            value = self._chain.links[ell - 1](value + scale * rng.standard_normal((size, root.shape[1])) @ root.T)
        return np.asarray(value)

    def _pool_values(self, size: int, parent: Array | None, rng: np.random.Generator, scale: float) -> Array:
        """Draws that stand for the unplayed actions of this round, (size, d)."""
        if self.pool == "fresh":
            return self._prior_values(size, parent, rng, scale)
        if self._kept is None or self._kept[0] != scale:
            # By a rule that is fixed: a restored posterior has the same.
            drawn = self._prior_values(self.pool_size, None, np.random.default_rng(_FIXED_SEED), scale)
            self._kept = scale, drawn
        # Draws in a row are independent, so a random stretch of them is as good as a random choice, and cheap.
        start = int(rng.integers(self.pool_size))
        return np.take(self._kept[1], range(start, start + size), axis=0, mode="wrap")

    def thompson(
        self,
        contexts: Array,
        rng: np.random.Generator,
        scale: float = 1.0,
        mask: BoolArray | None = None,
        *,
        from_clouds: bool = False,
    ) -> IntArray:
        """Best allowed action under one posterior draw of all parameters, a draw a context: (d,) -> (), (n, d) -> (n,).

        ``mask`` (K,) allows actions, None all. ``from_clouds`` draws from the clouds, whose members are then used up;
        else from filters of this call's own.
        """
        if contexts.ndim == 2:
            rows = [self.thompson(x, rng, scale, mask, from_clouds=from_clouds) for x in contexts]
            return np.array(rows, dtype=np.int64)
        unplayed, banned = split_mask(mask, self.unplayed, self.table.actions)
        values, parent = self._values(rng, scale, from_clouds=from_clouds)
        mean, variance = self._score_moments(contexts, values)
        scores = mean + scale * np.sqrt(variance) * rng.standard_normal(mean.shape)
        scores[banned] = -np.inf
        best = int(scores.argmax()) if len(scores) else -1
        remaining = len(unplayed)
        if remaining:
            size = min(remaining, self.pool_size)
            copies = np.full(size, remaining // size) + (np.arange(size) < remaining % size)
            pool = self._pool_values(size, parent, rng, scale) @ contexts
            # The best of each draw's copies, which differ by their own noise.
            top = pool + scale * self._own_std(contexts) * ndtri_exp(rng.standard_exponential(size) / -copies)
            if best < 0 or top.max() > scores[best]:
                return np.asarray(unplayed.draw_one(rng))
        return np.asarray(self.table.actions[best])

    def _own_std(self, context: Array) -> float:
        """Standard deviation of ``x' theta`` around ``x' f_1(psi_1)`` without data."""
        u = (context @ self.table.basis) * self.table.reached
        return float(np.sqrt(u @ u))

    def _responses(self, context: Array) -> Array:
        """How the played actions' ``x' theta`` follow ``f_1``, (P, d) in the table's coordinates."""
        x = context @ self.table.basis
        u = x * self.table.reached
        return np.asarray(x - u + self.table.products(u))

    def _score_moments(self, context: Array, values: Array) -> tuple[Array, Array]:
        """Mean and variance (at exploration 1) of the played actions' ``x' theta`` given their ``f_1``: (P,), (P,)."""
        response = self._responses(context)
        u = (context @ self.table.basis) * self.table.reached
        mean = np.einsum("pd,pd->p", response, values @ self.table.inverse.T) + self.table.beta @ u
        return mean, np.maximum(response @ u, 0.0)

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed action of the largest mean plus ``scale`` posterior standard deviations; ties at random."""
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        unplayed, banned = split_mask(mask, self.unplayed, self.table.actions)
        values, covs, value0, cov0 = self._value_moments(scale)
        mean, variance = self._score_moments(contexts, values)
        response = self._responses(contexts) @ self.table.inverse  # (P, d), on the parameters' f_1
        spread = np.einsum("pd,pde,pe->p", response, covs, response)
        bounds = mean + np.sqrt(scale**2 * variance + spread.clip(0.0))
        bounds[banned] = -np.inf
        top = -np.inf
        if len(unplayed):
            variance0 = scale**2 * self._own_std(contexts) ** 2 + float(contexts @ cov0 @ contexts)
            top = float(contexts @ value0) + variance0**0.5
        best = max(float(bounds.max(initial=-np.inf)), top)
        tied = self.table.actions[bounds == best]
        chosen = int(rng.integers(len(tied) + (len(unplayed) if top == best else 0)))
        return np.asarray(tied[chosen] if chosen < len(tied) else unplayed.draw_one(rng))

    def greedy(self, contexts: Array, mask: BoolArray | None = None) -> IntArray:
        """Allowed action of the largest posterior mean; of tied actions the lowest-numbered."""
        if contexts.ndim == 2:
            return np.array([self.greedy(x, mask) for x in contexts], dtype=np.int64)
        unplayed, banned = split_mask(mask, self.unplayed, self.table.actions)
        values, _, value0, _ = self._value_moments(1.0)
        mean = self._score_moments(contexts, values)[0]
        mean[banned] = -np.inf
        best = mean.max(initial=-np.inf)
        chosen = int(self.table.actions[mean == best].min()) if len(mean) else self.num_actions
        if len(unplayed):
            mean0, lowest = float(contexts @ value0), unplayed.lowest(self.table.slots)
            chosen = lowest if mean0 > best else min(chosen, lowest) if mean0 == best else chosen
        return np.asarray(chosen)

    def _value_moments(self, scale: float) -> tuple[Array, Array, Array, Array]:
        """Means (P, d) and covariances (P, d, d) of the played actions' ``f_1``, and those of an unplayed one's.

        Monte Carlo averages by a rule that is fixed, so that they depend on the data alone.
        """
        if scale not in self._known:
            values, weights, value0 = self._fixed_draws(scale)
            mean = np.einsum("npk,npkd->pd", weights, values)
            off = values - mean[:, None]
            cov = np.einsum("npk,npkd,npke->pde", weights, off, off, optimize=True)
            self._known[scale] = mean, cov, value0.mean(axis=0), np.atleast_2d(np.cov(value0.T, bias=True))
        return self._known[scale]

    def _fixed_draws(self, scale: float) -> tuple[Array, Array, Array]:
        """Draws of the played actions' ``f_1``, (n, P, k, d), their weights (n, P, k), and an unplayed one's, (., d).

        By a rule that is fixed.
        """
        rng, d = np.random.default_rng(_FIXED_SEED), self.table.dim
        played = range(len(self.table))
        values, weights = np.empty((1, 0, 1, d)), np.empty((1, 0, 1))  # of draws, actions, particles
        if self._independent:
            value0 = self._prior_values(_PRIOR_DRAWS, None, rng, scale)
            if played:
                own = self._own_filters(played, None, rng, scale, num_particles=_MOMENT_PARTICLES)
                values, weights = own.value, np.exp(own.log_weights)
        else:
            parents = self._shared_draws(_SHARED_DRAWS, rng, scale)
            each = _PRIOR_DRAWS // _SHARED_DRAWS
            value0 = np.concatenate([self._prior_values(each, parent, rng, scale) for parent in parents])
            if played:
                own = self._own_filters(played, parents, rng, scale, num_particles=_OWN_PARTICLES)
                values, weights = own.value, np.exp(own.log_weights) / len(parents)
        return values, weights, value0

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior laws of ``x' theta_a``, contexts (n, d): mixtures over the draws that `moments` averages.

        The draws are kept until the next reward, 512 or more of a played action. O(512 P d) a context.
        """
        if self._sample is None or self._sample[0] != scale:
            self._sample = scale, *self._fixed_draws(scale)
        _, values, weights, value0 = self._sample
        n, P, k, d = values.shape
        means, variances = np.empty((n * k, len(contexts), P)), np.empty((1, len(contexts), P))
        for i, x in enumerate(contexts):
            base, variance = self._score_moments(x, np.zeros((P, d)))
            response = self._responses(x) @ self.table.inverse
            shifts = np.einsum("npkd,pd->nkp", values, response).reshape(n * k, P)
            means[:, i], variances[0, i] = base + shifts, scale**2 * variance
        shares = weights.transpose(0, 2, 1).reshape(n * k, 1, P)
        own_std = np.array([self._own_std(x) for x in contexts])
        other = NormalLaws(
            np.full((len(value0), 1), 1.0 / len(value0)), value0 @ contexts.T, (scale * own_std)[None] ** 2
        )
        return ActionLaws(self.num_actions, self.table.actions, NormalLaws(shares, means, variances), other)

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, one (K, d) or ``size`` of them (size, K, d): for small K."""
        if size is not None:
            return np.stack([self.sample_parameters(rng, scale) for _ in range(size)])
        values, parent = self._values(rng, scale, from_clouds=False)
        table, K, d = self.table, self.num_actions, self.table.dim
        f = self._prior_values(K, parent, rng, scale)
        f[table.actions] = values
        f = f @ table.inverse.T
        theta = f + scale * table.reached * rng.standard_normal((K, d))
        gamma = table.gamma()  # (P, d, d)
        eigenvalues, vectors = np.linalg.eigh(np.diag(table.reached) - gamma * np.outer(table.reached, table.reached))
        noise = scale * np.sqrt(eigenvalues.clip(0.0)) * rng.standard_normal(eigenvalues.shape)
        own = f[table.actions]
        pull = (table.beta - np.einsum("pde,pe->pd", gamma, own)) * table.reached
        theta[table.actions] = own + pull + (vectors @ noise[..., None])[..., 0]
        return np.asarray(theta @ table.basis.T)

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K, by Monte Carlo."""
        table, K, d = self.table, self.num_actions, self.table.dim
        values, covs, value0, cov0 = self._value_moments(scale)
        f, spread = np.tile(value0, (K, 1)), np.tile(cov0, (K, 1, 1))
        f[table.actions], spread[table.actions] = values, covs
        gamma, beta = np.zeros((K, d, d)), np.zeros((K, d))
        gamma[table.actions], beta[table.actions] = table.gamma(), table.beta
        reached = table.reached
        response = (
            table.basis @ (np.eye(d) - reached[:, None] * gamma) @ table.inverse
        )  # (K, d, d), how theta follows f
        mean = (beta * reached) @ table.basis.T + np.einsum("kde,ke->kd", response, f)
        own = table.basis @ (np.diag(reached) - gamma * np.outer(reached, reached)) @ table.basis.T
        blocks = scale**2 * own + response @ spread @ response.swapaxes(-1, -2)
        cov = np.zeros((K, d, K, d))
        if not self._independent:
            # Actions covary through the shared part: the covariance of their means given its draws.
            rng = np.random.default_rng(_FIXED_SEED)
            parents = self._shared_draws(_MOMENT_PARTICLES, rng, scale)
            given = np.stack([self._prior_values(_OWN_PARTICLES, p, rng, scale).mean(axis=0) for p in parents])
            given = np.repeat(given[:, None], K, axis=1)  # (n, K, d)
            if len(table):
                own_levels = self._own_filters(range(len(table)), parents, rng, scale)
                weights = np.exp(own_levels.log_weights)
                given[:, table.actions] = np.einsum("npk,npkd->npd", weights, own_levels.value)
            off = np.einsum("kde,nke->nkd", response, given - given.mean(axis=0))
            cov = np.einsum("nkd,nle->kdle", off, off, optimize=True) / len(parents)
        cov[np.arange(K), :, np.arange(K), :] = (blocks + blocks.swapaxes(-1, -2)) / 2
        return mean, cov.reshape(K * d, K * d)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        state: dict[str, Array | IntArray] = {
            **self.table.state(),
            **self._evidence.state(),
            "clouds": self._clouds.copy(),
            "left": self._left.copy(),
            "counts": np.array(self._counts, dtype=np.int64),
            "scalars": np.array([self._cloud_scale, self.effective_sample_size]),
        }
        for slot, search in enumerate(self._searches):
            state |= {f"search.{slot}.{name}": array for name, array in search.state().items()}
        if self._path is not None:
            for ell, (psi, (weight, offset)) in enumerate(zip(self._path, self._maps, strict=True)):
                state |= {f"path.{ell}": psi, f"weight.{ell}": weight, f"offset.{ell}": offset}
        return state

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Take over what `state` gave."""
        self.table.restore(state)
        self._evidence.restore(state)
        self.unplayed = UnplayedActions(self.num_actions)
        for action in self.table.actions.tolist():
            self.unplayed.remove(action)
        self._clouds, self._left = np.array(state["clouds"], float), np.array(state["left"], dtype=np.int64)
        self._counts = [int(n) for n in state["counts"]]
        self._cloud_scale, self.effective_sample_size = (float(x) for x in state["scalars"])
        self._searches = []
        if self._own_tangents:
            for slot, action in enumerate(self.table.actions.tolist()):
                search = TangentSearch(self._chain, self._statistical, (_FIXED_SEED, action))
                search.restore({name: state[f"search.{slot}.{name}"] for name in ("weight", "offset", "path")})
                self._searches.append(search)
        if "path.0" in state:
            levels = range(len(self._chain.links))
            self._path = [np.array(state[f"path.{ell}"], float) for ell in levels]
            self._maps = [
                AffineMap(np.array(state[f"weight.{ell}"], float), np.array(state[f"offset.{ell}"], float))
                for ell in levels
            ]
        self._known, self._sample = {}, None
