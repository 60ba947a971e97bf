"""The posterior of a linear chain under generalised linear rewards, each action's evidence expanded at one point."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dts_gym.posteriors.action_posterior import ActionPosterior
from dts_gym.posteriors.action_table import Dtype, Increment
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.glm_table import GLMTable, Mode
from dts_gym.posteriors.glm.map_expansion import NormalPrior
from dts_gym.posteriors.glm.renewal import renew
from dts_gym.posteriors.glm.retired_items import RetiredItems
from dts_gym.posteriors.glm.shared_part import about_root, around_shared, moments_given, of_action
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray, factor

# The sum of messages is recomputed after this many changes, so that rounding cannot accumulate.
REFRESH_EVERY = 256


def posterior_under(
    model: RewardModel, prior: TwoLevelPrior, num_actions: int, expansion: Mode = "map", dtype: Dtype = "float64"
) -> ActionPosterior:
    """The posterior of ``theta_a = m + delta_a`` under rewards of ``model``: nothing is expanded if they are Gaussian.

    `TwoLevelPosterior` then, in ``dtype``: exact however much rewards outweigh the prior; else `GLMPosterior`.
    """
    if isinstance(model, GaussianReward):
        return TwoLevelPosterior(prior, num_actions, model.noise_std, dtype=dtype)
    return GLMPosterior(prior, num_actions, model, expansion)


class GLMPosterior(ActionPosterior):
    """Posterior of ``theta_a = m + delta_a`` under rewards of mean ``g(x' theta_a)``, by quadratic evidence.

    Parameters
    ----------
    prior : ``(m0, C, S)``.
    num_actions : K, the number of actions; only played ones are stored, so a large K costs nothing.
    model : distribution of the rewards.
    expansion : where the evidence is expanded, see `GLMTable`: "map", "mle" or "online".

    Notes
    -----
    Exact for Gaussian rewards. For the others each action's log-likelihood is expanded at one point: its most probable
    parameters given all data, the other actions' through the shared part, anew when the action is played and when the
    others' data have moved it (see `renewal`). Given that evidence the posterior is exact. An update
    refits the played action (see `GLMTable`), O(n d^2 + d^3) with its n sites, and at most one other, and checks 64; a
    choice costs what it does for Gaussian rewards.

    Attributes
    ----------
    glm : the actions' rewards and their expansions, in rows as those of the table.
    shared_root : (d, r), ``m = shared_root z`` with ``z ~ N(0, I)`` before any data, in the table's coordinates.
    retired : retired items, whose rewards still tell of the shared part.
    changes : number of rewards learned.
    """

    def __init__(self, prior: TwoLevelPrior, num_actions: int, model: RewardModel, expansion: Mode = "map") -> None:
        super().__init__(prior.mean, prior.action_cov, num_actions)
        self._action_cov = prior.action_cov
        self.glm = GLMTable(model, prior.mean.size, expansion)
        self._expands = expansion != "mle" and not isinstance(model, GaussianReward)
        self._maps = factor(prior.shared_cov)  # (d, r), of z in the parameters' own coordinates
        self.shared_root = self.table.inverse @ self._maps
        r = self.shared_root.shape[1]
        self.retired = RetiredItems(model, prior.mean.size, r, expansion)
        self._precision, self._natural = np.eye(r), np.zeros(r)  # of z given the evidence
        self.changes = 0
        self._solved: tuple[Array, Array] | None = None

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        G, h = self.glm.learn(action, context, reward, self._without(action))
        self._mark_played(action)
        self._absorb_change(self.table.replace(action, G, h - G @ self.center))
        self.changes += 1
        root = self.shared_root
        if root.size and self._expands:
            mean, _ = self._shared_moments(1.0)
            renewed = renew(self.glm, self.table, self.center, mean, self._without, self.changes)
            if renewed is not None:
                self._absorb_change(renewed)
            told = self.retired.renew(self.known, self.changes)
            if told is not None:
                self._add_up(told)
        if self.changes % REFRESH_EVERY == 0:
            total = about_root(self.table.total(), root)
            retired = self.retired.total()
            self._precision, self._natural = np.eye(root.shape[1]) + total.G + retired.G, total.h + retired.h
            self._solved = None

    @property
    def known(self) -> Evidence:
        """Precision (r, r) and natural mean (r,) of ``z``, given the evidence."""
        return Evidence(self._precision, self._natural)

    def take_over(self, known: Evidence, changes: int) -> None:
        """Hold what was learned with other runs' posteriors, when the tables hold it already."""
        (self._precision, self._natural), self.changes, self._solved = known, changes, None

    def _absorb_change(self, change: Evidence) -> None:
        if self.shared_root.size:
            self._add_up(about_root(change, self.shared_root))

    def _add_up(self, told: Evidence) -> None:
        """Add evidence on ``z``."""
        self._precision += told.G
        self._natural += told.h
        self._solved = None

    def retire(self, action: int) -> None:
        """Forget an action's own part, which is unplayed then; what its rewards told of the shared part stays.

        Given the evidence exact: the old action is integrated out. The rewards of the last 256 retired items are kept,
        to be expanded again as later rewards move the shared part. O(r d^2), and O(d) for each reward.
        """
        if action in self.table.slots:
            self.retired.take(self.glm, action, self._maps, self.center, factor(self._action_cov))
            self.table.remove(action)
            self.unplayed.add(action)

    def _noise_variance(self, predictor: float) -> float:
        return self.glm.model.observed_variance(predictor)

    def _absorb(self, increment: Increment) -> None:
        reach = increment.v @ self.shared_root
        self._precision += np.multiply.outer(reach, reach / increment.variance)
        self._natural += reach * (increment.residual / increment.variance)
        self._solved = None

    def _without(self, action: int) -> NormalPrior:
        """The distribution of an action's parameters given the other actions' data."""
        slot, root, table = self.table.slots.get(action), self.shared_root, self.table
        if not root.size and table.reached.all():
            return NormalPrior(self.center, table.basis, table.inverse)
        precision, natural = self._precision, self._natural
        if slot is not None and root.size:
            told = about_root(Evidence(table.gamma(slot), table.beta[slot]), root)
            precision, natural = precision - told.G, natural - told.h
        mean, spread = around_shared(precision, natural, root)
        if table.reached.all():
            return of_action(self.center, table.basis, table.inverse, mean, spread)
        spread = table.basis @ spread
        return self.glm.prior(self.center + table.basis @ mean, self._action_cov + spread @ spread.T)

    def _draw_shared(self, lead: tuple[int, ...], rng: np.random.Generator, scale: float) -> Array | None:
        if not self.shared_root.size:
            return None
        mean, root = self._shared_moments(scale)
        return np.asarray(mean + rng.standard_normal((*lead, root.shape[1])) @ root.T)

    def _shared_moments(self, scale: float) -> tuple[Array, Array]:
        if self._solved is None:
            self._solved = moments_given(self._precision, self._natural, self.shared_root)
        mean, root = self._solved
        return mean, scale * root

    def _shared_state(self) -> Mapping[str, Array | IntArray]:
        glm = {f"glm.{name}": array for name, array in self.glm.state().items()}
        counts = np.array([self.changes], dtype=np.int64)
        retired = {f"retired.{name}": array for name, array in self.retired.state().items()}
        known = {"precision": self._precision.copy(), "natural": self._natural.copy()}
        return {**glm, **retired, **known, "changes": counts}

    def _restore_shared(self, state: Mapping[str, Array | IntArray]) -> None:
        self.glm.restore({name.removeprefix("glm."): v for name, v in state.items() if name.startswith("glm.")})
        retired = {name.removeprefix("retired."): v for name, v in state.items() if name.startswith("retired.")}
        self.retired.restore(retired)
        self._precision = np.array(state["precision"], dtype=np.float64, order="C")
        self._natural = np.array(state["natural"], dtype=np.float64)
        self.changes = int(state["changes"][0])
        self._solved = None
