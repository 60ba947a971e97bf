"""Several actions for a context: the best of one draw, in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from dts_gym.problem.problem import BanditProblem
from dts_gym.utils.arrays import Array, BoolArray, IntArray
from dts_gym.utils.validation import integer


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
        rows = contexts[None] if self._is_single(contexts) else contexts
        each = [mask[i] if mask is not None and mask.ndim == 2 else mask for i in range(len(rows))]
        picked = [self._ranked(x, rng, one, size) for x, one in zip(rows, each, strict=True)]
        return np.array(picked, dtype=np.int64).reshape((size,) if self._is_single(contexts) else (len(rows), size))

    def _ranked(self, context: Array, rng: np.random.Generator, mask: BoolArray | None, size: int) -> IntArray:
        """The ``size`` best allowed actions for one context, best first; agents without it refuse ``size``."""
        raise NotImplementedError
