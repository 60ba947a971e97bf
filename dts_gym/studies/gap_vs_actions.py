"""Gap against K: does the advantage of dTS over independent actions grow with their number?"""

from __future__ import annotations

from dts_gym.harness.tuning import GRID
from dts_gym.studies.cells import Cause, Cell, Claim, Outcome, Reading, scales
from dts_gym.studies.claims import CLAIMS, HASTE, STUCK
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.outcome import end_note, final_regret_of
from dts_gym.studies.study import Profile, Verdict, judge
from dts_gym.utils.tables import mean_interval

_ACTIONS = (10, 100, 500, 5000, 50_000)
_BETTER = "dTS has less regret than LinTS."
_GROWS = CLAIMS["gap-vs-K"]
_CAUSES = (Cause(HASTE, "at 1", ("LinTS",)), Cause(STUCK, "tuned", ("MarginalLinTS",), ("actions-100",)))


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    quick = profile == "quick"
    rounds = 200 if quick else 5000
    return tuple(
        Cell(
            name=f"actions-{K}",
            env_id="DiffusionBandit-v0",
            agents=("dTS", "dUCB:exploration=horizon", "LinTS", "MarginalLinTS"),
            env_settings={"num_actions": K, "dim": 5, "depth": 2, "horizon": rounds},
            seeds=3 if quick else 50,
            num_rounds=rounds,
            redraw_prior=True,
            grid=(1.0, 0.5) if quick else GRID,
            tuning_seeds=2 if quick else 5,
            panel="K actions, d=5, L=2",
            x=float(K),
        )
        for K in ((10, 100, 500) if quick else _ACTIONS)
    )


def _growth(outcome: Outcome) -> list[Verdict]:
    """The gap between other agents and dTS at the most actions, minus that at the fewest."""
    found: list[Verdict] = []
    if len(outcome.cells) == 1:
        return found
    for kind in scales(outcome.cells[0]):
        for other in ("LinTS", "MarginalLinTS"):
            gaps = []
            for comparison in (outcome.comparisons[-1], outcome.comparisons[0]):
                theirs, ours = (final_regret_of(comparison, name, kind) for name in (other, "dTS"))
                assert theirs is not None
                assert ours is not None
                gaps.append(theirs - ours)
            most, fewest = (int(cell.x or 0) for cell in (outcome.cells[-1], outcome.cells[0]))
            contrast = f"({other} less dTS) at K={most} less the same at K={fewest}"
            cause = HASTE if (other, kind) == ("LinTS", "at 1") else ""
            ends = (outcome.cells[-1].name, outcome.cells[0].name)
            note = end_note(outcome, kind, *((name, cell) for cell in ends for name in (other, "dTS")))
            found.append(judge(_GROWS, kind, contrast, mean_interval(gaps[0] - gaps[1]), cause, note))
    return found


STUDY = CellStudy(
    id="gap-vs-K",
    claim=_GROWS,
    description=(
        "Linear chains drawn for each run, d=5, L=2, Gaussian rewards, 5000 rounds. Above K=5000 no agent can play "
        "every action: all regrets rise towards that of playing at random."
    ),
    reading=Reading(
        reference="dTS",
        claims=(Claim(_BETTER, "dTS", ("LinTS", "MarginalLinTS"), causes=_CAUSES),),
        picture="x",
        x_label="Number of actions K",
        further=_growth,
    ),
    cells=_cells,
)
