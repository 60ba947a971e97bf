"""Unplayed actions in groups: within a group they have one distribution, so a round visits each group once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from scipy.special import ndtri_exp

from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.utils.arrays import Array, BoolArray, IntArray


def groups_of(prior: MixedEffectPrior) -> IntArray:
    """The group of every action, (K,): actions of equal offset, map and own covariance are one, numbered in any order.

    Examples
    --------
    >>> groups_of(MixedEffectPrior([[1.0], [2.0], [1.0]], [[1.0]], [[1.0]])).tolist()
    [1, 0, 1]
    """
    K = prior.num_actions
    parts = [prior.action_means, prior.mixing.reshape(K, -1)]
    if prior.action_cov.ndim == 3:
        parts.append(prior.action_cov.reshape(K, -1))
    rows = np.ascontiguousarray(np.hstack(parts) + 0.0)  # + 0.0: a negative zero is equal to zero
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel()
    return np.asarray(np.unique(as_bytes, return_inverse=True)[1].reshape(K), dtype=np.int64)


class UnplayedGroups:
    """The unplayed actions of every group, with removal and uniform draws in O(1); O(K) memory.

    A group's members are a stretch of one list of all actions, played ones first. A new action, and one that becomes
    another item, is a group of its own, whatever others are alike: its old place stays empty.

    Parameters
    ----------
    group : (K,) the group of every action, numbered from 0.
    played : the actions that are not in the set, in the order in which they were played.

    Attributes
    ----------
    group : (K,) the group of every action.
    changes : how many actions are groups of their own since the groups were given.
    """

    def __init__(self, group: IntArray, played: Iterable[int] = ()) -> None:
        self.group = group.copy()
        self._sizes = np.bincount(group)
        self._at = np.argsort(group, kind="stable")  # place -> action; -1: none
        self._place = np.empty_like(self._at)
        self._place[self._at] = np.arange(len(self._at))
        self._ends = self._sizes.cumsum()
        self.counts = self._sizes.copy()
        self.changes = 0
        self._is_replayed = True  # whether groups and played actions say where every action is
        for action in played:
            self.remove(action)

    counts: IntArray  # (G,) how many actions of each group are unplayed

    @property
    def members(self) -> IntArray:
        """(G,) one action of each group, whichever; of a group that has none any action."""
        return np.asarray(np.where(self._sizes > 0, self._at[self._ends - 1], 0))

    def __len__(self) -> int:
        return int(self.counts.sum())

    def _swap(self, action: int, place: int) -> None:
        """Put an action at a place of its group, and what is there where the action was."""
        other, before = self._at[place], self._place[action]
        self._at[place], self._at[before] = action, other
        self._place[action], self._place[other] = place, before

    def remove(self, action: int) -> None:
        """Remove an action that is in the set."""
        g = self.group[action]
        self._swap(action, self._ends[g] - self.counts[g])
        self.counts[g] -= 1

    def add(self, action: int) -> None:
        """Put an action back that was removed."""
        g = self.group[action]
        self.counts[g] += 1
        self._swap(action, self._ends[g] - self.counts[g])
        self._is_replayed = False

    def renew(self, action: int) -> None:
        """Make an action another item: it is unplayed, and a group of its own."""
        g = self.group[action]
        if self._place[action] >= self._ends[g] - self.counts[g]:
            self.remove(action)
        first = self._ends[g] - self._sizes[g]
        self._swap(action, first)
        self._at[first] = -1
        self._sizes[g] -= 1
        self._begin(np.array([action]))

    def grow(self, count: int) -> None:
        """Add ``count`` new actions, whose numbers follow the others, each a group of its own."""
        new = len(self.group) + np.arange(count)
        self.group, self._place = (np.append(old, np.zeros(count, dtype=np.int64)) for old in (self.group, self._place))
        self._begin(new)

    def _begin(self, actions: IntArray) -> None:
        """Append a group for each of these actions."""
        begin, one = len(self._at), np.ones(len(actions), dtype=np.int64)
        self.group[actions] = len(self.counts) + np.arange(len(actions))
        self._place[actions] = begin + np.arange(len(actions))
        self._at, self._ends = np.append(self._at, actions), np.append(self._ends, self._place[actions] + 1)
        self._sizes, self.counts = np.append(self._sizes, one), np.append(self.counts, one)
        self.changes += len(actions)
        self._is_replayed = False

    def state(self) -> dict[str, IntArray]:
        """Where actions are, unless the prior's groups and the played actions' order say it; to `restored`."""
        if self._is_replayed:
            return {}
        parts = {"group": self.group, "at": self._at, "ends": self._ends, "counts": self.counts}
        counted = {"changes": np.array([self.changes])}
        return {f"unplayed.{name}": part.copy() for name, part in (parts | counted).items()}

    @classmethod
    def restored(
        cls, group: Callable[[], IntArray], played: IntArray, state: Mapping[str, Array | IntArray]
    ) -> UnplayedGroups:
        """The set after these actions were played, in their order, and of `state`; ValueError where they differ.

        ``group`` makes the group of every action, where the state has none.
        """
        if "unplayed.group" not in state:
            return cls(group(), played.tolist())
        group_of, at, ends, counts = (
            np.array(state[f"unplayed.{name}"], dtype=np.int64) for name in ("group", "at", "ends", "counts")
        )
        one, K, G = object.__new__(cls), len(group_of), len(ends)
        kept = np.flatnonzero(at >= 0)
        whole = np.array_equal(np.sort(at[kept]), np.arange(K)) and counts.shape == (G,) and group_of.min() >= 0
        if not whole or group_of.max() >= G:
            raise ValueError(f"unplayed.at must be places of {K} actions in {G} groups, got {at!r:.200}")
        one.group, one._at, one._ends, one.counts = group_of, at, ends, counts
        one._sizes, one._place = np.bincount(group_of, minlength=G), np.empty(K, dtype=np.int64)
        one._place[at[kept]] = kept
        one.changes, one._is_replayed = int(state["unplayed.changes"][0]), False
        left = ends[group_of] - one._place
        unplayed = np.flatnonzero((left > 0) & (left <= counts[group_of]))
        if (left < 1).any() or (left > one._sizes[group_of]).any() or len(unplayed) + len(played) != K:
            raise ValueError(f"unplayed.counts must be those of the actions but the played ones, got {counts!r:.200}")
        if np.isin(played, unplayed).any():
            raise ValueError(f"unplayed.at must have the played actions first, got {at!r:.200}")
        return one

    def of(self, group: int) -> IntArray:
        """The unplayed actions of a group."""
        end = self._ends[group]
        return np.asarray(self._at[end - self.counts[group] : end])

    def allowed(self, mask: BoolArray | None) -> IntArray:
        """(G,) how many unplayed actions of each group a mask (K,) allows; None allows all, at no cost in K."""
        if mask is None:
            return self.counts
        allowed = np.flatnonzero(mask)
        group = self.group[allowed]
        unplayed = self._place[allowed] >= (self._ends - self.counts)[group]
        return np.bincount(group[unplayed], minlength=len(self.counts))

    def draw(self, group: int, rng: np.random.Generator, mask: BoolArray | None) -> int:
        """One uniform draw from a group's unplayed actions that the mask allows; there must be one."""
        members = self.of(group)
        if mask is not None:
            members = members[mask[members]]
        return int(members[rng.integers(len(members))] if len(members) > 1 else members[0])

    def lowest(self, groups: IntArray, mask: BoolArray | None) -> int:
        """The lowest-numbered unplayed action of some groups that the mask allows; there must be one."""
        members = np.concatenate([self.of(g) for g in groups.tolist()])
        return int((members if mask is None else members[mask[members]]).min())


def best_of_groups(mean: Array, std: Array | float, counts: IntArray, rng: np.random.Generator) -> Array:
    """A draw of the largest score in each of G groups of independent normal numbers; exact.

    Parameters
    ----------
    mean : (G,) mean of a group's scores.
    std : (G,), or one for all, their standard deviation.
    counts : (G,) how many there are; where there is none, the result is minus infinity.
    rng : source of the draws, a number for each group.
    """
    if counts.max(initial=0) <= 1:
        noise = rng.standard_normal(len(mean))
    else:
        noise = ndtri_exp(rng.standard_exponential(len(mean)) / -np.maximum(counts, 1))
    return np.where(counts > 0, mean + std * noise, -np.inf)
