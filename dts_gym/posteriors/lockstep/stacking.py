"""Which posteriors can be stacked, and as what."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from dts_gym.posteriors.lockstep import chain_runs, glm_runs, linear_runs
from dts_gym.posteriors.lockstep.run_choices import RunChoices, Streams
from dts_gym.posteriors.lockstep.shared_runs import SharedRuns
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior
from dts_gym.utils.arrays import Array, BoolArray, IntArray


class Runs(Protocol):
    """R posteriors, each of a run of its own, that learn and choose as one: see `RunChoices` and `SharedRuns`."""

    def thompson(self, contexts: Array, rngs: Streams, scale: Array, mask: BoolArray | None = None) -> IntArray:
        """The best allowed action of each run under one posterior draw."""

    def upper_confidence(self, contexts: Array, rngs: Streams, scale: Array, mask: BoolArray | None = None) -> IntArray:
        """The allowed action of each run with the largest mean plus ``scale`` standard deviations."""

    def update(self, contexts: Array, actions: IntArray, rewards: Array) -> bool:
        """Condition every run on a reward; False, with nothing learned, where they must go on one by one."""

    def part(self) -> None:
        """Give every posterior arrays of its own again."""


def stacker(posteriors: Sequence[Any]) -> Callable[[Sequence[Any]], Runs] | None:
    """What stacks the posteriors of many runs; None where they must learn and choose one by one."""
    if all(type(one) is SharedParameterPosterior for one in posteriors):
        engines = _engine_stacker([one.engine for one in posteriors])
        return None if engines is None else partial(SharedRuns, stack=engines)
    return _engine_stacker(posteriors)


def _engine_stacker(posteriors: Sequence[Any]) -> type[RunChoices[Any]] | None:
    if linear_runs.fit_together(posteriors):
        return linear_runs.LinearRuns
    if glm_runs.fit_together(posteriors):
        return glm_runs.GLMRuns
    return chain_runs.ChainRuns if chain_runs.fit_together(posteriors) else None
