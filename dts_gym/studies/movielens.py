"""Real ratings: does a learned prior make it cheaper to explore movies that it was not fitted to?"""

from __future__ import annotations

from typing import Any, get_args

from dts_gym.harness.tuning import GRID
from dts_gym.studies.cells import Cause, Cell, Claim, Reading, Scale
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.study import Profile

_GAUSSIAN = ("dTS", "TunedTS", "MixTS", "LinTS", "LinUCB")
_BERNOULLI = ("dTS", "TunedTS", "MixTS", "GLM-TS", "UCB-GLM")
_EVERY = ("rank-5-actions-100-gaussian-ratings-1",)
_HASTE = "agents that draw explore too much for 2000 rounds, upper bounds less"
_LAPLACE = "agents that draw explore too much for 2000 rounds, LaplaceDPS less (likely: tuned, they are not told apart)"
_MODE = "at a small scale the path of the chain tends to the mode of a prior that is sharp (likely, not proven)"
_NORMAL = "factors of movies with five ratings or more are nearly normal: a Gaussian says all"


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    """Cells over ranks, numbers of actions and rewards; the last has every movie, even with a single rating."""
    quick = profile == "quick"
    grid = [(5, 20)] if quick else [(5, 100), (20, 100), (5, 1000), (20, 1000)]
    cells = [_cell(rank, K, reward, data, quick, least=5) for rank, K in grid for reward in ("gaussian", "bernoulli")]
    return (*cells, *(() if quick else (_cell(5, 100, "gaussian", data, quick, least=1),)))


def _cell(rank: int, K: int, reward: str, data: str | None, quick: bool, least: int) -> Cell:
    settings: dict[str, Any] = {
        "rank": rank,
        "num_actions": K,
        "reward": reward,
        "prior": "linear" if quick else "diffusion",
        "min_ratings": least,
        "train_fraction": 0.4,
        "horizon": 100 if quick else 2000,
        "part": "report",
        # A kept pool, see below, needs independent actions.
        **({} if K <= 100 else {"branch": 40}),
        **({} if data is None else {"data": data}),
    }
    agents: tuple[str, ...] = _GAUSSIAN if reward == "gaussian" else _BERNOULLI
    if (rank, K, reward, least) == (5, 100, "gaussian", 5):
        agents = (*agents, "LaplaceDPS")  # slow, and only for denoisers
    if K > 100:  # a round draws as many chains as there are actions; a kept pool draws those of unplayed ones once
        agents = tuple("dTS:pool=kept" if agent == "dTS" else agent for agent in agents)
    movies = f"{least}+ ratings" if least > 1 else "every movie"
    return Cell(
        name=f"rank-{rank}-actions-{K}-{reward}-ratings-{least}",
        env_id="MovieLensBandit-v0",
        agents=agents,
        env_settings=settings,
        seeds=3 if quick else 20,
        num_rounds=settings["horizon"],
        grid=(1.0, 0.3) if quick else GRID,
        tuning_seeds=2 if quick else 3,
        tuning_settings={"part": "tuning"},
        panel=f"rank {rank}, K={K}, {'stars' if reward == 'gaussian' else 'liked or not'}, {movies}",
    )


STUDY = CellStudy(
    id="movielens",
    claim=CLAIMS["movielens"],
    description=(
        "Movies with 5 ratings or more (a last cell: every movie) are parted at random: 40 % to learn the "
        "prior from, a denoising diffusion model of 40 steps whose branch is chosen by held-out evidence; half of the "
        "others to tune exploration on, the other half to report. 2000 rounds, a random user each. One split and one "
        "prior serve all runs: intervals are given these. The quick profile has the linear prior, which needs no torch."
    ),
    reading=Reading(
        reference="dTS",
        claims=(
            Claim(
                "With a prior pre-trained on other movies, dTS has less regret than LinTS and LinUCB on real ratings.",
                "dTS",
                ("LinTS", "LinUCB", "GLM-TS", "UCB-GLM"),
                causes=(Cause(_HASTE, "at 1", ("LinUCB", "UCB-GLM")), Cause(_MODE, "tuned", cells=_EVERY)),
            ),
            Claim(
                "Beyond the deck: a diffusion prior is worth more than what is simpler and fitted to the same movies.",
                "dTS",
                ("TunedTS", "MixTS", "LaplaceDPS"),
                causes=(
                    Cause(_LAPLACE, "at 1", ("LaplaceDPS",)),
                    Cause(_MODE, "tuned", cells=_EVERY),
                    *(Cause(_NORMAL, kind, ("TunedTS",)) for kind in get_args(Scale)),
                ),
            ),
        ),
    ),
    cells=_cells,
    data=True,
)
