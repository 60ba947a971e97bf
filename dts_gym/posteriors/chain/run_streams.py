"""The random streams of many runs in place of one generator: each run draws what it would draw by itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dts_gym.utils.arrays import Array, BoolArray, IntArray


class RunStreams:
    """Generators of R runs, each of which draws some rows of the first axis.

    Parameters
    ----------
    generators : R generators.
    counts : (R,) number of rows of each run, which follow each other; None is a row each.

    Notes
    -----
    A run's rows are drawn in one call of its generator, so that its stream is that of the run alone.
    """

    def __init__(self, generators: Sequence[np.random.Generator], counts: IntArray | None = None) -> None:
        self._generators = list(generators)
        self._counts = np.ones(len(self._generators), dtype=np.int64) if counts is None else counts

    def standard_normal(self, shape: tuple[int, ...]) -> Array:
        """Standard normal numbers, of which the first axis has the runs' rows."""
        out = np.empty(shape)
        for rng, rows in self._rows(out):
            rng.standard_normal(out=rows)
        return out

    def random(self, shape: tuple[int, ...]) -> Array:
        """As `standard_normal`, uniform numbers."""
        out = np.empty(shape)
        for rng, rows in self._rows(out):
            rng.random(out=rows)
        return out

    def among(self, chosen: BoolArray) -> RunStreams:
        """The streams for chosen rows, by a mask of the first axes."""
        each = np.count_nonzero(chosen.reshape(len(chosen), -1), axis=1)
        ends = np.concatenate([[0], np.cumsum(each)])[np.concatenate([[0], np.cumsum(self._counts)])]
        return RunStreams(self._generators, np.diff(ends))

    def _rows(self, out: Array) -> list[tuple[np.random.Generator, Array]]:
        if len(out) == len(self._generators) and (self._counts == 1).all():
            return list(zip(self._generators, out, strict=True))
        ends = np.cumsum(self._counts).tolist()
        parts = zip(self._generators, [0, *ends[:-1]], ends, strict=True)
        return [(rng, out[start:end]) for rng, start, end in parts if end > start]


Stream = np.random.Generator | RunStreams


def stream_among(rng: Stream, chosen: BoolArray) -> Stream:
    """The stream for chosen rows: one generator draws them all."""
    return rng.among(chosen) if isinstance(rng, RunStreams) else rng
