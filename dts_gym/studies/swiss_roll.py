"""A true prior that is not a diffusion: actions on a Swiss roll, priors pre-trained on few or many draws of it."""

from __future__ import annotations

from typing import get_args

from dts_gym.studies.cells import Cause, Cell, Claim, Outcome, Reading, Scale
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.outcome import between_cells
from dts_gym.studies.study import Profile, Verdict

_SIZES, _DEPTHS = (10, 50, 200, 1000, 10_000), (2, 5, 10, 20, 100)
_DEPTH, _SIZE = 40, 10_000  # depth and number of draws where the other one varies
_DRAWING = (
    "drawing explores too long where there are five rounds an action: draws from the roll's exact posterior have no "
    "less regret, and upper bounds on the same posterior have about half"
)
_SILENT = "with 10 draws the network stays silent and the prior is normal, and dTS is not told apart from LinTS"
_CAUSES = tuple(
    Cause(_DRAWING, kind, ("LinTS", "LinUCB", "TunedTS", "dUCB (exploration horizon)")) for kind in get_args(Scale)
)


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    """Cells over the number of draws at depth 40, and over other depths with 10 000 draws."""
    if profile == "quick":
        return (_cell(50, 5, True, "draws"),)
    return (
        *(_cell(size, _DEPTH, False, "draws") for size in _SIZES),
        *(_cell(_SIZE, depth, False, "depth") for depth in _DEPTHS),
    )


def _cell(size: int, depth: int, quick: bool, varied: str) -> Cell:
    return Cell(
        name=f"{varied}-{size if varied == 'draws' else depth}",
        env_id="SyntheticBandit-v0",
        agents=("dTS", "dTS:branch=0", "dUCB:exploration=horizon", "LinTS", "LinUCB", "TunedTS"),
        env_settings={
            "shape": "swiss-roll",
            "dim": 2,
            "num_actions": 10 if quick else 100,
            "prior": "linear" if quick else "diffusion",
            "depth": depth,
            "num_past": size,
        },
        seeds=2 if quick else 20,
        num_rounds=50 if quick else 500,
        grid=(1.0, 0.5),
        tuning_seeds=2 if quick else 5,
        panel=f"{_DEPTH} steps" if varied == "draws" else f"{_SIZE} draws",
        x=float(size if varied == "draws" else depth),
    )


def _trends(outcome: Outcome) -> list[Verdict]:
    return [
        *between_cells(outcome, "More pre-training draws help.", ("dTS", "draws-10"), ("dTS", "draws-10000"), _SILENT),
        *between_cells(outcome, "More steps help.", ("dTS", "depth-2"), ("dTS", "depth-100")),
    ]


STUDY = CellStudy(
    id="swiss-roll",
    claim=CLAIMS["swiss-roll"],
    description=(
        "100 actions, each drawn from a Swiss roll in the plane, scaled to unit variance; contexts uniform on the "
        "cube, noise 1, 500 rounds. The prior is a denoising diffusion model pre-trained on other draws. dTS at "
        "branch L (independent actions, the truth) and at branch 0 (the deck: all levels shared). One set of draws "
        "serves all runs: intervals are given that prior. The quick profile has the linear prior, whose top level is "
        "shared, and needs no torch."
    ),
    reading=Reading(
        reference="dTS",
        claims=(
            Claim(
                "With 50 pre-training draws dTS is already ahead of LinTS.",
                "dTS",
                ("LinTS", "LinUCB", "TunedTS", "dTS (branch 0)"),
                cells=("draws-50",),
                causes=_CAUSES,
            ),
            Claim(
                "With 10 000 draws and 40 steps dTS is ahead of LinTS.",
                "dTS",
                ("LinTS", "LinUCB", "TunedTS"),
                cells=("draws-10000",),
                causes=_CAUSES,
            ),
        ),
        picture="x",
        x_label="pre-training draws, or steps",
        further=_trends,
    ),
    cells=_cells,
)
