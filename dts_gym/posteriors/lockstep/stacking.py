"""Which posteriors can be stacked, and as what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dts_gym.posteriors.lockstep import chain_runs, linear_runs
from dts_gym.posteriors.lockstep.run_choices import RunChoices


def runs_class(posteriors: Sequence[object]) -> type[RunChoices[Any]] | None:
    """The class that stacks the posteriors of many runs; None where they must learn and choose one by one."""
    if linear_runs.fit_together(posteriors):
        return linear_runs.LinearRuns
    return chain_runs.ChainRuns if chain_runs.fit_together(posteriors) else None
