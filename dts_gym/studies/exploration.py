"""Exploration: untuned bounds that fall over the horizon, against the best constant scale of every rival."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dts_gym.diagnostics.error_problems import PLANAR
from dts_gym.harness.tuning import GRID
from dts_gym.studies.cells import Cell, Claim, Reading
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.study import Profile

RULE = "dUCB (exploration horizon)"
_ITSELF = "dTS (exploration auto)"
_OURS = "dUCB:exploration=horizon"
_AUTO = "dTS:exploration=auto"
_ADAPTED = "dUCB:exploration=horizon,adapt_scale=true"
_STRUCTURED = ("dTS", "dUCB:exploration=1.0")  # constants on the same posterior
_LINEAR = (*_STRUCTURED, "LinTS", "LinUCB", "HierTS", "MarginalLinTS")
_BENT = (*_STRUCTURED, "LinTS", "LinUCB", "MarginalLinTS")
_CLICKS = (*_STRUCTURED, "GLM-TS", "UCB-GLM")
_LEARNED = (*_STRUCTURED, "LinTS", "LinUCB", "TunedTS")
_SHARED = (*_STRUCTURED, "LinTS", "LinUCB")
_RIVALS = ("dTS", "dUCB", "LinTS", "LinUCB", "HierTS", "MarginalLinTS", "GLM-TS", "UCB-GLM", "TunedTS", "MixTS")
_STATED = ("LinTS", "LinUCB", "HierTS", "GLM-TS", "UCB-GLM")


def _chain(
    name: str,
    sizes: tuple[int, int, int, int],
    rivals: tuple[str, ...],
    seeds: int,
    quick: bool,
    *,
    env_id: str = "DiffusionBandit-v0",
    **settings: Any,
) -> Cell:
    K, d, L, n = sizes
    settings = {"num_actions": K, "dim": d, "depth": L, **settings, "horizon": n}
    return Cell(
        name=name,
        env_id=env_id,
        agents=(_OURS, *rivals),
        env_settings=settings,
        seeds=3 if quick else seeds,
        num_rounds=n,
        redraw_prior=True,
        grid=(1.0, 0.5) if quick else GRID,
        tuning_seeds=2 if quick else 3 if K >= 10_000 else 10,
        panel=f"{name}: K={K}, d={d}, n={n}",
        bracket=not quick,
    )


def _ratings(rank: int, K: int, reward: str, data: str | None) -> Cell:
    settings: dict[str, Any] = {
        "rank": rank,
        "num_actions": K,
        "reward": reward,
        "prior": "linear",
        "min_ratings": 5,
        "train_fraction": 0.4,
        "horizon": 2000 if K <= 100 else 1000,
        "part": "report",
        **({} if data is None else {"data": data}),
    }
    rivals = ("dTS", "dUCB:exploration=1.0", "TunedTS", "LinTS", "LinUCB")
    clicks = ("dTS", "dUCB:exploration=1.0", "TunedTS", "GLM-TS", "UCB-GLM")
    kind = "stars" if reward == "gaussian" else "liked"
    return Cell(
        name=f"ratings-rank-{rank}-actions-{K}-{kind}",
        env_id="MovieLensBandit-v0",
        agents=(_OURS, *(rivals if reward == "gaussian" else clicks)),
        env_settings=settings,
        seeds=20,
        num_rounds=settings["horizon"],
        grid=GRID,
        tuning_seeds=10,
        tuning_settings={"part": "tuning"},
        panel=f"ratings, rank {rank}, K={K}, {kind}",
    )


def _drawn_from(shape: str, rivals: tuple[str, ...], n: int, bar: str, **settings: Any) -> Cell:
    """Parameters from a shape in the plane, under a denoising diffusion model of 10 000 other draws."""
    return Cell(
        name=shape,
        env_id="SyntheticBandit-v0",
        agents=(_OURS, *rivals),
        env_settings={"shape": shape, "dim": 2, "num_actions": 100, "prior": "diffusion", "horizon": n, **settings},
        seeds=20,
        num_rounds=n,
        grid=GRID,
        tuning_seeds=10,
        panel=f"{shape}: {bar}, K=100, n={n}",
    )


def _wrong(name: str, agents: tuple[str, ...], quick: bool, **settings: Any) -> Cell:
    """Cells in which the rule has a wrong horizon or a wrong prior, beside the right ones."""
    n = 100 if quick else 2000
    return Cell(
        name=name,
        env_id="DiffusionBandit-v0",
        agents=(_OURS, *agents),
        env_settings={"num_actions": 20 if quick else 100, "dim": 5, "depth": 2, "horizon": n, **settings},
        seeds=3 if quick else 50,
        num_rounds=n,
        redraw_prior=True,
        panel=name,
    )


def _few(K: int, n: int, noise_std: float, fixed: bool) -> Cell:
    """Few actions, where the agent that tunes itself has something to gain; contexts that vary, or one an episode."""
    name = f"few-actions-{K}-rounds-{n}-noise-{noise_std:g}" + ("-fixed" if fixed else "")
    agents = (_AUTO, *_STRUCTURED, "LinTS", "LinUCB")
    cell = _chain(name, (K, 5, 2, n), agents, 50, False, noise_std=noise_std, fixed_features=fixed)
    return replace(cell, auto_once=True)


def _chosen_by_itself(cell: Cell) -> Cell:
    """The runs of another cell with dTS that tunes itself, once, on the first run's prior."""
    name = f"auto-{cell.name}"
    return replace(cell, name=name, agents=(_OURS, _AUTO), grid=(), auto_once=True, panel=f"auto {cell.panel}")


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    if profile == "quick":
        return (
            _chain("LL-100", (20, 5, 2, 100), ("dTS", "LinUCB"), 3, True),
            _wrong("horizon", ("dUCB:exploration=horizon,horizon=25",), True),
        )
    horizons = tuple(f"dUCB:exploration=horizon,horizon={n}" for n in (500, 1000, 4000, 8000))
    told = tuple(
        _chain(f"prior-scale-{scale:g}", (100, 5, 2, 2000), _LINEAR, 50, False, prior_scale=scale)
        for scale in (0.25, 0.5, 2.0, 4.0)
    )
    right = (
        *(_chain(f"LL-{n}", (100, 5, 2, n), _LINEAR, 50, False) for n in (1000, 2000, 5000)),
        _chain("LL-actions-1000", (1000, 20, 4, 2000), _LINEAR, 20, False),
        _chain("LL-actions-10000", (10_000, 20, 4, 5000), _LINEAR, 5, False),
        _chain("LL-actions-10", (10, 5, 2, 2000), _LINEAR, 50, False),
        _chain("LL-actions-10-quiet", (10, 5, 2, 2000), _LINEAR, 50, False, noise_std=0.2),
        _chain("LN", (100, 5, 2, 2000), _CLICKS, 50, False, reward="bernoulli"),
        _chain("NL", (100, 5, 2, 2000), _BENT, 50, False, link="mlp"),
        _chain("NL-actions-10000", (10_000, 20, 4, 5000), _BENT, 5, False, link="mlp"),
        _chain("NN", (100, 5, 2, 2000), _CLICKS, 20, False, link="mlp", reward="bernoulli"),
        *(_ratings(rank, K, r, data) for rank in (5, 20) for K in (100, 1000) for r in ("gaussian", "bernoulli")),
        _chain("shared", (100, 20, 2, 2000), _SHARED, 50, False, env_id="SharedDiffusionBandit-v0"),
        *(
            _drawn_from(
                shape,
                (*_LEARNED, "MixTS"),
                200,
                "one parameter",
                features="shared",
                feature_law="ball",
                depth=100,
                schedule="constant",
            )
            for shape in PLANAR
        ),
        _drawn_from("swiss-roll", _LEARNED, 500, "an action each", depth=40),
    )
    return (
        *right,
        *told,
        *(_chosen_by_itself(cell) for cell in right),
        *(
            _few(K, n, noise, fixed)
            for fixed in (False, True)
            for n in (200, 2000, 10_000)
            for noise in (0.2, 1.0, 5.0)
            for K in (2, 5, 10)
        ),
        *(
            _chain(f"adapted-{scale:g}", (100, 5, 2, 2000), (_ADAPTED, *_STRUCTURED), 50, False, prior_scale=scale)
            for scale in (0.25, 1.0, 4.0)
        ),
        _wrong("horizon", horizons, False),
    )


