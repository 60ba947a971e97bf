"""Replay: an agent learns on a log as if it played, in the rounds in which it picks what was logged."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dts_gym.harness.masks import play
from dts_gym.harness.runner import begin_run
from dts_gym.offpolicy.cautions import REPLAY_ADAPTED, OffPolicyWarning
from dts_gym.offpolicy.log import BanditLog
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.shown import Shown
from dts_gym.utils.tables import mean_interval
from dts_gym.utils.validation import boolean, integer


@dataclass(frozen=True, eq=False, repr=False)
class ReplayResult(Shown):
    """The rounds of a log in which an agent picked the logged action.

    Parameters
    ----------
    rewards : (m,) rewards of the matched rounds, from which the agent learned.
    actions : (m,) their actions.
    rounds : (m,) their numbers in the log.
    num_rounds : number of rounds in the log.
    """

    rewards: Array
    actions: IntArray
    rounds: IntArray
    num_rounds: int

    @property
    def mean_reward(self) -> float:
        """Mean reward of the matched rounds; NaN if there is none."""
        return float(self.rewards.mean()) if len(self.rewards) else float("nan")

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Student's t interval of the mean reward."""
        low, _, high = mean_interval(self.rewards, level) if len(self.rewards) else (np.nan,) * 3
        return low, high

    def _repr_facts(self) -> Mapping[str, Any]:
        return {"matched": len(self.rewards), "rounds": self.num_rounds, "mean_reward": self.mean_reward}


def replay(log: BanditLog, agent: Any, seed: int = 0, warm_start: bool = False) -> ReplayResult:
    """Let an agent learn on a log: a round counts, and is learned, if the agent picks the logged action.

    Under a log of uniform propensities the matched rounds have the distribution of rounds that the agent plays itself,
    so their rewards are those of a run of as many rounds. Where propensities differ, rounds are first thinned: each is
    kept with the probability least propensity / its propensity, which makes the kept ones uniform.

    Parameters
    ----------
    log : rounds of a policy that did not learn; without propensities it counts as uniform. Of a log that says that its
        policy learned (``log.adapted``) an OffPolicyWarning is raised as a warning: replay is not unbiased then.
    agent : a fresh agent, unless ``warm_start``; it learns.
    seed : seed for the thinning.
    warm_start : whether the agent may have learned before.

    Returns
    -------
    ReplayResult
        About 1 / K of the rounds match.

    Raises
    ------
    ValueError
        If the agent is not fresh, or a propensity is 0, or rounds have masks of different sizes, for which no thinning
        makes the log uniform.

    Notes
    -----
    Unbiased if which actions were logged does not depend on the rewards: in logs of 300 rounds by ``LinUCB`` on three
    actions replayed rounds of ``Random`` paid 0.56 +- 0.09 more than ``Random`` earns, in spite of the propensities.

    Source: Li et al., "Unbiased Offline Evaluation of Contextual-bandit-based News Article Recommendation Algorithms"
    (2011).

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=2, dim=3)
    >>> log = BanditLog([[0.1, 0.2, 0.3]] * 50, [0, 1] * 25, [1.0, -1.0] * 25, [0.5] * 50)
    >>> replay(log, dts_gym.make_agent("dTS", env, seed=0)).num_rounds
    50
    """
    if not isinstance(log, BanditLog):
        raise ValueError(f"log must be a BanditLog, got {log!r:.200}")
    if not all(hasattr(agent, name) for name in ("act", "update")):
        raise ValueError(f"agent must be one agent, as make_agent makes it, got {agent!r:.200}")
    if getattr(agent, "num_updates", 0) > 0 and not boolean("warm_start", warm_start):
        raise ValueError(
            f"agent must be a fresh one, got one with {agent.num_updates} updates; warm_start=True goes on"
        )
    if log.adapted:
        warnings.warn(REPLAY_ADAPTED, OffPolicyWarning, stacklevel=2)
    kept = _kept(log, integer("seed", seed, 0))
    begin_run(agent, max(1, int(np.count_nonzero(kept)) // log.num_actions))
    matched = []
    for i in np.flatnonzero(kept).tolist():
        mask = None if log.masks is None else log.masks[i]
        if int(play(agent, log.contexts[i], mask)) == log.actions[i]:
            agent.update(log.contexts[i], int(log.actions[i]), float(log.rewards[i]))
            matched.append(i)
    rounds = np.array(matched, dtype=np.int64)
    return ReplayResult(log.rewards[rounds], log.actions[rounds], rounds, len(log))


def _kept(log: BanditLog, seed: int) -> Any:
    """(n,) booleans, the rounds that thinning keeps."""
    played = log.played_propensities
    if log.masks is not None and len(set(log.masks.sum(axis=1).tolist())) > 1:
        raise ValueError("masks must allow as many actions in each round for replay, got different numbers")
    if played is None:
        return np.ones(len(log), dtype=bool)
    if (played == 0).any():
        raise ValueError(f"propensities must be above 0 for replay, got 0 in round {int((played == 0).argmax())}")
    least = float(played.min() if log.propensities is None or log.propensities.ndim == 1 else _least(log))
    if least == 0:
        raise ValueError("propensities must be above 0 for every action for replay, got 0")
    return stream(seed, "subsets").random(len(log)) < least / played


def _least(log: BanditLog) -> float:
    assert log.propensities is not None
    allowed = log.propensities if log.masks is None else log.propensities[log.masks]
    return float(allowed.min())
