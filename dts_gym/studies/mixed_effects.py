"""Actions that mix shared effects: the synthetic problem of "Mixed-Effect Thompson Sampling", and rated movies."""

from __future__ import annotations

from typing import Any

from dts_gym.harness.tuning import GRID
from dts_gym.studies.cells import Cell, Claim, Reading
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.study import Profile

_GAUSSIAN = ("meTS", "LinTS", "LinUCB", "MarginalLinTS")
_CLICKS = ("meTS", "GLM-TS", "UCB-GLM")
_STARS_RIVALS, _LIKED_RIVALS = ("TunedTS", "MixTS", "LinTS", "LinUCB"), ("TunedTS", "MixTS", "GLM-TS", "UCB-GLM")


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


def _movies(rank: int, liked: bool, split: int, data: str | None, quick: bool) -> Cell:
    rounds = 100 if quick else 2000
    kind = "liked" if liked else "stars"
    return Cell(
        name=f"rank-{rank}-{kind}-split-{split}",
        env_id="MovieLensBandit-v0",
        agents=("dTS", "dUCB", "TunedUCB", *(_LIKED_RIVALS if liked else _STARS_RIVALS)),
        env_settings={
            "movie_features": True,
            "rank": rank,
            "num_actions": 20 if quick else 100,
            "reward": "bernoulli" if liked else "gaussian",
            "min_ratings": 5,
            "train_fraction": 0.4,
            "part": "report",
            "split_seed": split,
            "horizon": rounds,
            **({} if data is None else {"data": data}),
        },
        seeds=3 if quick else 20,
        num_rounds=rounds,
        redraw_prior=True,
        grid=(1.0, 0.5) if quick else GRID,
        tuning_seeds=2 if quick else 10,
        tuning_settings={"part": "tuning"},
        panel=f"rank {rank}, {kind}, split {split}",
        bracket=not quick,
    )


def _movie_cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    if profile == "quick":
        return (_movies(5, False, 0, data, True),)
    return tuple(
        _movies(rank, liked, split, data, False) for rank in (5, 20) for liked in (False, True) for split in range(5)
    )


_EFFECTS = CellStudy(
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
_FEATURES = CellStudy(
    id="item-features",
    claim=CLAIMS["item-features"],
    description=(
        "K=100 movies with 5 ratings or more, drawn for each run; genres and year are their features, and the prior "
        "of dTS and dUCB is fitted to 40 % of the movies. TunedTS, TunedUCB (the rule of dUCB) and MixTS are fitted to "
        "the same movies without features. Half of the others serve to tune, half to report; five such splits, 20 runs "
        "of 2000 rounds each, every agent tuned by brackets on 10 others. Stars, or liked or not."
    ),
    reading=Reading(
        reference="dTS",
        claims=(
            Claim(CLAIMS["item-features"], "dTS", ("TunedTS", "MixTS", "LinTS", "LinUCB", "GLM-TS", "UCB-GLM")),
            Claim(
                "Untuned bounds on that posterior have less regret than the others tuned, and than without features.",
                "dUCB",
                ("dTS", "TunedUCB", "TunedTS", "MixTS", "LinTS", "LinUCB", "GLM-TS", "UCB-GLM"),
            ),
        ),
        picture="differences",
    ),
    cells=_movie_cells,
    data=True,
)
STUDIES = (_EFFECTS, _FEATURES)
