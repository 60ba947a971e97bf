"""The table of played actions under generalised linear rewards: their rewards, and evidence expanded at a point."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.expansion import expand, fit_mle, refuse_overflow
from dts_gym.posteriors.glm.map_expansion import WIDEST, Expansion, NormalPrior, at_map, prior_std
from dts_gym.posteriors.glm.sites import Rewards, Sites
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray, factor_and_inverse
from dts_gym.utils.columns import Columns
from dts_gym.utils.validation import choice, covariance, finite_array, integer, integers, positive

Mode = Literal["map", "mle", "online"]
# An action's sites are merged when there are as many; "mle" keeps all rewards.
_MOST_SITES = {"map": 1 << 10, "online": 1 << 8}


class GLMTable:
    """Evidence of the played actions, each expanded at one point of its own.

    Parameters
    ----------
    model : distribution of a reward given ``x' theta``.
    dim : d, the dimension of the parameters.
    mode : where an action's rewards are expanded, all of them anew each time it is played:

        - "map": at the action's MAP under the prior passed to `observe`, with the mean corrected by `mean_pull`.
        - "online": as "map", with fewer sites.
        - "mle": at the maximum-likelihood estimate, see `fit_mle`; the prior is not used.
    ridge : weight of the ridge estimate of "mle", see `fit_mle`.

    Notes
    -----
    Exact for Gaussian rewards in all modes, for the others a second-order expansion. Only the played action is fitted,
    starting from its last point: O(n d^2 + d^3) for a Newton step with its n sites, two to four steps. A reward adds a
    site. When there are 1024 (for "online" 256) they are merged into half as many or fewer, see `Sites`. Before that
    "map" and "online" are equal and nothing is lost; nor is anything lost later if the contexts take no more than half
    that many different values. Memory is O(d^2) for each played action and O(d) for each site. With "mle" all rewards
    are kept, and time and memory grow with them.

    Attributes
    ----------
    slots : row of each played action.
    columns : the rows' arrays.

    Examples
    --------
    >>> from dts_gym.problem.rewards import BernoulliReward
    >>> table = GLMTable(BernoulliReward(), dim=1)
    >>> table.observe(7, np.array([2.0]), 1.0, mean=np.zeros(1), cov=np.eye(1)).G.round(4)
    array([[0.7708]])
    >>> table.actions, table.points.round(4)
    (array([7]), array([[0.5213]]))
    """

    def __init__(self, model: RewardModel, dim: int, mode: Mode = "map", ridge: float = 0.01) -> None:
        if not isinstance(model, RewardModel):
            raise ValueError(f"model must be a dts_gym RewardModel, got {model!r:.200}")
        choice("mode", mode, get_args(Mode))
        self.model = model
        self.dim = integer("dim", dim, 1)
        self.mode: Mode = mode
        self.ridge = positive("ridge", ridge)
        self.slots: dict[int, int] = {}
        self._sites: list[Sites] = []
        self.columns = Columns(
            {
                "actions": ((), np.int64),
                "G": ((self.dim, self.dim), np.float64),
                "h": ((self.dim,), np.float64),
                "points": ((self.dim,), np.float64),
                "means": ((self.dim,), np.float64),
            }
        )
        # The last covariance with its factor and a left inverse of that: it rarely changes where nothing is shared.
        self._factored = (np.full((self.dim, self.dim), np.nan), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def actions(self) -> IntArray:
        """(P,) the played actions, in the order of their first play."""
        return self.columns.used("actions")

    @property
    def points(self) -> Array:
        """(P, d) where each action was last expanded."""
        return self.columns.used("points")

    @property
    def means(self) -> Array:
        """(P, d) means of the actions' parameters given all that was known when they were last expanded."""
        return self.columns.used("means")

    def evidence(self) -> Evidence:
        """``G`` (P, d, d) and ``h`` (P, d) of the played actions: views, to read until the next `observe`."""
        return Evidence(self.columns.used("G"), self.columns.used("h"))

    def observe(
        self, action: int, context: Any, reward: Any, mean: Any | None = None, cov: Any | None = None
    ) -> Evidence:
        """Add one reward, and expand the action's anew.

        Parameters
        ----------
        action : played action, >= 0.
        context : (d,) context.
        reward : reward in the family's support.
        mean, cov : (d,) and (d, d) PSD, the action's prior; "mle" does not use it.

        Returns
        -------
        Evidence
            The action's evidence, (d, d) and (d,).

        Raises
        ------
        ValueError
            For a bad argument, a context under which ``x' theta`` has a prior standard deviation above 1e7 (the limit
            at which floating point still resolves the evidence of rewards that are not Gaussian; not checked for
            "mle"), or contexts and rewards whose products overflow; the table is unchanged.
        """
        number = integer("action", action, 0)
        x = finite_array("context", context, (self.dim,))
        y = self.model.check(reward)
        with np.errstate(over="ignore"):
            if not np.isfinite(x @ x):
                raise ValueError(f"context must have finite products, got {x}")
        return self.learn(number, x, y, self._checked_prior(mean, cov))

    def learn(self, action: int, context: Array, reward: float, prior: NormalPrior) -> Evidence:
        """`observe` with what is checked already: products may overflow, and the prior be too wide.

        ValueError for these; the table is then unchanged.
        """
        if self.mode != "mle" and not isinstance(self.model, GaussianReward):
            _refuse_wide(context, prior)
        slot, sites = self.slots.get(action), self.sites_of(action)
        found = self._expanded(slot, sites.with_one(context, reward), sites.rest, prior)
        self._store(self.keep(action, sites, found.point, found.root), found)
        return found.evidence

    def sites_of(self, action: int) -> Sites:
        """The sites of an action, empty ones where it has none."""
        slot = self.slots.get(action)
        return Sites(self.dim) if slot is None else self._sites[slot]

    def keep(self, action: int, sites: Sites, point: Array, root: Array) -> int:
        """Let the reward that was shown to an action's sites count; the row of the action, to be stored there.

        ``point`` and ``root`` are those of its expansion, see `Sites.merge`.
        """
        slot = self.slots.get(action)
        if slot is None:
            slot = self._append(action, sites)
        sites.keep()
        if sites.length >= _MOST_SITES.get(self.mode, math.inf):
            sites.merge(self.model, _MOST_SITES[self.mode] // 2, point, root)
        return slot

    def expand_again(self, action: int, prior: NormalPrior) -> Evidence:
        """Expand a played action's rewards anew, its prior having changed; arguments and result as of `learn`."""
        slot = self.slots[action]
        sites = self._sites[slot]
        found = self._expanded(slot, sites.used(), sites.rest, prior)
        self._store(slot, found)
        return found.evidence

    def _expanded(self, slot: int | None, rewards: Rewards, rest: Evidence | None, prior: NormalPrior) -> Expansion:
        """Expand rewards and the rest of them, from where the action was; ValueError where products overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            begin = None if slot is None else self.points[slot]
            is_mle = self.mode == "mle"
            found = self._at_mle(rewards, begin) if is_mle else at_map(self.model, rewards, rest, prior, begin)
        refuse_overflow(found.mean, found.evidence)
        return found

    def _at_mle(self, rewards: Rewards, begin: Array | None) -> Expansion:
        begin = np.zeros(self.dim) if begin is None else begin
        point, _ = fit_mle(self.model, rewards.contexts, rewards.sums, self.ridge, begin)
        return Expansion(expand(self.model, *rewards[:2], point), point, point, np.empty(0))

    def _store(self, slot: int, found: Expansion) -> None:
        self.columns["G"][slot], self.columns["h"][slot] = found.evidence
        self.columns["points"][slot], self.columns["means"][slot] = found.point, found.mean

    def _checked_prior(self, mean: Any, cov: Any) -> NormalPrior:
        if self.mode == "mle":
            return NormalPrior(*[np.empty(0)] * 3)
        center = finite_array("mean", mean, (self.dim,))
        checked = finite_array("cov", cov, (self.dim, self.dim))
        found = self.prior(center, checked)
        # What its factor gives back is a covariance; the slow look is for others, which it refuses or evens out.
        if np.abs(found.root @ found.root.T - checked).max() > 1e-12 * np.abs(checked).max():
            return self.prior(center, covariance("cov", cov, self.dim))
        return found

    def prior(self, mean: Array, cov: Array) -> NormalPrior:
        """The prior of a mean (d,) and a covariance (d, d), not checked; the factor of the last one is remembered."""
        if not (cov == self._factored[0]).all():
            self._factored = (cov.copy(), *factor_and_inverse(cov))
        return NormalPrior(mean, *self._factored[1:])

    def _append(self, action: int, sites: Sites) -> int:
        slot = len(self.slots)
        self.columns.append()
        self.actions[slot] = action
        self._sites.append(sites)
        self.slots[action] = slot
        return slot

    def adopt(self, action: int, other: GLMTable, its: int) -> None:
        """Move the action ``its`` of another table here, with its rewards, under a new number."""
        slot = other.slots[its]
        row = self._append(action, other._sites[slot])
        for name in ("G", "h", "points", "means"):
            self.columns[name][row] = other.columns[name][slot]
        other.remove(its)

    def remove(self, action: int) -> None:
        """Remove an action and its rewards; its row goes to the last one."""
        slot, last = self.slots.pop(action), int(self.actions[-1])
        self.columns.remove(slot)
        self._sites[slot] = self._sites[-1]
        self._sites.pop()
        if last != action:
            self.slots[last] = slot

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit, the sites one action after the other."""
        arrays: dict[str, Array | IntArray] = self.columns.state()
        nothing = Evidence(np.zeros((self.dim, self.dim)), np.zeros(self.dim))
        used, rests = [sites.used() for sites in self._sites], [sites.rest or nothing for sites in self._sites]
        arrays["lengths"] = np.array([sites.length for sites in self._sites], dtype=np.int64)
        arrays["contexts"] = np.concatenate([np.empty((0, self.dim)), *(each.contexts for each in used)])
        arrays["rewards"] = np.concatenate([np.empty(0), *(each.sums for each in used)])
        arrays["counts"] = np.concatenate([np.empty(0), *(each.counts + 0 * each.sums for each in used)])
        arrays["rest.G"] = np.array([rest.G for rest in rests]).reshape(-1, self.dim, self.dim)
        arrays["rest.h"] = np.array([rest.h for rest in rests]).reshape(-1, self.dim)
        return arrays

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned, from a table of the same model, dim, mode and ridge."""
        self.columns.restore(state)
        self.slots = {int(action): slot for slot, action in enumerate(state["actions"])}
        ends = np.cumsum(integers("lengths", state["lengths"], len(self.slots), 1 << 62))
        count = int(ends[-1]) if len(ends) else 0
        shapes = {"contexts": (count, self.dim), "rewards": (count,), "counts": (count,)}
        parts = [np.split(finite_array(name, state[name], shape), ends[:-1]) for name, shape in shapes.items()]
        rests = zip(state["rest.G"], state["rest.h"], strict=True)
        sites = zip(*parts, (Evidence(*rest) for rest in rests), strict=False)  # an empty table has an empty part
        self._sites = [Sites.of(*each) for each in sites]


def _refuse_wide(context: Array, prior: NormalPrior) -> None:
    std, is_resolved = prior_std(context, prior)
    if not is_resolved:
        raise ValueError(
            f"context must give x' theta a prior standard deviation of at most {WIDEST:g}, got {float(std):.3g} for "
            f"{context}: scale contexts or parameters"
        )
