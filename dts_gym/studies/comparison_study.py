"""An experiment that compares agents, cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from dts_gym.harness.comparing import compare
from dts_gym.studies.cells import Cell, Outcome, Reading
from dts_gym.studies.outcome import findings_of
from dts_gym.studies.study import Ask, Conduct, Findings, Profile, Study, chosen


@dataclass(frozen=True)
class CellStudy(Study):
    """An experiment that compares agents.

    Parameters
    ----------
    id, claim, description : as `Study`.
    reading : how the comparisons are read.
    cells : the cells of a profile, given the data set that was named, or None.
    data : whether a data set can be named.
    """

    reading: Reading
    cells: Callable[[Profile, str | None], tuple[Cell, ...]]
    data: bool = False

    @property
    def takes_data(self) -> bool:
        return self.data

    def chosen_cells(self, ask: Ask) -> tuple[Cell, ...]:
        """The cells that are asked for."""
        every = self.cells(ask.profile, ask.data)
        cells = (every[place] for place in chosen([cell.name for cell in every], ask.only))
        return tuple(cell if ask.seeds is None else replace(cell, seeds=ask.seeds) for cell in cells)

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        return {cell.name: asdict(cell) for cell in self.chosen_cells(ask)}

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        return findings_of(run_cells(self, ask, conduct))


def run_cells(study: CellStudy, ask: Ask, conduct: Conduct) -> Outcome:
    """Run an experiment's cells, or those that ``conduct.out`` does not hold yet."""
    cells = study.chosen_cells(ask)
    found = []
    for cell in cells:
        folder = None if conduct.out is None else conduct.out / cell.name
        found.append(
            compare(
                cell.env_id,
                cell.agents,
                seeds=cell.seeds,
                num_rounds=cell.num_rounds,
                env_settings=cell.env_settings,
                out=folder,
                resume=conduct.resume and folder is not None and folder.exists(),
                tune=bool(cell.grid),
                grid=cell.grid or (1.0,),
                tuning_seeds=cell.tuning_seeds,
                tuning_settings=cell.tuning_settings,
                backend=conduct.backend,
                num_workers=conduct.num_workers,
                ray_address=conduct.ray_address,
                redraw_prior=cell.redraw_prior,
                progress=conduct.progress,
            )
        )
    return Outcome(study.reading, cells, tuple(found))
