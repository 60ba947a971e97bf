"""The posterior of independent actions whose prior is a mixture of normal distributions: a mixture for each action."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.action_table import ActionTable
from dts_gym.posteriors.choices import best, candidates, greedy, largest_bound, largest_of_normals
from dts_gym.posteriors.glm.glm_table import GLMTable, Mode
from dts_gym.posteriors.marginals import ActionLaws, NormalLaws
from dts_gym.posteriors.precise_rows import refuse
from dts_gym.posteriors.unplayed import UnplayedActions
from dts_gym.priors.mixtures import Mixture
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import finite_array

# Residuals are cut at this many standard deviations, so that a weight's logarithm stays finite.
_FARTHEST = 1e150
_NEGLIGIBLE = 1e-12  # weight of a component that changes no choice


class MixturePosterior:
    """Posterior of ``theta_a ~ sum_c w_c N(mu_c, S_c)``, independent actions, and the actions that it picks.

    Parameters
    ----------
    prior : prior of every action.
    num_actions : K, the number of actions; only played ones are stored, so a large K costs nothing.
    model : distribution of the rewards.
    expansion : where rewards that are not Gaussian are expanded, see `GLMTable`; "map" and "online" expand at the most
        probable parameters under a normal distribution with the mixture's moments.

    Notes
    -----
    Exact for Gaussian rewards: a played action's weights are ``w_c`` times the evidence of its rewards under component
    ``c``. For other rewards it is exact given the quadratic evidence. ``scale`` is the exploration scale: it multiplies
    the components' standard deviations and leaves their weights.

    An update costs O(C d^2) for Gaussian rewards, else O(C d^3) and the refit. A choice costs a pass over the played
    actions' packed matrices for each component. One multinomial draw splits the unplayed actions among the components,
    and the best of each component is drawn at once: exact, and O(C) whatever K.
    """

    def __init__(self, prior: Mixture, num_actions: int, model: RewardModel, expansion: Mode = "map") -> None:
        self.prior = prior
        self.num_actions = num_actions
        # Each component's table holds the evidence on the actions' parameters around its mean, as if it were their
        # component.
        nothing = np.zeros_like(prior.covs[0]) if isinstance(model, GaussianReward) else None
        self.tables = [
            ActionTable(cov, center=mean, shared_cov=nothing) for mean, cov in zip(prior.means, prior.covs, strict=True)
        ]
        self.unplayed = UnplayedActions(num_actions)
        self._log_weights = np.empty((0, len(prior.weights)))  # (P, C) of the played actions, not normalised
        self._variance = model.noise_std**2 if isinstance(model, GaussianReward) else np.nan  # else unused
        self._glm = None if isinstance(model, GaussianReward) else GLMTable(model, prior.means.shape[1], expansion)
        self._moments = prior.moments()

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        slot = self.tables[0].slots.get(action)
        before = np.log(self.prior.weights) if slot is None else self._log_weights[slot]
        if self._glm is None:
            weights = before + self._observe(action, context, reward, self._variance)
        else:
            weights = np.log(self.prior.weights) + self._replace(action, context, reward)
        self._weigh(action, slot, weights)

    def _weigh(self, action: int, slot: int | None, log_weights: Array) -> None:
        """Keep the weights of an action's components, in a new row where it has none."""
        if slot is None:
            self.unplayed.remove(action)
            self._log_weights = np.vstack([self._log_weights, log_weights])
        else:
            self._log_weights[slot] = log_weights

    def _observe(self, action: int, context: Array, reward: float, noise_variance: float) -> Array:
        """Add a Gaussian reward to all tables; returns its log density under each component, given the past, (C,)."""
        log_density = np.empty(len(self.tables))
        for c, table in enumerate(self.tables):
            _, variance, residual, _ = table.observe(action, context, reward, noise_variance)
            z = min(abs(residual) / math.sqrt(variance), _FARTHEST)
            log_density[c] = -0.5 * (math.log(variance) + z * z)
        return log_density

    def _replace(self, action: int, context: Array, reward: float) -> Array:
        """Expand an action's rewards anew; returns the log evidence of all of them under each component, (C,)."""
        assert self._glm is not None
        G, h = self._glm.learn(action, context, reward, self._glm.prior(*self._moments))
        log_evidence = np.empty(len(self.tables))
        for c, (table, mean) in enumerate(zip(self.tables, self.prior.means, strict=True)):
            centred = h - G @ mean
            table.replace(action, G, centred)
            beta, reached = table.beta[table.slots[action]], table.reached
            # int exp(-v'Gv/2 + h'v) N(v; mean, S) dv, in coordinates in which S is diag(reached)
            seen = (table.basis.T @ G @ table.basis) * reached
            log_evidence[c] = 0.5 * float((centred @ table.basis * reached) @ beta) + float(mean @ (h - G @ mean / 2))
            log_evidence[c] -= 0.5 * float(np.linalg.slogdet(np.eye(len(mean)) + seen)[1])
        return log_evidence

    def _weights(self) -> Array:
        """Posterior weights of the played actions' components, (P, C)."""
        weights = np.exp(self._log_weights - self._log_weights.max(axis=1, keepdims=True))
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def _components(self, rng: np.random.Generator) -> IntArray:
        """Draw every played action's component, (P,)."""
        reached = self._weights().cumsum(axis=1)
        drawn = rng.random(len(reached)) * reached[:, -1]
        return np.asarray((drawn[:, None] >= reached).sum(axis=1))

    def _score_moments(self, context: Array) -> tuple[Array, Array, Array, Array]:
        """Mean and variance of ``x' theta`` by component: for the played actions, (C, P), then for any other, (C,)."""
        C, P = len(self.tables), len(self.tables[0])
        mean, variance = np.empty((C, P)), np.empty((C, P))
        mean0, variance0 = self.prior.means @ context, np.empty(C)
        for c, table in enumerate(self.tables):
            u = (context @ table.basis) * table.reached
            variance0[c] = u @ u
            mean[c] = mean0[c] + table.beta @ u
            variance[c] = table.forms(u, None)[1]
            if table.precise.rows:
                slots = table.precise.slots
                mean[c, slots], root = self._read(c, slots, context)
                variance[c, slots] = (root * root).sum(axis=1)
        return mean, variance.clip(0.0), mean0, variance0

    @property
    def is_careful(self) -> bool:
        """Whether some actions' posteriors are in twofold precision."""
        return bool(self.tables[0].precise.rows)

    def _read(self, c: int, slots: IntArray, context: Array) -> tuple[Array, Array]:
        """Means (k,) and roots (k, d) of scores that component ``c`` holds in twofold precision, for one context."""
        readings, _ = self.tables[c].precise.read(slots, context)
        mean, root = readings.mean.high, readings.root
        counts = self._weights()[slots, c] > _NEGLIGIBLE
        std = np.sqrt((root * root).sum(axis=1))
        refuse(mean[counts], std[counts], readings.mean_error[counts], readings.std_error[counts])
        return mean, root

    def score_draws(self, contexts: Array, rng: np.random.Generator, scale: float, size: int) -> Array:
        """Draws of an action's scores under k contexts (k, d), of a posterior of one action: (size, k)."""
        first = np.zeros(1, dtype=np.int64)
        read = [[self._read(c, first, x) for x in contexts] for c in range(len(self.tables))]
        components = np.concatenate([self._components(rng) for _ in range(size)])
        noise = rng.standard_normal((size, contexts.shape[1]))
        draws = [
            [mean[0] + scale * (z @ root[0]) for mean, root in read[c]] for c, z in zip(components, noise, strict=True)
        ]
        return np.array(draws)

    def thompson(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Best allowed action under one posterior draw of all parameters for each context: (d,) -> (), (n, d) -> (n,).

        ``mask`` (K,) allows actions, None all.
        """
        if contexts.ndim == 2:
            return np.array([self.thompson(context, rng, scale, mask) for context in contexts], dtype=np.int64)
        among = candidates(self.tables[0], self.unplayed, mask)
        mean, variance, mean0, variance0 = self._score_moments(contexts)
        played = self._components(rng), np.arange(mean.shape[1])
        scores = mean[played] + scale * np.sqrt(variance[played]) * rng.standard_normal(mean.shape[1])
        top = np.asarray(-np.inf)
        if len(among.unplayed):
            counts = rng.multinomial(len(among.unplayed), self.prior.weights / self.prior.weights.sum())
            drawn = largest_of_normals(mean0, scale * np.sqrt(variance0), counts.clip(1), rng)
            top = np.where(counts > 0, drawn, -np.inf).max()
        return best(among, scores, top, rng)

    def greedy(
        self, contexts: Array, mask: BoolArray | None = None, rng: np.random.Generator | None = None
    ) -> IntArray:
        """Allowed action of the largest posterior mean; of tied ones the lowest-numbered, or any with ``rng``."""
        if contexts.ndim == 2:
            return np.array([self.greedy(context, mask, rng) for context in contexts], dtype=np.int64)
        mean, _, mean0, _ = self._score_moments(contexts)
        among = candidates(self.tables[0], self.unplayed, mask)
        return greedy(among, (self._weights() * mean.T).sum(axis=1), np.asarray(self.prior.weights @ mean0), rng)

    def upper_confidence(
        self, contexts: Array, rng: np.random.Generator, scale: float = 1.0, mask: BoolArray | None = None
    ) -> IntArray:
        """Allowed action of the largest upper bound, see `NormalLaws.upper_bound`; ties at random.

        A mixture's bound is the quantile that corresponds to ``scale`` standard deviations of a normal distribution:
        for two distant components the mean plus ``scale`` deviations lies beyond both.
        """
        if contexts.ndim == 2:
            return np.array([self.upper_confidence(x, rng, scale, mask) for x in contexts], dtype=np.int64)
        laws = self.laws(contexts[None], 1.0)
        assert laws.other is not None
        among = candidates(self.tables[0], self.unplayed, mask)
        bounds, top = laws.own.upper_bound(scale)[0], float(laws.other.upper_bound(scale)[0])
        return largest_bound(among, bounds, top, rng)

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean: deviations shrink, and weights move a little.

        A reward that is not Gaussian is replaced by a Gaussian one with the variance of an expansion at the mean of
        ``x' theta``.
        """
        mean, _, mean0, _ = self._score_moments(context)
        slot = self.tables[0].slots.get(action)
        before = np.log(self.prior.weights) if slot is None else self._log_weights[slot]
        expected = float(self.prior.weights @ mean0 if slot is None else self._weights()[slot] @ mean[:, slot])
        variance = self._variance if self._glm is None else self._glm.model.observed_variance(expected)
        self._weigh(action, slot, before + self._observe(action, context, expected, variance))

    def laws(self, contexts: Array, scale: float = 1.0) -> ActionLaws:
        """Posterior distributions of ``x' theta_a``, contexts (n, d): mixtures of C normal ones. O(C P d^2 n)."""
        rows = [self._score_moments(x) for x in contexts]
        # (C, n, P) twice, (C, n) twice
        mean, variance, mean0, variance0 = (np.stack(part, axis=1) for part in zip(*rows, strict=True))
        own = NormalLaws(self._weights().T[:, None], mean, scale**2 * variance)
        return ActionLaws(
            self.num_actions,
            self.tables[0].actions,
            own,
            NormalLaws(self.prior.weights[:, None], mean0, scale**2 * variance0),
        )

    def laws_given_shared(self, context: Array, rng: np.random.Generator, scale: float, size: int) -> ActionLaws:
        """`laws` of one context (d,): nothing is shared, and the actions are independent."""
        return self.laws(context[None], scale)

    def _component_moments(self, c: int, slots: IntArray) -> tuple[Array, Array]:
        """Moments of played actions' parameters in component ``c``: mean (n, d), root of the covariance (n, d, d)."""
        table = self.tables[c]
        gamma, reached = table.gamma(slots), table.reached
        values, vectors = np.linalg.eigh(np.diag(reached) - gamma * np.outer(reached, reached))
        root = table.basis @ (vectors * np.sqrt(values.clip(0.0))[:, None, :])
        mean = self.prior.means[c] + (table.beta[slots] * reached) @ table.basis.T
        narrow = [i for i, slot in enumerate(slots.tolist()) if slot in table.precise.rows]
        if narrow:
            mean[narrow], root[narrow], _ = table.precise.moments(slots[narrow])
        return mean, root

    def sample_parameters(self, rng: np.random.Generator, scale: float = 1.0, size: int | None = None) -> Array:
        """Posterior draws of all actions' parameters, one (K, d) or ``size`` of them (size, K, d): for small K."""
        if size is not None:
            return np.stack([self.sample_parameters(rng, scale) for _ in range(size)])
        K, d = self.num_actions, self.prior.means.shape[1]
        components = np.searchsorted(self.prior.weights.cumsum()[:-1], rng.random(K), side="right")
        components[self.tables[0].actions] = self._components(rng)
        slots = np.full(K, -1)
        slots[self.tables[0].actions] = np.arange(len(self.tables[0]))
        noise = scale * rng.standard_normal((K, d))
        theta = np.empty((K, d))
        for c in np.unique(components).tolist():
            table = self.tables[c]
            new, old = np.flatnonzero((components == c) & (slots < 0)), np.flatnonzero((components == c) & (slots >= 0))
            theta[new] = self.prior.means[c] + (noise[new] * table.reached) @ table.basis.T
            mean, root = self._component_moments(c, slots[old])
            theta[old] = mean + (root @ noise[old, :, None])[..., 0]
        return theta

    def moments(self, scale: float = 1.0) -> tuple[Array, Array]:
        """Posterior mean (K, d) and covariance (K d, K d), action-major: for small K."""
        (K, d), P, C = (self.num_actions, self.prior.means.shape[1]), len(self.tables[0]), len(self.tables)
        means, covs = np.tile(self.prior.means, (K, 1, 1)), np.tile(scale**2 * self.prior.covs, (K, 1, 1, 1))
        weights = np.tile(self.prior.weights, (K, 1))
        actions = self.tables[0].actions
        weights[actions] = self._weights()
        for c in range(C):
            means[actions, c], root = self._component_moments(c, np.arange(P))
            covs[actions, c] = scale**2 * root @ root.swapaxes(1, 2)
        mean = np.einsum("kc,kcd->kd", weights, means)
        off = means - mean[:, None]
        blocks = np.einsum("kc,kcde->kde", weights, covs + off[..., :, None] * off[..., None, :])
        cov = np.zeros((K, d, K, d))
        cov[np.arange(K), :, np.arange(K), :] = (blocks + blocks.swapaxes(1, 2)) / 2
        return mean, cov.reshape(K * d, K * d)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit, the prior among them."""
        state: dict[str, Array | IntArray] = {f"prior.{name}": array for name, array in self.prior._asdict().items()}
        state["log_weights"] = self._log_weights.copy()
        for c, table in enumerate(self.tables):
            state |= {f"table.{c}.{name}": array for name, array in table.state().items()}
        return state | ({} if self._glm is None else {f"glm.{name}": v for name, v in self._glm.state().items()})

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned, from a posterior with the same prior."""
        for c, table in enumerate(self.tables):
            table.restore(_under(f"table.{c}.", state))
        shape = (len(self.tables[0]), len(self.tables))
        self._log_weights = finite_array("log_weights", state["log_weights"], shape)
        if self._glm is not None:
            self._glm.restore(_under("glm.", state))
        self.unplayed = UnplayedActions(self.num_actions, self.tables[0].actions.tolist())


def _under(prefix: str, arrays: Mapping[str, Array | IntArray]) -> dict[str, Array | IntArray]:
    """The arrays whose names begin with ``prefix``, under their names without it."""
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
