"""What an agent warns of, once of each thing."""

from __future__ import annotations

import warnings
from typing import final

from dts_gym.problem.first_rewards import FirstRewards
from dts_gym.utils.arrays import Array, IntArray


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
