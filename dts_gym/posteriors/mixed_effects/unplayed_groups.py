"""Unplayed actions in groups: within a group they have one distribution, so a round visits each group once."""

from __future__ import annotations

from collections.abc import Iterable

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

    A group's members are a stretch of one permutation of all actions, played ones first.

    Parameters
    ----------
    group : (K,) the group of every action, numbered from 0.
    played : the actions that are not in the set, in the order in which they were played.

    Attributes
    ----------
    group : (K,) as given.
    counts : (G,) how many actions of each group are unplayed.
    members : (G,) one action of each group, whichever.
    """

    def __init__(self, group: IntArray, played: Iterable[int] = ()) -> None:
        self.group = group
        self._sizes = np.bincount(group)
        self._sorted = np.argsort(group, kind="stable")
        self._ends = self._sizes.cumsum()
        self.members = self._sorted[self._ends - 1]
        self.reset(played)

    def reset(self, played: Iterable[int] = ()) -> None:
        """Go back to the set of all actions but the played ones."""
        self.counts = self._sizes.copy()
        self._at = self._sorted.copy()  # place -> action
        self._place = np.empty_like(self._at)
        self._place[self._at] = np.arange(len(self._at))
        for action in played:
            self.remove(action)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def remove(self, action: int) -> None:
        """Remove an action that is in the set."""
        g = self.group[action]
        first, place = self._ends[g] - self.counts[g], self._place[action]
        other = self._at[first]
        self._at[first], self._at[place] = action, other
        self._place[action], self._place[other] = first, place
        self.counts[g] -= 1

    def of(self, group: int) -> IntArray:
        """The unplayed actions of a group."""
        end = self._ends[group]
        return np.asarray(self._at[end - self.counts[group] : end])

    def allowed(self, mask: BoolArray | None) -> IntArray:
        """(G,) how many unplayed actions of each group a mask (K,) allows; None allows all, at no cost in K."""
        if mask is None:
            return self.counts
        allowed = self._at[mask[self._at]]
        places = self._place[allowed]
        group = self.group[allowed]
        return np.bincount(group[places >= (self._ends - self.counts)[group]], minlength=len(self.counts))

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
