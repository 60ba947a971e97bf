"""The prior's variance, moved by how probable it makes the rewards seen: rounds are kept, and learned again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.columns import Columns
from dts_gym.utils.validation import finite_array, integers

_FIRST = 16  # rewards, at which the variance is judged first; then wherever their number is a power of two


class Rounds:
    """The rounds that were learned.

    Parameters
    ----------
    context_shape : shape of a context.
    """

    def __init__(self, context_shape: tuple[int, ...]) -> None:
        kinds = {"contexts": (context_shape, np.float64), "played": ((), np.int64), "rewards": ((), np.float64)}
        self._shape, self._columns = context_shape, Columns(kinds)

    def __len__(self) -> int:
        return len(self._columns)

    def append(self, contexts: Array, actions: IntArray, rewards: Array) -> None:
        """Add n rounds."""
        start = len(self)
        self._columns.append(len(rewards))
        for name, values in (("contexts", contexts), ("played", actions), ("rewards", rewards)):
            self._columns.used(name)[start:] = values

    def all(self) -> tuple[Array, IntArray, Array]:
        """All rounds, (n, ...), (n,) and (n,)."""
        return self._columns.used("contexts"), self._columns.used("played"), self._columns.used("rewards")

    def state(self) -> dict[str, Array | IntArray]:
        """Arrays from which `restore` continues."""
        return self._columns.state()

    def restore(self, state: Mapping[str, Any], num_actions: int) -> None:
        """Restore what `state` returned; ValueError for arrays that cannot be it."""
        rewards = finite_array("rounds.rewards", state["rewards"], (None,))
        contexts = finite_array("rounds.contexts", state["contexts"], (len(rewards), *self._shape))
        played = integers("rounds.played", state["played"], len(rewards), num_actions)
        self._columns.restore({"contexts": contexts, "played": played, "rewards": rewards})


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
