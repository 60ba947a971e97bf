"""The unplayed actions: they have one distribution, so a round never visits them one by one."""

from __future__ import annotations

from collections.abc import Container, Iterable

import numpy as np

from dts_gym.utils.arrays import Array, BoolArray, IntArray


class UnplayedActions:
    """The set of actions not played so far, with O(1) removal and uniform draws: a sparse Fisher-Yates shuffle.

    The actions are in a virtual permutation whose first ``num_played`` places hold the played ones; only the
    places that differ from the identity are stored, so memory grows with played actions only.

    Parameters
    ----------
    num_actions : K, the number of actions.
    played : the actions that are not in the set, in the order in which they were played.
    """

    def __init__(self, num_actions: int, played: Iterable[int] = ()) -> None:
        self.num_actions = num_actions
        self.num_played = 0
        self._at: dict[int, int] = {}  # place -> action, where not the identity
        self._place: dict[int, int] = {}  # action -> place, where not the identity
        self._lowest = 0
        for action in played:
            self.remove(action)

    def __len__(self) -> int:
        return self.num_actions - self.num_played

    def remove(self, action: int) -> None:
        """Remove an action that is in the set."""
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

    def draw_distinct(self, rng: np.random.Generator, size: int) -> IntArray:
        """(size,) different actions of the set, in a uniformly random order."""
        places = self.num_played + rng.choice(len(self), size, replace=False)
        return np.array([self._at.get(place, place) for place in places.tolist()], dtype=np.int64)

    def lowest(self, played: Container[int]) -> int:
        """The lowest-numbered unplayed action, given the played ones; amortised O(1)."""
        while self._lowest in played:
            self._lowest += 1
        return self._lowest


class AllowedActions:
    """The unplayed actions that a mask allows, with the methods of `UnplayedActions`; found once, O(K).

    Parameters
    ----------
    mask : (K,) which actions are allowed.
    played : (P,) the played actions.
    """

    def __init__(self, mask: BoolArray, played: IntArray) -> None:
        allowed = mask.copy()
        allowed[played] = False
        self._numbers = np.flatnonzero(allowed)

    def __len__(self) -> int:
        return len(self._numbers)

    def draw(self, rng: np.random.Generator, size: int) -> IntArray:
        """(size,) independent uniform draws from the set."""
        return np.asarray(self._numbers[rng.integers(len(self._numbers), size=size)])

    def draw_one(self, rng: np.random.Generator) -> int:
        """One uniform draw from the set."""
        return int(self._numbers[rng.integers(len(self._numbers))])

    def draw_distinct(self, rng: np.random.Generator, size: int) -> IntArray:
        """(size,) different actions of the set, in a uniformly random order."""
        return np.asarray(rng.choice(self._numbers, size, replace=False))

    def lowest(self, played: Container[int]) -> int:
        """The lowest-numbered action of the set."""
        return int(self._numbers[0])


def allowed_scores(scores: Array, mask: BoolArray | None) -> Array:
    """Scores (..., K), minus infinity where ``mask`` (K,) does not allow an action; None allows all."""
    return scores if mask is None else np.where(mask, scores, -np.inf)
