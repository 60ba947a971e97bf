"""An experiment that compares agents, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dts_gym.harness.comparing import run_experiment
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.experiment import Comparison
from dts_gym.harness.jobs import make_experiment
from dts_gym.harness.tuning import checked_tuning
from dts_gym.studies.cells import Cell, Outcome, Reading
from dts_gym.studies.outcome import findings_of
from dts_gym.studies.study import Ask, Findings, Profile, Study, chosen


@dataclass(frozen=True)
class CellStudy(Study):
    """An experiment that compares agents.

    Parameters
    ----------
    id, claim, description : as in `Study`.
    reading : how the comparisons are read.
    cells : function that returns the cells of a profile, given the name of a data set, or None.
    data : whether a data set can be named.
    """

    reading: Reading
    cells: Callable[[Profile, str | None], tuple[Cell, ...]]
    data: bool = False

    @property
    def takes_data(self) -> bool:
        return self.data

    def chosen_cells(self, ask: Ask) -> tuple[Cell, ...]:
        """The selected cells."""
        every = self.cells(ask.profile, ask.data)
        cells = (every[place] for place in chosen([cell.name for cell in every], ask.only))
        return tuple(cell if ask.seeds is None else replace(cell, seeds=ask.seeds) for cell in cells)

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        return {cell.name: asdict(cell) for cell in self.chosen_cells(ask)}

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        return findings_of(run_cells(self, ask, conduct))


def run_cells(study: CellStudy, ask: Ask, conduct: Conduct) -> Outcome:
    """Run those cells of an experiment that ``conduct.out`` does not hold yet."""
    cells = study.chosen_cells(ask)
    return Outcome(study.reading, cells, tuple(_compared(cell, conduct.within(cell.name)) for cell in cells))


def _compared(cell: Cell, conduct: Conduct) -> Comparison:
    """The comparison of a cell, as `dts_gym.compare` would make it."""
    asked = cell.env_id, cell.agents, cell.seeds, cell.num_rounds, cell.env_settings
    experiment = make_experiment(*asked, "report", cell.redraw_prior, cell.auto_once)
    tuned = cell.grid, cell.tuning_seeds, cell.tuning_settings, cell.bracket
    return run_experiment(experiment, checked_tuning([experiment], *tuned) if cell.grid else None, conduct)
