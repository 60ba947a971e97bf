"""What an agent warns of, once of each thing."""

from __future__ import annotations

import warnings
from typing import final

from dts_gym.problem.first_rewards import Finding, FirstRewards
from dts_gym.utils.arrays import Array, IntArray

# What an agent says of its first rewards.
OF_FIRST_REWARDS: dict[Finding, str] = {
    "zero contexts": (
        "the contexts so far are zeros, under which x' theta is 0 for every action: the agent learns nothing. Give it "
        "an intercept (intercept=True, a setting of LinTS, LinUCB, GLM-TS, UCB-GLM and EpsilonGreedy, with a "
        "prior_cov= as wide as the rewards), or append a 1 to every observation, with Gymnasium's "
        "TransformObservation"
    ),
    "far rewards": (
        "the rewards so far are more than 5 standard deviations, in the root mean square, from what the agent's prior "
        "expects. Subtract a typical reward and divide by the rewards' standard deviation, or state a prior that has "
        "room for them: prior_cov= and intercept=True of the agents with independent actions, else a prior fitted to "
        "past parameters. noise_std= is the standard deviation of a reward around its mean"
    ),
    "small rewards": (
        "the rewards so far are less than a tenth, in the root mean square, of the noise's standard deviation that "
        "the agent believes in, and tell it next to nothing. Set noise_std= to the standard deviation of a reward "
        "around its mean, or divide the rewards by their standard deviation and keep the prior"
    ),
}


class Cautious:
    """What warns once of each thing, and looks at its first rewards."""

    _first: FirstRewards | None = None  # where they are still looked at
    _warned: frozenset[str] = frozenset()  # texts of the warnings that were given

    @final
    def warn(self, text: str, stacklevel: int = 1) -> None:
        """Give a ``UserWarning``, once in the life of an agent and of those that it spawns.

        Parameters
        ----------
        text : what is wrong, and what to do.
        stacklevel : of the line to point at, above the caller of this method.
        """
        if text not in self._warned:
            self._warned |= {text}
            warnings.warn(text, UserWarning, stacklevel=stacklevel + 1)

    def _look_at(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """See whether the first rewards, which were just learned, are what the agent expects; where it expects any."""
