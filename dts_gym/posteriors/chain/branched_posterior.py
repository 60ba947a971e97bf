"""The posterior of a chain whose lower levels are each action's own, with a particle filter for each action.

Above the branch the levels are shared, as in `dts_gym.posteriors.chain.chain_posterior`; at branch L nothing is, and
actions are independent draws of the whole chain.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors import choices
from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.chain.branched_levels import FIXED_SEED, BranchedLevels, Pool
from dts_gym.posteriors.chain.chain_posterior import Surrogate
from dts_gym.posteriors.chain.fixed_draws import MOMENT_PARTICLES, OWN_PARTICLES, SHARED_DRAWS, FixedDraws
from dts_gym.posteriors.glm.glm_table import Mode
from dts_gym.posteriors.information import RewardDraws, draws_of
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.unplayed import UnplayedActions
from dts_gym.priors.prior import ChainPrior
from dts_gym.problem.rewards import RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class BranchedPosterior:
    """Posterior of actions with chains of their own below the branch, and the actions that it picks.

    Parameters
    ----------
    prior : a chain of any links.
    num_actions, model : K, and the law of the rewards.
    branch, num_particles : levels above the branch, 1..L, are shared; P of every filter.
    surrogate : affine stand-ins for the links in the upward messages: "jacobian", "statistical" or "deck".
    expansion : of rewards that are not Gaussian, as `GLMTable` says.
    pool_size : draws of the prior that stand for the unplayed actions of a round, one each while they suffice.
    pool : "fresh", these are drawn anew each round; or at branch L "kept", they are drawn once, and every round deals
        a random part of them to the unplayed actions (an approximation).
    num_shared_draws : S, between the extremes of ``branch``, draws of the shared part that each one is chosen from.
    offsets : (K, d) at branch L, known vectors that rewards see added to the parameters; the posterior is that of the
        chain alone.

    Notes
    -----
    At branch L consistent in P for the chain's posterior given the evidence. Between, the shared part is approximate:
    it is filtered with messages that have passed the actions' surrogates, each action's own levels given that draw; see
    `BranchedLevels.shared_draws` for what several draws to choose from do. Exact with linear links at any branch.

    At branch L a played action keeps a cloud, draws of its filter resampled to equal weights, each used once and in
    random order; it is renewed when used up or when its evidence changes: a round costs one filter, P L link
    evaluations, and occasionally more. Between, every played action is filtered every round: P b link evaluations
    each. Unplayed actions are drawn from the prior anew each round, b link evaluations each; where they are more than
    ``pool_size``, that many draws represent all, each several actions that share its mean (an approximation). A round
    with a kept pool needs no link evaluations; the pool represents the prior as a sample of its size does.
    """

    def __init__(
        self,
        prior: ChainPrior,
        num_actions: int,
        model: RewardModel,
        *,
        branch: int,
        num_particles: int = 32,
        surrogate: Surrogate = "jacobian",
        expansion: Mode = "map",
        pool_size: int = 10_000,
        pool: Pool = "fresh",
        num_shared_draws: int = 1,
        offsets: Array | None = None,
    ) -> None:
        self.num_actions = num_actions
        self.levels = BranchedLevels(
            prior,
            model,
            branch=branch,
            num_particles=num_particles,
            surrogate=surrogate,
            expansion=expansion,
            pool_size=pool_size,
            pool=pool,
            num_shared_draws=num_shared_draws,
            offsets=offsets,
        )
        self.unplayed = UnplayedActions(num_actions)
        self._fixed = FixedDraws(self.levels)

    @property
    def table(self) -> ActionTable:
        """Evidence of the played actions."""
        return self.levels.table

    @property
    def effective_sample_size(self) -> float:
        """Effective sample size of the last filters, relative to their number of particles."""
        return self.levels.effective_sample_size

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        new = action not in self.table.slots
        self.levels.update(context, action, reward)
        if new:
            self.unplayed.remove(action)
        self._fixed.forget(self.table.slots[action])

    def thompson(
        self,
        contexts: Array,
        rng: np.random.Generator,
        scale: float = 1.0,
        mask: BoolArray | None = None,
        *,
        from_clouds: bool = False,
    ) -> IntArray:
        """Best allowed action under one posterior draw of all parameters for each context: (d,) -> (), (n, d) -> (n,).

        ``mask`` (K,) allows actions, None all. ``from_clouds`` draws from the clouds, whose members are then used up;
        else from filters of this call's own.
        """
        if contexts.ndim == 2:
            rows = [self.thompson(x, rng, scale, mask, from_clouds=from_clouds) for x in contexts]
            return np.array(rows, dtype=np.int64)
        among = choices.candidates(self.table, self.unplayed, mask)
        values, parent = self.levels.values(rng, scale, from_clouds=from_clouds)
        mean, variance = self._score_moments(contexts, values)
        scores = mean + scale * np.sqrt(variance) * rng.standard_normal(mean.shape)
        remaining, top = len(among.unplayed), np.asarray(-np.inf)
        if remaining:
            size = min(remaining, self.levels.pool_size)
            copies = choices.copies_of_draws(remaining, size)
            pool = self.levels.pool_values(size, parent, rng, scale) @ contexts
            # The best of each draw's copies, which differ by their own noise.
            top = np.asarray(choices.largest_of_normals(pool, scale * self._own_std(contexts), copies, rng).max())
        return choices.best(among, scores, top, rng)

    def _own_std(self, context: Array) -> float:
        """Standard deviation of ``x' theta`` around ``x' f_1(psi_1)`` without data."""
        u = (context @ self.table.basis) * self.table.reached
        return float(np.sqrt(u @ u))

    def _responses(self, context: Array) -> Array:
        """Derivatives of the played actions' ``x' theta`` in ``f_1``, (P, d) in the table's coordinates."""
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
        values, covs, value0, cov0 = self._fixed.moments(1.0)
        mean, variance = self._score_moments(contexts, values)
        response = self._responses(contexts) @ self.table.inverse  # (P, d), on the parameters' f_1
        spread = np.einsum("pd,pde,pe->p", response, covs, response)
        variance0 = np.asarray(self._own_std(contexts) ** 2 + contexts @ cov0 @ contexts)
        scores = choices.ScoreMoments(mean, variance + spread.clip(0.0), np.asarray(contexts @ value0), variance0)
        return choices.upper_confidence(choices.candidates(self.table, self.unplayed, mask), scores, rng, scale)

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its posterior mean; tangents do not move."""
        values, _, value0, _ = self._fixed.moments(1.0)
        slot = self.table.slots.get(action)
        mean = float(context @ value0 if slot is None else self._score_moments(context, values)[0][slot])
        if slot is None:
            self.unplayed.remove(action)
        self.levels.expect(context, action, mean)
        self._fixed.forget(self.table.slots[action])

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        if contexts.ndim == 2:
            return np.array([self.greedy(x, mask, rng) for x in contexts], dtype=np.int64)
        values, _, value0, _ = self._fixed.moments(1.0)
        among = choices.candidates(self.table, self.unplayed, mask)
        return choices.greedy(among, self._score_moments(contexts, values)[0], np.asarray(contexts @ value0), rng)

    def reward_draws(
        self,
        context: Array,
        rng: np.random.Generator,
        scale: float,
        num_draws: int,
        model: RewardModel,
        mask: BoolArray | None = None,
    ) -> RewardDraws:
        """Posterior draws of the actions' mean rewards, for one context (d,).

        The levels are drawn from the sample that `laws` averages. The distribution of unplayed actions is not
        normal: they are drawn too; where there are more than 8192 at branch L or 64 between, that many draws represent
        all, each several of one mean. O(512 P d) for a new reward, O(M (P + U)) for each context.
        """
        values, weights, value0 = self._fixed.draws(scale)
        among, M, P = choices.candidates(self.table, self.unplayed, mask), num_draws, len(self.table)
        pools = (value0 @ context).reshape(1 if self.levels.independent else SHARED_DRAWS, -1)
        shared = rng.integers(len(pools), size=M)  # the draw of the shared part, one of the sample's
        base, variance = self._score_moments(context, np.zeros((P, len(context))))
        if P:
            responses = self._responses(context) @ self.table.inverse
            shifts = np.einsum("npkd,pd->npk", values, responses).reshape(len(pools) * P, -1)
            # A particle by weight of every row at once: row r has the numbers from r to r + 1.
            cumulative = weights.reshape(shifts.shape).cumsum(axis=1)
            ends = (np.arange(len(shifts))[:, None] + cumulative / cumulative[:, -1:]).ravel()
            rows = shared[:, None] * P + np.arange(P)  # (M, P)
            found = np.searchsorted(ends, rows + rng.random((M, P)), side="right") - rows * shifts.shape[1]
            base = base + shifts[rows, found.clip(0, shifts.shape[1] - 1)]
        scores = base + scale * np.sqrt(variance) * rng.standard_normal((M, P))
        U = len(among.unplayed)
        if not U:
            return draws_of(among, scores, None, None, model)
        size, std = min(U, pools.shape[1]), scale * self._own_std(context)
        stretch = (rng.integers(pools.shape[1], size=M)[:, None] + np.arange(size)) % pools.shape[1]
        pool = pools[shared[:, None], stretch]  # (M, size)
        drawn = pool + std * rng.standard_normal(pool.shape)
        top = drawn.max(axis=1)
        if size < U:
            copies = choices.copies_of_draws(U, size)
            top = choices.largest_of_normals(pool, std, np.broadcast_to(copies, pool.shape), rng).max(axis=1)
        best, mean = model.mean(top), model.mean(drawn).mean(axis=1)
        return draws_of(among, scores, top, (U * mean - best) / (U - 1) if U > 1 else best, model)

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d): mixtures over the draws that `moments` averages.

        The draws are kept until the next reward, 512 or more for a played action. O(512 P d) for each context.
        """
        values, weights, value0 = self._fixed.draws(scale)
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
        values, parent = self.levels.values(rng, scale, from_clouds=False)
        table, K, d = self.table, self.num_actions, self.table.dim
        f = self.levels.prior_values(K, parent, rng, scale)
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
        values, covs, value0, cov0 = self._fixed.moments(scale)
        f, spread = np.tile(value0, (K, 1)), np.tile(cov0, (K, 1, 1))
        f[table.actions], spread[table.actions] = values, covs
        gamma, beta = np.zeros((K, d, d)), np.zeros((K, d))
        gamma[table.actions], beta[table.actions] = table.gamma(), table.beta
        reached = table.reached
        response = table.basis @ (np.eye(d) - reached[:, None] * gamma) @ table.inverse  # (K, d, d), d theta / d f
        mean = (beta * reached) @ table.basis.T + np.einsum("kde,ke->kd", response, f)
        own = table.basis @ (np.diag(reached) - gamma * np.outer(reached, reached)) @ table.basis.T
        blocks = scale**2 * own + response @ spread @ response.swapaxes(-1, -2)
        cov = np.zeros((K, d, K, d))
        if not self.levels.independent:
            # Actions covary through the shared part: the covariance of their means given its draws.
            rng = np.random.default_rng(FIXED_SEED)
            parents, own_levels = self.levels.chosen_draws(MOMENT_PARTICLES, rng, scale)
            given = np.stack([self.levels.prior_values(OWN_PARTICLES, p, rng, scale).mean(axis=0) for p in parents])
            given = np.repeat(given[:, None], K, axis=1)  # (n, K, d)
            if own_levels is not None:
                weights = np.exp(own_levels.log_weights)
                given[:, table.actions] = np.einsum("npk,npkd->npd", weights, own_levels.value)
            off = np.einsum("kde,nke->nkd", response, given - given.mean(axis=0))
            cov = np.einsum("nkd,nle->kdle", off, off, optimize=True) / len(parents)
        cov[np.arange(K), :, np.arange(K), :] = (blocks + blocks.swapaxes(-1, -2)) / 2
        return mean, cov.reshape(K * d, K * d)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        return self.levels.state()

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        self.levels.restore(state)
        self.unplayed = UnplayedActions(self.num_actions, self.table.actions.tolist())
        self._fixed.forget()
