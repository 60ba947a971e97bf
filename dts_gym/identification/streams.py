"""The random numbers of many runs that advance together: each run keeps a generator of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.utils.arrays import Array, IntArray


class RunStreams:
    """One generator for each of R runs; a run's numbers do not depend on the runs beside it.

    Parameters
    ----------
    generators : R generators.

    Examples
    --------
    >>> streams = RunStreams([np.random.default_rng(seed) for seed in (0, 1)])
    >>> streams.normal(3).shape, streams.uniform().shape
    ((2, 3), (2,))
    """

    def __init__(self, generators: Sequence[np.random.Generator]) -> None:
        self._generators = list(generators)

    def __len__(self) -> int:
        return len(self._generators)

    def normal(self, *shape: int) -> Array:
        """Standard normal numbers, R of every shape: (R, ...)."""
        out = np.empty((len(self), *shape))
        for row, rng in enumerate(self._generators):
            out[row] = rng.standard_normal(shape)
        return out

    def uniform(self, *shape: int) -> Array:
        """Uniform numbers in [0, 1), R of every shape: (R, ...)."""
        out = np.empty((len(self), *shape))
        for row, rng in enumerate(self._generators):
            out[row] = rng.random(shape)
        return out

    def of(self, rows: IntArray) -> RunStreams:
        """The streams of some of the runs, which both objects advance."""
        return RunStreams([self._generators[row] for row in rows])
