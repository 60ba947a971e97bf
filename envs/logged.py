"""A log as an environment: replay, round by round."""

from __future__ import annotations

import os
import warnings
from typing import Any

import numpy as np

from dts_gym.envs.rows import RowsEnv, rows_vector_maker
from dts_gym.offpolicy.cautions import REPLAY_ADAPTED, OffPolicyWarning
from dts_gym.offpolicy.log import BanditLog
from dts_gym.priors.chains import as_prior
from dts_gym.priors.prior import Prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import RewardModel, reward_model
from dts_gym.problem.unknown import UnknownPrior, UnknownReward
from dts_gym.utils.arrays import IntArray
from dts_gym.utils.validation import boolean, integer


class LoggedBanditEnv(RowsEnv):
    """The rounds of a log, one after the other: an action is paid where it is the logged one.

    ## Description
    A step shows the next logged context. Where the action is the logged one, it pays the logged reward; elsewhere
    nothing is known, the reward is 0 and ``info["matched"]`` is False. `dts_gym.run` does not learn from such rounds,
    so a run is the replay of Li et al. (2011): under a log of uniform propensities the matched rounds are those that
    the agent would have played. Of a log whose policy learned while it played they are not, which a warning says.

    ## Action Space
    ``Discrete(num_actions)``.

    ## Observation Space
    ``Box(lowest, highest, (dim,), float32)``, the log's contexts, or ``(num_actions, dim)`` with shared features.

    ## Rewards
    The logged reward, or 0. ``info`` holds ``matched``, and ``action_mask`` where the log has masks. Regret is not
    known.

    ## Episode End
    Truncated after ``horizon`` rounds; never terminated.

    ## Arguments
    - ``log``: a `dts_gym.offpolicy.BanditLog`, or a path that ``BanditLog.load`` reads.
    - ``prior=None``: the chain of the actions' parameters, or a file of one, for agents that need a prior.
    - ``reward=None``: reward family, ``"gaussian"``, ``"bernoulli"``, ``"poisson"``; None: the log's, where it is
      known.
    - ``shuffle=False``: whether each episode has the rounds in a random order of its own.
    - ``horizon=None``: number of rounds of an episode; None: all of the log.

    ## Version History
    - v0: first version.
    """

    metadata: dict[str, Any] = {"render_modes": [], "reports_matches": True}  # noqa: RUF012 - Gymnasium's own form

    def __init__(
        self,
        log: BanditLog | str | os.PathLike[str],
        prior: Prior | str | os.PathLike[str] | None = None,
        reward: RewardModel | str | None = None,
        shuffle: bool = False,
        horizon: int | None = None,
    ) -> None:
        rounds = log if isinstance(log, BanditLog) else BanditLog.load(log)
        if rounds.adapted:
            warnings.warn(REPLAY_ADAPTED, OffPolicyWarning, stacklevel=2)
        self.log, self.shuffle = rounds, boolean("shuffle", shuffle)
        model = reward_model(reward) if isinstance(reward, str) else reward or rounds.reward or UnknownReward()
        features: Any = rounds.features
        problem = BanditProblem(
            rounds.num_actions,
            rounds.dim,
            UnknownPrior(rounds.dim) if prior is None else as_prior(prior),
            model,
            features,
            len(rounds) if horizon is None else integer("horizon", horizon, 1, len(rounds)),
        )
        super().__init__(problem, rounds.contexts)

    def _draw_order(self, rng: np.random.Generator) -> IntArray:
        order = rng.permutation(len(self.log)) if self.shuffle else np.arange(len(self.log))
        return order[: self.horizon]

    def _mask_info(self) -> dict[str, Any]:
        assert self._round is not None
        if self.log.masks is None:
            return {}
        return {"action_mask": self.log.masks[self._order[self._round % self.horizon]].astype(np.int8)}

    def _pay(self, row: int, action: int, rng: np.random.Generator) -> tuple[float, dict[str, Any]]:
        matched = action == int(self.log.actions[row])
        return float(self.log.rewards[row]) if matched else 0.0, {"matched": matched}


make_vector = rows_vector_maker(LoggedBanditEnv)
