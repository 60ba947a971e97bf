"""The unplayed actions: they are alike, so a round never looks at them one by one."""

from __future__ import annotations

import numpy as np

from dts_gym.arrays import IntArray


class UnplayedActions:
    """The set of actions not played so far, with O(1) removal and uniform draws: a sparse Fisher-Yates shuffle.

    The actions stand in a virtual permutation whose first ``num_played`` places hold the played ones; only the
    places that differ from the identity are stored, so memory grows with played actions only.

    Parameters
    ----------
    num_actions : K.
    """

    def __init__(self, num_actions: int) -> None:
        self.num_actions = num_actions
        self.num_played = 0
        self._at: dict[int, int] = {}  # place -> action, where not the identity
        self._place: dict[int, int] = {}  # action -> place, where not the identity
        self._lowest = 0

    def __len__(self) -> int:
        return self.num_actions - self.num_played

    def remove(self, action: int) -> None:
        """Take out an action that is in the set."""
        first = self.num_played
        place = self._place.pop(action, action)
        other = self._at.pop(first, first)
        if place != first and other == place:
            del self._at[place], self._place[other]
        elif place != first:
            self._at[place] = other
            self._place[other] = place
        self.num_played += 1

    def draw(self, rng: np.random.Generator, size: int) -> IntArray:
        """(size,) independent uniform draws from the set."""
        places = rng.integers(self.num_played, self.num_actions, size)
        return np.array([self._at.get(place, place) for place in places.tolist()], dtype=np.int64)

    def draw_one(self, rng: np.random.Generator) -> int:
        """One uniform draw from the set."""
        place = int(rng.integers(self.num_played, self.num_actions))
        return self._at.get(place, place)

    def lowest(self, played: dict[int, int]) -> int:
        """The lowest-numbered unplayed action, given the played ones; amortised O(1)."""
        while self._lowest in played:
            self._lowest += 1
        return self._lowest
