"""The table of played actions under generalised linear rewards: their rounds, and their expanded evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.glm.expansion import expand, fit_map, fit_mle, refuse_overflow
from dts_gym.posteriors.glm.newton import maximise
from dts_gym.problem.rewards import GaussianReward, RewardModel
from dts_gym.utils.arrays import Array, IntArray, conditioned_root, factor
from dts_gym.utils.columns import Columns
from dts_gym.utils.validation import covariance, finite_array, integer, positive

Mode = Literal["map", "mle", "online"]
_WIDEST = 1e7  # there MAPs are off by up to 1e-4 prior standard deviations, at 1e8 by 1e-2


class GLMTable:
    """Evidence of the played actions, each expanded at one point of its own.

    Parameters
    ----------
    model : distribution of a reward given ``x' theta``.
    dim : d, the dimension of the parameters.
    mode : where an action's rewards are expanded, anew each time it is played:

        - "map": all of them at the action's MAP under the prior passed to `observe`.
        - "mle": all of them at the maximum-likelihood estimate, see `fit_mle`; the prior is not used.
        - "online": only the new one, at the MAP given it and the evidence of the earlier ones, whose points stay.
    ridge : weight of the ridge estimate of "mle", see `fit_mle`.

    Notes
    -----
    Exact for Gaussian rewards in all modes, for the others a second-order expansion; "online" is less accurate,
    because old rewards are expanded at earlier MAPs, and it depends on their order. Only the played action is fitted,
    starting from its last point: O(n d^2 + d^3) for a Newton step with its n rewards, two to four steps; "online"
    O(d^3). Memory is O(d^2) for each played action and, except for "online", O(d) for each round.

    Attributes
    ----------
    slots : row of each played action.

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
        if mode not in get_args(Mode):
            raise ValueError(f"mode must be one of {get_args(Mode)}, got {mode!r}")
        self.model = model
        self.dim = integer("dim", dim, 1)
        self.mode: Mode = mode
        self.ridge = positive("ridge", ridge)
        self.slots: dict[int, int] = {}
        self._rounds: list[_Rounds] = []
        self._columns = Columns(
            {
                "actions": ((), np.int64),
                "G": ((self.dim, self.dim), np.float64),
                "h": ((self.dim,), np.float64),
                "points": ((self.dim,), np.float64),
            }
        )
        # The last covariance with its factor and the factor's pseudo-inverse, as it rarely changes.
        self._prior = (np.full((self.dim, self.dim), np.nan), np.empty(0), np.empty(0))

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def actions(self) -> IntArray:
        """(P,) the played actions, in the order of their first play."""
        return self._columns.used("actions")

    @property
    def points(self) -> Array:
        """(P, d) where each action was last expanded."""
        return self._columns.used("points")

    def evidence(self) -> Evidence:
        """``G`` (P, d, d) and ``h`` (P, d) of the played actions: views, to read until the next `observe`."""
        return Evidence(self._columns.used("G"), self._columns.used("h"))

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
        prior = None if self.mode == "mle" else self._checked_prior(mean, cov)
        if prior is not None and not isinstance(self.model, GaussianReward):
            _refuse_wide(x, prior[1])
        slot = self.slots.get(number)
        rounds = _Rounds(self.dim) if slot is None else self._rounds[slot]
        with np.errstate(over="ignore", invalid="ignore"):
            if prior is None:
                point, evidence = self._at_mle(slot, *rounds.with_one(x, y))
            elif self.mode == "map":
                point, evidence = self._at_map(slot, *rounds.with_one(x, y), *prior)
            else:
                point, evidence = self._online(slot, x, y, *prior)
        refuse_overflow(point, evidence)
        if slot is None:
            slot = self._append(number, rounds)
        rounds.length += self.mode != "online"
        self._columns["G"][slot], self._columns["h"][slot], self._columns["points"][slot] = (
            evidence.G,
            evidence.h,
            point,
        )
        return evidence

    def _at_mle(self, slot: int | None, X: Array, y: Array) -> tuple[Array, Evidence]:
        point, _ = fit_mle(
            self.model, X, y, self.ridge, np.zeros(self.dim) if slot is None else self._columns["points"][slot]
        )
        return point, expand(self.model, X, y, point)

    def _at_map(self, slot: int | None, X: Array, y: Array, mean: Array, cov: Array) -> tuple[Array, Evidence]:
        _, root, inverse = self._factors(cov)
        z = np.zeros(root.shape[1]) if slot is None else inverse @ (self._columns["points"][slot] - mean)
        point = fit_map(self.model, X, y, mean, root, z)
        return point, expand(self.model, X, y, point)

    def _online(self, slot: int | None, x: Array, y: float, mean: Array, cov: Array) -> tuple[Array, Evidence]:
        """Expand the new reward at its most probable predictor given all before: a problem in one dimension."""
        d = self.dim
        old = (
            Evidence(np.zeros((d, d)), np.zeros(d))
            if slot is None
            else Evidence(self._columns["G"][slot], self._columns["h"][slot])
        )
        root, _ = conditioned_root(self._factors(cov)[1], old.G)  # of the covariance given the old rewards
        before = mean + root @ ((old.h - old.G @ mean) @ root)
        reach = x @ root
        std = np.sqrt((reach @ reach)[None])  # (1,) of the predictor
        reward, offset = np.array([y]), (x @ before)[None]
        z = maximise(self.model, std[:, None], offset, reward, np.zeros(1), 1.0)
        new = expand(self.model, np.ones((1, 1)), reward, offset + std * z)
        point = before + root @ reach * (z / std if std > 0 else z)
        return point, Evidence(old.G + new.G * np.multiply.outer(x, x), old.h + new.h * x)

    def _checked_prior(self, mean: Any, cov: Any) -> tuple[Array, Array]:
        return finite_array("mean", mean, (self.dim,)), self._factors(cov)[0]

    def _factors(self, cov: Any) -> tuple[Array, Array, Array]:
        """The covariance, checked, a factor of it and the factor's pseudo-inverse."""
        known, given = self._prior[0], np.asarray(cov)
        if given.shape != known.shape or not (given == known).all():
            checked = covariance("cov", cov, self.dim)
            root = factor(checked)
            self._prior = (checked, root, np.asarray(np.linalg.pinv(root)))
        return self._prior

    def _append(self, action: int, rounds: _Rounds) -> int:
        slot = len(self.slots)
        self._columns.append()
        self.actions[slot] = action
        self._rounds.append(rounds)
        self.slots[action] = slot
        return slot

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues bit for bit, the rounds one action after the other."""
        arrays: dict[str, Array | IntArray] = self._columns.state()
        arrays["lengths"] = np.array([rounds.length for rounds in self._rounds], dtype=np.int64)
        arrays["contexts"] = np.concatenate([np.empty((0, self.dim)), *(r.contexts[: r.length] for r in self._rounds)])
        arrays["rewards"] = np.concatenate([np.empty(0), *(r.rewards[: r.length] for r in self._rounds)])
        return arrays

    def restore(self, state: Mapping[str, Array | IntArray]) -> None:
        """Restore what `state` returned, from a table of the same model, dim, mode and ridge."""
        self._columns.restore(state)
        self.slots = {int(action): slot for slot, action in enumerate(state["actions"])}
        ends = np.cumsum(state["lengths"])[:-1]
        contexts = np.asarray(state["contexts"], dtype=np.float64)
        rewards = np.asarray(state["rewards"], dtype=np.float64)
        parts = zip(np.split(contexts, ends), np.split(rewards, ends), strict=True)
        self._rounds = [_Rounds(self.dim, X, y) for X, y in parts][: len(self.slots)]


def _refuse_wide(context: Array, cov: Array) -> None:
    with np.errstate(over="ignore"):
        variance = float(context @ cov @ context)
    if not variance <= _WIDEST**2:
        raise ValueError(
            f"context must give x' theta a prior standard deviation of at most {_WIDEST:g}, got "
            f"{math.sqrt(variance):.3g} for {context}: scale contexts or parameters"
        )


class _Rounds:
    """Contexts and rewards of one action, in arrays that grow."""

    def __init__(self, dim: int, contexts: Array | None = None, rewards: Array | None = None) -> None:
        self.contexts = np.empty((0, dim)) if contexts is None else np.array(contexts)
        self.rewards = np.empty(0) if rewards is None else np.array(rewards)
        self.length = len(self.rewards)

    def with_one(self, context: Array, reward: float) -> tuple[Array, Array]:
        """Views of all rounds and one more, which is kept only after ``length`` is increased."""
        n = self.length
        if n == len(self.rewards):
            extra = max(4, n)
            self.contexts = np.concatenate([self.contexts, np.zeros((extra, self.contexts.shape[1]))])
            self.rewards = np.concatenate([self.rewards, np.zeros(extra)])
        self.contexts[n], self.rewards[n] = context, reward
        return self.contexts[: n + 1], self.rewards[: n + 1]
