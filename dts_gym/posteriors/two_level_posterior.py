"""The two-level Gaussian posterior to which every linear chain collapses: exact, O(d^2) in each round.

A chain of affine links with Gaussian noise is, action by action, ``theta_a = m + delta_a`` with
``m ~ N(m0, C)`` shared by all actions and ``delta_a ~ N(0, S)`` of its own. dTS, HierTS, MarginalLinTS,
LinTS and LinUCB are this one posterior with different ``(m0, C, S)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter

import numpy as np

from dts_gym.posteriors.action_posterior import NOTHING
from dts_gym.posteriors.action_table import Dtype, Increment
from dts_gym.posteriors.careful_posterior import CarefulPosterior
from dts_gym.posteriors.evidence import learn, learn_all
from dts_gym.posteriors.fast.switch import kernels
from dts_gym.posteriors.precise_rows import LIMIT, Observation, PreciseRows
from dts_gym.posteriors.reference import Near, Reference
from dts_gym.priors.two_level import TwoLevelPrior
from dts_gym.utils.arrays import Array, IntArray, factor
from dts_gym.utils.twofold import Twofold, product

_LEARNED = itemgetter("cov", "cov_carry", "beta", "beta_carry", "G", "h")  # columns that a reward changes
_FIRST = np.zeros(1, dtype=np.int64)
_UNIT = float(np.finfo(np.float64).eps)


class TwoLevelPosterior(CarefulPosterior):
    """Posterior of ``theta_a = m + delta_a`` under Gaussian rewards, and the actions that it picks.

    Parameters
    ----------
    prior : ``(m0, C, S)``.
    num_actions : K, the number of actions; only played ones are stored, so a large K costs nothing.
    noise_std : standard deviation of the rewards.
    dtype : precision of the matrices that choices read, see `ActionPosterior`.

    Notes
    -----
    Exact. ``scale`` is the exploration scale: every posterior standard deviation is multiplied by it (inference on the
    tempered model). An update costs O(d^2), the choice of an action one pass over the played actions' packed matrices.
    Rewards are centred by ``context' m0``. A reward is one scalar observation of ``m``, whose posterior is kept in
    square-root form: PSD whatever the noise and the contexts.
    """

    def __init__(self, prior: TwoLevelPrior, num_actions: int, noise_std: float, *, dtype: Dtype = "float64") -> None:
        super().__init__(prior.mean, prior.action_cov, num_actions, dtype, prior.shared_cov)
        self.noise_std = noise_std
        # m = mean + root eps, eps ~ N(0, I_r); r = 0 where nothing is shared.
        self._mean = np.zeros(prior.mean.size)  # (d,)
        self._root = self.table.inverse @ factor(prior.shared_cov)  # (d, r)
        self.prior_root, self._shared_cov = self._root.copy(), prior.shared_cov
        self._weight = np.zeros(1)
        self._near = Reference(self.table, self._is_fast)

    @property
    def shared(self) -> tuple[Array, Array, Array]:
        """The shared part in the table's coordinates, mean (d,) and root (d, r); r = 0 where nothing is shared.

        The third array, (1,), is the trace of the precision that rewards have added to that of the prior's ``eps``.
        """
        return self._mean, self._root, self._weight

    @shared.setter
    def shared(self, arrays: tuple[Array, Array, Array]) -> None:
        self._mean, self._root, self._weight = arrays

    def update(self, context: Array, action: int, reward: float) -> None:
        """Condition on one reward."""
        self._mark_played(action)
        if not (self._is_fast and self._narrow is None and self._learn_compiled(context, action, reward)):
            self._absorb(self.table.observe(action, context, reward, self.noise_std**2))

    def _learn_compiled(self, context: Array, action: int, reward: float) -> bool:
        """`update` by the compiled kernel; False, with nothing learned, where a part would need twofold precision."""
        table = self.table
        slot = table.slot_of(action)
        weight = kernels().learn_reward(
            slot,
            np.array(context),
            float(reward),
            self.noise_std**2,
            LIMIT,
            _LEARNED(table.columns.arrays),
            table.constants,
            (self._mean, self._root, self.prior_root, self._weight),
        )
        table.after_compiled(slot, weight)
        return bool(weight >= 0.0)

    def _noise_variance(self, predictor: float) -> float:
        return self.noise_std**2

    def _absorb(self, increment: Increment) -> None:
        if not self._root.size:
            return
        v, variance, residual, precise = increment
        reach = v @ self.prior_root
        if self._is_narrow_after(float(reach @ reach) / variance, precise is not None):
            self._narrow_by(self._told(precise) if precise else self._observed(v, variance, residual))
        else:
            learn(self._mean, self._root, v @ self._root, residual - float(v @ self._mean), variance)

    def _is_narrow_after(self, weight: float, is_precise: bool) -> bool:
        """Add to the weight of the rewards; whether the shared part needs twofold precision then.

        It does where it is narrow itself, and where an action that tells of it has a precise row.
        """
        self._weight += weight
        if self._narrow is None and (is_precise or self._weight[0] > LIMIT):
            self._make_narrow(is_new=bool(self._weight[0] == weight))
        return self._narrow is not None

    def _make_narrow(self, is_new: bool, lost: float = 0.0) -> None:
        d = len(self._mean)
        if self._is_turned:
            mean, cov = Twofold(self._mean.copy()), product(self._root, self._root.T)
        else:
            root = self.table.basis @ self._root
            exact = is_new and root.shape[1] == d
            mean = (Twofold(self.table.basis) * self._mean).sum(-1)
            cov = Twofold(self._shared_cov) if exact else product(root, root.T)
        self._narrow = PreciseRows(d)
        self._narrow.append(mean, cov, Twofold(np.eye(d)), lost)

    def _told(self, seen: Observation) -> Observation:
        """What an action's precise row says, in the coordinates of the shared part's."""
        assert seen.gain is not None
        x, x_error = self._in_shared(Twofold.of(seen.x), np.asarray(seen.x_error), seen.gain)
        return seen._replace(x=x, x_error=x_error)

    def _observed(self, v: Array, variance: float, residual: float) -> Observation:
        """An increment in the coordinates of the shared part's precise row, with its rounding."""
        to = np.eye(len(v)) if self._is_turned else self.table.inverse
        error = len(v) * _UNIT * (np.abs(v) @ np.abs(to))
        rounded = _UNIT * (abs(residual) + abs(residual - float(v @ self._mean)))  # of the residual and the variance
        return Observation(Twofold((v @ to)[None]), Twofold([residual]), Twofold([variance]), error[None], rounded)

    def _narrow_by(self, seen: Observation) -> None:
        assert self._narrow is not None
        mean = self._narrow.moments(_FIRST)[0][0]
        self._narrow.observe(_FIRST, seen._replace(value_error=seen.value_error + seen.x_error @ np.abs(mean)))
        mean, root, _ = (part[0] for part in self._narrow.moments(_FIRST))
        to = np.eye(len(mean)) if self._is_turned else self.table.inverse
        self._mean, self._root = to @ mean, to @ root

    def update_all(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Condition on n rewards, (n, d), (n,) and (n,), in one pass: `update` one by one, to rounding.

        O(n d^2), in array operations: see `ActionTable.observe_all` and `learn_all`.
        """
        for action in dict.fromkeys(actions.tolist()):
            self._mark_played(action)
        v, variance, residual, precise = self.table.observe_all(actions, contexts, rewards, self.noise_std**2)
        if not self._root.size:
            return
        reach = v @ self.prior_root
        if not self._is_narrow_after(float((reach * reach / variance[:, None]).sum()), bool(precise)):
            learn_all(self._mean, self._root, v @ self._root, residual - v @ self._mean, variance)
            return
        for i in range(len(actions)):
            one = precise.get(i)
            observed = self._observed(v[i], float(variance[i]), float(residual[i])) if one is None else self._told(one)
            self._narrow_by(observed)

    def _draw_shared(self, lead: tuple[int, ...], rng: np.random.Generator, scale: float) -> Array | None:
        if not self._root.size:
            return None
        noise = rng.standard_normal((*lead, self._root.shape[1]))
        return np.asarray(self._mean + scale * (noise @ self._root.T))

    def _draw_compiled(self, rng: np.random.Generator, scale: float) -> tuple[Array, Array, Array]:
        if not self._root.size:
            return NOTHING, self._root, NOTHING
        return self._mean, self._root, rng.standard_normal((self._root.shape[1],))

    def _reference(self) -> Near:
        return self._near.read(self._mean, self._root) if self._root.size else Near(self.table.beta, NOTHING)

    def _shared_moments(self, scale: float) -> tuple[Array, Array]:
        return self._mean, self._root if scale == 1.0 else scale * self._root

    def retire(self, action: int) -> None:
        """Forget an action's own part, which is unplayed then; what its rewards told of the shared part stays. O(d^2).

        Exact: the old action is integrated out.
        """
        if action in self.table.slots:
            self.table.remove(action)
            self.unplayed.add(action)

    def _shared_state(self) -> Mapping[str, Array | IntArray]:
        narrow = {} if self._narrow is None else {f"narrow.{name}": v for name, v in self._narrow.state().items()}
        return {"mean": self._mean.copy(), "root": self._root.copy(), "weight": self._weight.copy(), **narrow}

    def _restore_shared(self, state: Mapping[str, Array | IntArray]) -> None:
        self._mean = np.array(state["mean"], dtype=np.float64)
        self._root = np.array(state["root"], dtype=np.float64, order="C")
        narrow = {name.removeprefix("narrow."): v for name, v in state.items() if name.startswith("narrow.")}
        self._narrow = None
        if narrow:
            self._narrow = PreciseRows(len(self._mean))
            self._narrow.restore(narrow)
        if "weight" in state:
            self._weight = np.array(state["weight"], dtype=np.float64)
        elif self._root.size:  # of a file from before: rounding past the limit is lost
            shrunk = np.linalg.svd(np.linalg.lstsq(self.prior_root, self._root)[0], compute_uv=False)
            self._weight = np.array([(1.0 / np.maximum(shrunk, _UNIT) ** 2 - 1.0).sum()])
            if self._weight[0] > LIMIT:
                self._make_narrow(is_new=False, lost=_UNIT * float(self._weight[0]))
