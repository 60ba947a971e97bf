"""Actions that mix a few shared effects by known weights: the synthetic problem of "Mixed-Effect Thompson Sampling"."""

from __future__ import annotations

from typing import Any

from dts_gym.harness.tuning import GRID
from dts_gym.studies.cells import Cell, Claim, Reading
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.study import Profile

_GAUSSIAN = ("meTS", "LinTS", "LinUCB", "MarginalLinTS")
_CLICKS = ("meTS", "GLM-TS", "UCB-GLM")


def _cell(name: str, agents: tuple[str, ...], quick: bool, **settings: Any) -> Cell:
    rounds = 100 if quick else 5000
    sizes = {"num_live": 20 if quick else 100, "num_features": 3, "dim": 2, "change": 0.0, "horizon": rounds}
    return Cell(
        name=name,
        env_id="CatalogueBandit-v0",
        agents=agents,
        env_settings={**sizes, "feature_std": 3.0**0.5, "item_std": 1.0, **settings},
        seeds=3 if quick else 20 if "reward" in settings else 50,
        num_rounds=rounds,
        redraw_prior=True,
        grid=(1.0, 0.5) if quick else GRID,
        tuning_seeds=2 if quick else 5,
        panel=f"{name}: K={sizes['num_live']}, 3 effects, d=2",
        bracket=not quick,
    )


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    quick = profile == "quick"
    return (
        _cell("synthetic", _GAUSSIAN, quick),
        _cell("clicks", _CLICKS, quick, reward="bernoulli"),
        _cell("narrow-items", _GAUSSIAN, quick, item_std=0.3),
    )


STUDY = CellStudy(
    id="mixed-effects",
    claim=CLAIMS["mixed-effects"],
    description=(
        "K=100 actions, 3 effects of dimension 2 with unit covariances, weights N(0, 1) that are known to meTS, own "
        "parts with unit covariances (narrow-items: 0.09), all drawn for each run; contexts uniform on the square, "
        "noise 1 or clicks, 5000 rounds, 50 runs (clicks: 20); every agent at exploration 1 and tuned on other runs. "
        "MarginalLinTS knows the distribution of an action, and not what actions share."
    ),
    reading=Reading(
        reference="meTS",
        claims=(Claim(CLAIMS["mixed-effects"], "meTS", ("LinTS", "LinUCB", "MarginalLinTS", "GLM-TS", "UCB-GLM")),),
        picture="rounds",
    ),
    cells=_cells,
)
