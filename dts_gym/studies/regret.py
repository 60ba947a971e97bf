"""Figure 1 of the slides: regret where the prior is a linear or a perceptron chain, rewards Gaussian or Bernoulli."""

from __future__ import annotations

from collections.abc import Callable

from dts_gym.harness.tuning import GRID
from dts_gym.studies.cells import Cause, Cell, Claim, Reading
from dts_gym.studies.claims import CLAIMS, HASTE, STUCK
from dts_gym.studies.comparison_study import CellStudy
from dts_gym.studies.study import Profile

_SIZES = ((100, 5, 2), (10_000, 20, 4))  # K, d, L
_WRONG = "dTS (noise_std 1)"
_AGENTS = {
    "LL": ("dTS", "HierTS", "LinTS", "LinUCB", "MarginalLinTS"),
    "LN": ("dTS", "dTS:noise_std=1.0", "GLM-TS", "UCB-GLM", "MarginalLinTS:noise_std=1.0"),
    "NL": ("dTS", "LinTS", "LinUCB", "MarginalLinTS"),
    "NN": ("dTS", "dTS:noise_std=1.0", "GLM-TS", "UCB-GLM", "MarginalLinTS:noise_std=1.0"),
}
_RULES = ("dTS", "dTS:approximation=linearised", "dTS:approximation=deck")
_DECK = {
    "LL": ("HierTS", "LinTS", "LinUCB"),
    "LN": (_WRONG, "GLM-TS", "UCB-GLM"),
    "NL": ("LinTS", "LinUCB"),
    "NN": (_WRONG, "GLM-TS", "UCB-GLM"),
}


def _cells_of(regime: str) -> Callable[[Profile, str | None], tuple[Cell, ...]]:
    link = "linear" if regime[0] == "L" else "mlp"
    reward = "gaussian" if regime[1] == "L" else "bernoulli"

    def cell(size: tuple[int, int, int], quick: bool, rules: bool = False) -> Cell:
        K, d, L = size
        rounds = 100 if quick else 5000
        return Cell(
            name=f"{'rules' if rules else 'actions'}-{K}",
            env_id="DiffusionBandit-v0",
            agents=_RULES if rules else _AGENTS[regime],
            env_settings={"num_actions": K, "dim": d, "depth": L, "link": link, "reward": reward, "horizon": rounds},
            seeds=3 if quick else 20 if rules else 50 if K == 100 else 10,
            num_rounds=rounds,
            redraw_prior=True,
            grid=() if rules else (1.0, 0.25) if quick else GRID,
            tuning_seeds=2 if quick else 5 if K == 100 else 2,
            panel=f"K={K}, L={L}, d={d}" + (", rules for the links" if rules else ""),
        )

    def cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
        quick = profile == "quick"
        small, large = ((20, 5, 2), (1000, 20, 4)) if quick else _SIZES
        return cell(small, quick), cell(large, quick), cell(small, quick, rules=True)

    return cells


def _study(regime: str) -> CellStudy:
    claim = CLAIMS[f"regret-{regime}"]
    chain = "weights uniform on [-1, 1]" + (
        ", the last columns zeroed: (5, 2) or (20, 10, 5, 2) active ones"
        if regime[0] == "L"
        else ", two layers, ReLU, hidden 20 at d=5 and 60 at d=20"
    )
    beside = [
        Claim(
            "Beyond the deck: sharing is worth more than the right marginal prior.",
            "dTS",
            ("MarginalLinTS", "MarginalLinTS (noise_std 1)"),
            causes=(Cause(STUCK, "tuned"),),
        ),
        Claim(
            "Beyond the deck: the deck's rule costs regret; messages through the links mend it.",
            "dTS",
            ("dTS (approximation deck)",),
        ),
    ]
    if regime[0] == "N":
        beside.append(
            Claim(
                "Beyond the deck: particles are worth more than one linearised pass.",
                "dTS",
                ("dTS (approximation linearised)",),
            )
        )
    causes: tuple[Cause, ...] = (Cause(HASTE, "at 1", ("LinTS", "LinUCB", "GLM-TS", "UCB-GLM")),)
    if regime == "LL":
        causes += (Cause(STUCK, "tuned", ("HierTS",)),)
    return CellStudy(
        id=f"regret-{regime}",
        claim=claim,
        description=(
            f"Chains with {chain}, unit covariances, drawn for each run; contexts uniform on the cube, "
            f"{'noise 1' if regime[1] == 'L' else 'Bernoulli rewards'}, 5000 rounds; every agent at exploration 1 and "
            "tuned on other runs. Open in the deck, chosen here: priors are redrawn, exploration is tuned from 1, "
            "0.5 and 0.25 on, until the best lies inside; 50 runs at K=100, 10 at K=10^4. Rules for the links are "
            "compared at 1, K=100, 20 runs."
        ),
        reading=Reading(
            reference="dTS",
            claims=(Claim(claim, "dTS", _DECK[regime], causes=causes), *beside),
            picture="rounds",
        ),
        cells=_cells_of(regime),
    )


STUDIES = tuple(_study(regime) for regime in _AGENTS)
