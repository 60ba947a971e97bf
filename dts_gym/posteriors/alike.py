"""Actions that a prior cannot tell apart, in groups: the unplayed actions of a group are independent and alike."""

from __future__ import annotations

from collections.abc import Container

import numpy as np

from dts_gym.posteriors.unplayed import AllowedActions
from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.utils.arrays import Array, BoolArray, IntArray

# Draws from a group's members before those that may be picked are counted out.
_TRIES = 32


class Groups:
    """Groups of actions with equal ``(m_a, W_a, S_a)``, and which of them have been played.

    Parameters
    ----------
    prior : the prior of the actions.
    played : (P,) the actions played so far.

    Attributes
    ----------
    first : (G,) an action of each group.
    labels : (K,) the group of each action.
    own_roots : (M, d, d) the different square roots of the actions' own covariances.
    own_labels : (G,) which of them a group has.
    is_played : (K,) whether an action has been played.

    Notes
    -----
    Memory and construction are O(K) and O(K log K).
    """

    def __init__(self, prior: MixedEffectPrior, played: IntArray) -> None:
        K, roots = prior.num_actions, prior.own_roots()
        if roots.ndim == 2:
            self.own_roots, own = roots[None], np.zeros(K, dtype=np.int64)
        else:
            flat, own = np.unique(roots.reshape(K, -1), axis=0, return_inverse=True)
            self.own_roots, own = flat.reshape(-1, *roots.shape[1:]), own.ravel()
        described = np.column_stack([prior.action_means, prior.mixing.reshape(K, -1), own])
        _, self.first, labels = np.unique(described, axis=0, return_index=True, return_inverse=True)
        self.labels, self.own_labels = labels.ravel(), own[self.first]
        self._order = np.argsort(self.labels, kind="stable")
        self._starts = np.searchsorted(self.labels[self._order], np.arange(len(self.first) + 1))
        self.mark(played)

    def mark(self, played: IntArray) -> None:
        """Count these actions, and no others, among the played ones."""
        self.is_played = np.zeros(len(self.labels), dtype=bool)
        self.is_played[played] = True
        self._left = np.bincount(self.labels[~self.is_played], minlength=len(self.first))

    def play(self, action: int) -> None:
        """Count an action among the played ones."""
        if not self.is_played[action]:
            self.is_played[action] = True
            self._left[self.labels[action]] -= 1

    def release(self, action: int) -> None:
        """Count an action among the unplayed ones again."""
        if self.is_played[action]:
            self.is_played[action] = False
            self._left[self.labels[action]] += 1

    def own_std(self, x: Array) -> Array:
        """Standard deviation of ``x' delta_a`` for an action of each group, (G,)."""
        return np.asarray(np.linalg.norm(x @ self.own_roots, axis=-1)[self.own_labels])

    def counts(self, mask: BoolArray | None) -> IntArray:
        """Number of unplayed actions of each group that a mask (K,) allows, (G,)."""
        if mask is None:
            return self._left
        return np.bincount(self.labels[mask & ~self.is_played], minlength=len(self.first))

    def members(self, group: int) -> IntArray:
        """The actions of a group, in increasing order."""
        return np.asarray(self._order[self._starts[group] : self._starts[group + 1]])


class Tied:
    """The unplayed allowed actions of some groups, with the methods of `UnplayedActions`.

    Parameters
    ----------
    groups : all groups.
    chosen : numbers of the groups.
    counts : (G,) number of unplayed allowed actions of every group.
    mask : (K,) which actions are allowed; None for all.
    """

    def __init__(self, groups: Groups, chosen: IntArray, counts: IntArray, mask: BoolArray | None) -> None:
        self._groups, self._chosen, self._counts, self._mask = groups, chosen, counts[chosen], mask

    def __len__(self) -> int:
        return int(self._counts.sum())

    def draw_one(self, rng: np.random.Generator) -> int:
        """One uniform draw from the set."""
        at = 0
        if len(self._chosen) > 1:
            at = int(np.searchsorted(self._counts.cumsum(), rng.integers(len(self)), side="right"))
        members = self._groups.members(int(self._chosen[at]))
        for _ in range(_TRIES if len(members) > 1 else 0):
            action = int(members[rng.integers(len(members))])
            if not self._groups.is_played[action] and (self._mask is None or self._mask[action]):
                return action
        left = self._open(members)
        return int(left[rng.integers(len(left))] if len(left) > 1 else left[0])

    def draw(self, rng: np.random.Generator, size: int) -> IntArray:
        """(size,) independent uniform draws from the set."""
        return np.array([self.draw_one(rng) for _ in range(size)], dtype=np.int64)

    def lowest(self, played: Container[int]) -> int:
        """The lowest-numbered action of the set."""
        found = [self._open(self._groups.members(int(g)))[:1] for g in self._chosen]
        return int(np.concatenate(found).min())

    def _open(self, members: IntArray) -> IntArray:
        free = ~self._groups.is_played[members]
        return np.asarray(members[free if self._mask is None else free & self._mask[members]])


def no_actions() -> AllowedActions:
    """The empty set of actions, with the methods of `UnplayedActions`."""
    return AllowedActions(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64))
