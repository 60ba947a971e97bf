"""The posterior of mixed effects under generalised linear rewards, each action's evidence expanded at one point."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import DTypeLike

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_table import GLMTable, Mode
from dts_gym.posteriors.glm.map_expansion import NormalPrior
from dts_gym.posteriors.glm.renewal import expanded_again, looked_at, stalest
from dts_gym.posteriors.glm.retired_items import RetiredItems, past_own_part, solved
from dts_gym.posteriors.mixed_effects.choices import MixedEffectChoices
from dts_gym.posteriors.mixed_effects.posterior import MixedEffectPosterior
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray

# The effects' evidence is summed anew after this many changes, so that rounding cannot accumulate.
_SUMMED_EVERY = 256


def mixed_effect_posterior(
    prior: MixedEffectPrior, model: RewardModel, expansion: Mode
) -> MixedEffectPosterior | GLMMixedEffectPosterior:
    """The posterior of mixed effects before any data: exact for Gaussian rewards, else expanded."""
    if isinstance(model, GaussianReward):
        return MixedEffectPosterior(prior, model.noise_std)
    return GLMMixedEffectPosterior(prior, model, expansion)


class GLMMixedEffectPosterior(MixedEffectChoices):
    """Posterior of mixed effects under rewards of mean ``g(x' theta_a)``, by quadratic evidence.

    Parameters
    ----------
    prior : the distribution of effects and actions.
    model : distribution of the rewards.
    expansion : where the evidence is expanded, see `GLMTable`: "map", "mle" or "online".

    Notes
    -----
    Exact for Gaussian rewards. For the others each action's log-likelihood is expanded at one point, as in
    `GLMPosterior`: its most probable parameters given all data, the other actions' through the effects. Given that
    evidence ``(G_a, h_a)`` the posterior is exact: action a tells of its ``W_a psi`` what is left after its own part,
    ``(I + G_a S_a)^-1`` times it, and the effects' precision is the sum of these. An update costs O(q^3 + q^2 d), and
    the refit of the played action.
    """

    def __init__(self, prior: MixedEffectPrior, model: RewardModel, expansion: Mode = "map") -> None:
        super().__init__(prior)
        self._glm = GLMTable(model, prior.dim, expansion)
        self._expands = expansion != "mle" and not isinstance(model, GaussianReward)
        self._prior_root = self._root.copy()  # (q, r), the effects are root z less their mean, z ~ N(0, I)
        r = self._root.shape[1]
        self._sums = Evidence(np.eye(r), np.zeros(r))  # precision and natural mean of z, with those of retired items
        self._retired = RetiredItems(model, prior.dim, r, expansion)
        self._changes = 0

    def _more(self) -> dict[str, tuple[tuple[int, ...], DTypeLike]]:
        # What an action tells of its W psi less the mean of that.
        return {"gamma": ((self.dim, self.dim), np.float64), "beta": ((self.dim,), np.float64)}

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        G, h = self._glm.learn(action, context, reward, self._without(action))
        self._replace(action, G, h)
        self._changes += 1
        self._solve()
        is_solved = True
        if self._expands and self._root.size:
            slots = looked_at(self._changes, len(self._slots))
            stale = stalest(self._glm, slots, self._own_means(slots))
            again = None if stale is None else expanded_again(self._glm, int(self.actions[stale]), self._without)
            if stale is not None and again is not None:
                self._replace(int(self.actions[stale]), *again)
                is_solved = False
            told = self._retired.renew(self._sums, self._changes)
            if told is not None:
                self._sums = Evidence(self._sums.G + told.G, self._sums.h + told.h)
                is_solved = False
        if self._changes % _SUMMED_EVERY == 0:
            self._sum()
            is_solved = False
        if not is_solved:
            self._solve()

    def expect(self, context: Array, action: int) -> None:
        """Condition on a reward that is equal to its mean, expanded at the mean of ``x' theta``."""
        mean = self._mean(context, action)
        self._observe(context, action, mean, self._glm.model.observed_variance(mean))

    def _maps(self, action: int) -> Array:
        """How an action's parameters follow ``z``, (d, r)."""
        one, r = self.prior.mixing[action], self._prior_root.shape[1]
        if not self._by_weights:
            return np.asarray(one @ self._prior_root)
        return np.asarray((one @ self._prior_root.reshape(len(one), self.dim * r)).reshape(self.dim, r))

    def _own_root(self, action: int) -> Array:
        return self._own_roots if self._own_roots.ndim == 2 else np.asarray(self._own_roots[action])

    def _replace(self, action: int, G: Array, h: Array) -> None:
        """Replace an action's evidence, (d, d) and (d,); the effects are solved for later."""
        slot, R, d = self._slot_of(action), self._own_root(action), self.dim
        gamma, beta = past_own_part(G, h - G @ self._centers[action], R)
        values, vectors = np.linalg.eigh(R.T @ G @ R)
        self._add_up(self._maps(action), gamma - self._learned["gamma"][slot], beta - self._learned["beta"][slot])
        self._learned["gamma"][slot], self._learned["beta"][slot] = gamma, beta
        self._learned["pull"][slot, :d] = (vectors / np.sqrt(1.0 + values.clip(0.0))).T
        self._learned["pull"][slot, d:] = gamma @ R
        self._learned["own"][slot] = R.T @ beta

    def _add_up(self, maps: Array, gamma: Array, beta: Array) -> None:
        if maps.size:
            self._sums = Evidence(self._sums.G + maps.T @ gamma @ maps, self._sums.h + beta @ maps)

    def _sum(self) -> None:
        """Sum up the evidence on the effects anew."""
        retired = self._retired.total()
        self._sums = Evidence(np.eye(len(retired.h)) + retired.G, retired.h)
        for slot, action in enumerate(self.actions.tolist()):
            self._add_up(self._maps(action), self._learned["gamma"][slot], self._learned["beta"][slot])

    def _solve(self) -> None:
        """The effects' mean and root, given the evidence."""
        if self._root.size:
            half = solved(self._sums, self._prior_root)
            self._root = np.ascontiguousarray(half[:, :-1].T)
            self._effects, self._stale = self._root @ half[:, -1], np.inf

    def _without(self, action: int) -> NormalPrior:
        """The distribution of an action's parameters given the other actions' data."""
        R, center, slot = self._own_root(action), self._centers[action], self._slots.get(action)
        if not self._root.size:
            return self._glm.prior(center, R @ R.T)
        maps, others = self._maps(action), self._sums
        if slot is not None:
            gamma, beta = self._learned["gamma"][slot], self._learned["beta"][slot]
            others = Evidence(others.G - maps.T @ gamma @ maps, others.h - beta @ maps)
        half = solved(others, maps)
        turned = half[:, :-1].T
        return self._glm.prior(center + turned @ half[:, -1], turned @ turned.T + R @ R.T)

    def _own_means(self, slots: IntArray) -> Array:
        """Posterior means of the parameters of the actions in some rows, (k, d)."""
        actions, d = self.actions[slots], self.dim
        mixing = self.prior.mixing[actions]
        moved = np.asarray(mixing @ (self._effects.reshape(-1, d) if self._by_weights else self._effects))
        own = self._learned["own"][slots] - np.vecmat(moved, self._learned["pull"][slots, d:])
        roots = self._own_roots if self._own_roots.ndim == 2 else self._own_roots[actions]
        return np.asarray(self._centers[actions] + moved + np.matvec(roots, own))

    def retire(self, action: int, prior: MixedEffectPrior | None = None) -> None:
        """Forget an action's own part; what its expanded rewards told of the effects stays. See `MixedEffectRows`.

        The rewards of the last 256 retired items are kept, to be expanded again as the effects move.
        """
        if action in self._slots:
            self._retired.take(self._glm, action, self._maps(action), self._centers[action], self._own_root(action))
        super().retire(action, prior)

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit."""
        glm = {f"glm.{name}": array for name, array in self._glm.state().items()}
        sums: dict[str, Array | IntArray] = {"precision": self._sums.G, "natural": self._sums.h}
        sums |= {f"retired.{name}": array for name, array in self._retired.state().items()}
        counts = {"changes": np.array([self._changes], dtype=np.int64)}
        return {**super().state(), **glm, **{name: array.copy() for name, array in sums.items()}, **counts}

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned."""
        super().restore(state)
        self._glm.restore({name.removeprefix("glm."): v for name, v in state.items() if name.startswith("glm.")})
        retired = {name.removeprefix("retired."): v for name, v in state.items() if name.startswith("retired.")}
        self._retired.restore(retired)
        self._sums = Evidence(*(np.array(state[name], dtype=np.float64) for name in ("precision", "natural")))
        self._changes = int(state["changes"][0])
