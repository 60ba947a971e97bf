"""Posteriors of one parameter that all actions share, many at once: `SharedParameterPosterior` with an axis of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dts_gym.posteriors.choices import one_of_tied, tied_best
from dts_gym.posteriors.lockstep.run_choices import RunChoices, Streams
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior, parameter_bounds
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class SharedRuns:
    """R posteriors of equal sizes, each of a run of its own.

    Parameters
    ----------
    posteriors : R posteriors. Until `part` their engines must be changed through this object alone.
    stack : makes the engines, R posteriors of one action, one object.

    Notes
    -----
    As exact as each posterior, and the same draws as one by one: see `RunChoices`. A choice costs a draw of the
    parameter of each run, and O(R K d). Contexts are (R, K, d).
    """

    def __init__(
        self, posteriors: Sequence[SharedParameterPosterior], stack: Callable[[Sequence[Any]], RunChoices[Any]]
    ) -> None:
        self._engines = stack([posterior.engine for posterior in posteriors])
        self._runs = np.arange(len(posteriors))

    def part(self) -> None:
        """Give every posterior arrays of its own again."""
        self._engines.part()

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        """Condition every run on a reward, as `RunChoices.update`; contexts are (R, K, d)."""
        return self._engines.update(contexts[self._runs, actions], np.zeros_like(actions), rewards)

    def thompson(self, contexts: Array, rngs: Streams, scale: Array, mask: BoolArray | None = None) -> IntArray:
        """The best allowed action of each run under one posterior draw: scales (R,), masks (R, K)."""
        return _any_of_best(np.matvec(contexts, self._engines.sample_parameters(rngs, scale)), rngs, mask)

    def upper_confidence(self, contexts: Array, rngs: Streams, scale: Array, mask: BoolArray | None = None) -> IntArray:
        """The allowed action of each run with the largest mean plus ``scale`` standard deviations; ties at random."""
        return _any_of_best(parameter_bounds(contexts, *self._engines.moments(), scale[:, None]), rngs, mask)


def _any_of_best(scores: Array, rngs: Streams, mask: BoolArray | None) -> IntArray:
    """The allowed action of the largest score (R, K) of each run; of tied actions one at random."""
    tied = tied_best(scores, mask)
    return np.array([one_of_tied(row, rng) for row, rng in zip(tied, rngs, strict=True)], dtype=np.int64)
