"""Several actions for a context: the best of one draw, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from dts_gym.agents.inputs import as_rows
from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import integer

R = TypeVar("R")


class Slates(ABC):
    """What `act` needs where it picks more than one action for a context."""

    problem: BanditProblem

    @abstractmethod
    def _is_single(self, contexts: Array) -> bool:
        """Whether checked contexts are one, not a batch."""

    @property
    def num_actions(self) -> int:
        """K, the number of actions."""
        return self.problem.num_actions

    def _checked_size(self, size: Any, mask: BoolArray | None) -> int | None:
        """Return the number of actions to pick for a context, None for one; ValueError if a mask allows fewer."""
        if size is None:
            return None
        most = self.num_actions if mask is None else int(mask.sum(axis=-1).min())
        if type(self)._ranked is Slates._ranked:
            raise ValueError(f"size must be left out for {type(self).__name__}, which picks one action, got {size!r}")
        return integer("size", size, 1, most)

    def _slates(
        self,
        contexts: Array,
        rng: np.random.Generator,
        mask: BoolArray | None,
        pending: tuple[Array, IntArray] | None,
        size: int,
    ) -> IntArray:
        """The ``size`` best actions of every context in order, (n, size); (size,) for one context."""

        def pick(x: Array, one: BoolArray | None) -> IntArray:
            return self._ranked(x, rng, one, size)

        return self._picked(contexts, mask, pick, np.ndarray.tolist, pending)

    def _picked(
        self,
        contexts: Array,
        mask: BoolArray | None,
        pick: Callable[[Array, BoolArray | None], R],
        actions_of: Callable[[R], list[int]],
        pending: tuple[Array, IntArray] | None,
    ) -> IntArray:
        """The numbers that ``pick`` returns for every context, or for one; see `_each`."""
        single = self._is_single(contexts)
        found = np.array(self._each(*as_rows(contexts, mask, single), pick, actions_of, pending), dtype=np.int64)
        return found[0] if single else found

    def _each(
        self,
        rows: Array,
        masks: list[BoolArray | None],
        pick: Callable[[Array, BoolArray | None], R],
        actions_of: Callable[[R], list[int]],
        pending: tuple[Array, IntArray] | None = None,
    ) -> list[R]:
        """What ``pick`` returns for every row and its mask.

        Where the agent picks in order, the actions of each pick, and plays that are ``pending``, count as played for
        the picks after them; then all is as before.
        """
        return [pick(x, mask) for x, mask in zip(rows, masks, strict=True)]

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        """The ``size`` best allowed actions for one context, best first; agents without it refuse ``size``."""
        raise NotImplementedError
