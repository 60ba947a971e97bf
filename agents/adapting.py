"""The prior's variance, moved by how probable it makes the rewards seen: rounds are kept, and learned again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.validation import finite_array, integers

_FIRST = 16  # rewards, at which the variance is judged first; then wherever their number is a power of two


class Rounds:
    """The rounds that were learned, in arrays that grow.

    Parameters
    ----------
    context_shape : shape of a context.
    """

    def __init__(self, context_shape: tuple[int, ...]) -> None:
        self._contexts = np.empty((0, *context_shape))
        self._actions = np.empty(0, dtype=np.int64)
        self._rewards = np.empty(0)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Add n rounds."""
        end = self._count + len(rewards)
        if end > len(self._rewards):
            room = max(end, 2 * len(self._rewards))
            for name in ("_contexts", "_actions", "_rewards"):
                old = getattr(self, name)
                new = np.empty((room, *old.shape[1:]), dtype=old.dtype)
                new[: self._count] = old[: self._count]
                setattr(self, name, new)
        self._contexts[self._count : end] = contexts
        self._actions[self._count : end] = actions
        self._rewards[self._count : end] = rewards
        self._count = end

    def all(self) -> tuple[Array, IntArray, Array]:
        """All rounds, (n, ...), (n,) and (n,)."""
        n = self._count
        return self._contexts[:n], self._actions[:n], self._rewards[:n]

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues."""
        contexts, played, rewards = (part.copy() for part in self.all())
        return {"contexts": contexts, "played": played, "rewards": rewards}

    def restore(self, state: Mapping[str, Any], num_actions: int) -> None:
        """Restore what `state` returned; ValueError for arrays that cannot be it."""
        rewards = finite_array("rounds.rewards", state["rewards"], (None,))
        contexts = finite_array("rounds.contexts", state["contexts"], (len(rewards), *self._contexts.shape[1:]))
        played = integers("rounds.played", state["played"], len(rewards), num_actions)
        self._count = 0
        self.append(contexts, played, rewards)


def in_parts(
    count: int,
    contexts: Array,
    actions: IntArray,
    rewards: Array,
    learn: Callable[..., None],
    judge: Callable[[], None],
) -> None:
    """Learn n rounds after ``count`` others, in order; the variance is judged wherever rounds one by one would be."""
    start = 0
    while start < len(rewards):
        due = next_judgement(count + start) - count
        end = min(due, len(rewards))
        learn(contexts[start:end], actions[start:end], rewards[start:end])
        start = end
        if end == due:
            judge()


def next_judgement(count: int) -> int:
    """The number of rewards, above ``count``, at which the variance is judged next.

    Examples
    --------
    >>> [next_judgement(count) for count in (0, 15, 16, 31, 32)]
    [16, 16, 32, 32, 64]
    """
    return max(_FIRST, 1 << count.bit_length())