_CLAIM = CLAIMS["exploration"]
STUDY = CellStudy(
    id="exploration",
    claim=_CLAIM,
    description=(
        "dUCB with alpha_t = (1 - t / n) sqrt(log(1 + A n / d)), A parameter vectors (K, or one that all actions "
        "share), untuned, beside constant scales of dTS, of bounds on "
        "the same posterior and of every baseline that fits, each tuned by brackets on 10 other instances (3 at "
        "K=10^4). Linear and perceptron chains drawn for each run; ratings with a linear prior fitted to other movies; "
        "shapes in the plane with a denoising diffusion model of other draws. Cells of a wrong horizon and of a prior "
        "whose variance is told a quarter to four times what it is, with and without an agent that moves it. Cells of "
        "few actions, with dTS that chooses its exploration by simulating the first run's prior; a cell auto-NAME has "
        "that agent in the runs of NAME. 50 runs at K=100 and with few actions, 20 at K=1000, for perceptrons with "
        "clicks, for ratings and for shapes, 5 at K=10^4."
    ),
    reading=Reading(
        reference=RULE,
        claims=(
            Claim(_CLAIM, RULE, _RIVALS),
            Claim("Untuned, no baseline is ahead of it.", RULE, _STATED),
            Claim("An agent that tunes itself has no more regret than it.", _ITSELF, (RULE,)),
            Claim("Nor than the best constant scale of any rival.", _ITSELF, _RIVALS),
        ),
    ),
    cells=_cells,
    data=True,
)
