"""The unplayed actions: they have one distribution, so a round never visits them one by one."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping

import numpy as np

from dts_gym.utils.arrays import Array, BoolArray, IntArray


class UnplayedActions:
    """The set of actions not played so far, with O(1) changes and uniform draws: a sparse Fisher-Yates shuffle.

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
        self._is_replayed = True  # whether the played actions, in their order, say where every action is
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

    def add(self, action: int) -> None:
        """Put an action back that was removed."""
        self.num_played -= 1
        self._put(action, self.num_played)
        self._lowest, self._is_replayed = min(self._lowest, action), False

    def _put(self, action: int, place: int) -> None:
        if action != place:
            self._at[place], self._place[action] = action, place

    def grow(self, count: int) -> None:
        """Add ``count`` new actions, whose numbers follow the others."""
        self.num_actions += count

    def state(self) -> dict[str, IntArray]:
        """Where unplayed actions are, (n, 2) places and actions, unless the played ones' order says it; to restore."""
        if self._is_replayed:
            return {}
        return {"unplayed.at": np.array(sorted(self._at.items()), dtype=np.int64).reshape(-1, 2)}

    @classmethod
    def restored(cls, num_actions: int, played: IntArray, state: Mapping[str, Array | IntArray]) -> UnplayedActions:
        """The set after these actions were played, in their order, and of `state`; ValueError where they differ."""
        if "unplayed.at" not in state:
            return cls(num_actions, played.tolist())
        one, at, gone = cls(num_actions), state["unplayed.at"], set(played.tolist())
        one.num_played, one._is_replayed = len(gone), False
        for place, action in at.tolist():
            one._put(action, place)
        # An action stands twice, or a played one at all, if its own place is unplayed and not another action's.
        begin, moved = one.num_played, set(one._at.values())
        wrong = {a for a in moved | gone if not 0 <= a < num_actions or (a >= begin and a not in one._at)}
        if wrong or moved & gone or len(moved) < len(at) or not set(one._at) <= set(range(begin, num_actions)):
            raise ValueError(f"unplayed.at must be places of the unplayed actions, got {at!r:.200}")
        return one

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
