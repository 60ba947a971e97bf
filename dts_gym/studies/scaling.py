"""Scaling: final regret of dTS and LinTS against K, d and L, one at a time."""

from __future__ import annotations

from typing import Any

from dts_gym.studies.cells import Cell, Outcome, Reading
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.outcome import between_cells
from dts_gym.studies.study import Profile, Verdict

_VARIED = {"actions": (10, 100, 500, 1000), "dim": (5, 10, 15, 20), "depth": (2, 4, 5, 6)}
_NAMES = {"actions": "K (d=5, L=2)", "dim": "d (K=100, L=2)", "depth": "L (K=100, d=5)"}


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    quick = profile == "quick"
    rounds = 200 if quick else 5000
    cells = []
    for varied, values in _VARIED.items():
        for value in (values[0], values[-1]) if quick else values:
            size: dict[str, Any] = {"actions": 100, "dim": 5, "depth": 2} | {varied: value}
            settings = {"num_actions": size["actions"], "dim": size["dim"], "depth": size["depth"], "horizon": rounds}
            cells.append(
                Cell(
                    name=f"{varied}-{value}",
                    env_id="DiffusionBandit-v0",
                    agents=("dTS", "LinTS"),
                    env_settings=settings,
                    seeds=3 if quick else 50,
                    num_rounds=rounds,
                    redraw_prior=True,
                    panel=_NAMES[varied],
                    x=float(value),
                )
            )
    return tuple(cells)


def _trends(outcome: Outcome) -> list[Verdict]:
    found = []
    for varied, values in _VARIED.items():
        claim = f"Regret of dTS grows with {_NAMES[varied]}."
        most, least = (("dTS", f"{varied}-{value}") for value in (values[-1], values[0]))
        found += between_cells(outcome, claim, most, least)
    return found


STUDY = CellStudy(
    id="scaling",
    claim=CLAIMS["scaling"],
    description=(
        "Linear chains drawn for each run, Gaussian rewards, 5000 rounds, exploration 1. A deeper chain of such "
        "weights is also a wider one, and rewards grow with it: regret is in units of the noise."
    ),
    reading=Reading(
        reference="dTS",
        picture="x",
        x_label="K, d or L",
        further=_trends,
    ),
    cells=_cells,
)
