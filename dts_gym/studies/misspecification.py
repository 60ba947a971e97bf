"""Misspecification: dTS with a prior whose weights and covariances are wrong."""

from __future__ import annotations

from dts_gym.harness.tuning import GRID
from dts_gym.studies.cells import Cause, Cell, Claim, Outcome, Reading
from dts_gym.studies.claims import CLAIMS, STUCK
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.outcome import between_cells
from dts_gym.studies.study import Profile, Verdict

_ERRORS = (0.0, 0.5, 1.0, 1.5)
_ROBUST = "dTS is robust: under the same wrong prior it has less regret than HierTS."
_STILL = CLAIMS["misspecification"]
_WIDER = "told priors are wider than the truth: at small scales dTS then tries more of what it has not played (likely)"


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    quick = profile == "quick"
    rounds = 200 if quick else 5000
    return tuple(
        Cell(
            name=f"error-{error:g}",
            env_id="DiffusionBandit-v0",
            agents=("dTS", "dUCB:exploration=horizon", "HierTS", "LinTS"),
            env_settings={"num_actions": 100, "dim": 5, "depth": 2, "horizon": rounds, "prior_error": error},
            seeds=3 if quick else 50,
            num_rounds=rounds,
            redraw_prior=True,
            grid=(1.0, 0.5) if quick else GRID,
            tuning_seeds=2 if quick else 5,
            panel="K=100, d=5, L=2",
            x=error,
        )
        for error in _ERRORS
    )


def _against_the_right_one(outcome: Outcome) -> list[Verdict]:
    found = []
    for error in _ERRORS[1:]:
        off = ("dTS", f"error-{error:g}")
        claim = "A prior that is off costs dTS regret."
        found += between_cells(outcome, claim, off, ("dTS", "error-0"), _WIDER)
        found += between_cells(outcome, _STILL, ("HierTS", "error-0"), off)
    return found


STUDY = CellStudy(
    id="misspecification",
    claim=_STILL,
    description=(
        "Linear chains drawn for each run, K=100, d=5, L=2, Gaussian rewards, 5000 rounds. Agents are told W_l + e1 "
        "and Sigma_l + e2, entries uniform on [v, v + 0.5], for v of 0.5, 1 and 1.5 (0: told the truth). e2 is made "
        "symmetric, and eigenvalues of the sum below 0.01 are raised to it. LinTS does not look at the prior."
    ),
    reading=Reading(
        reference="dTS",
        claims=(Claim(_ROBUST, "dTS", ("HierTS",), causes=(Cause(STUCK, "tuned"),)),),
        picture="x",
        x_label="Least error v of the weights and covariances that agents are told",
        further=_against_the_right_one,
    ),
    cells=_cells,
)
