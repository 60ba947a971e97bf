"""Shapes in the plane as priors: a figure of posteriors, and the regret of agents that draw from them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import gymnasium as gym
import numpy as np

from dts_gym.diagnostics.error_problems import PLANAR
from dts_gym.diagnostics.reweighted_prior import draw_pool, sample_pool
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.figures import looks
from dts_gym.priors.prior import as_chain_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.registry import make_agent
from dts_gym.studies.cells import Cell, Claim, Reading
from dts_gym.studies.claims import CLAIMS
from dts_gym.studies.comparison_study import CellStudy, run_cells
from dts_gym.studies.outcome import findings_of
from dts_gym.studies.study import Ask, Findings, Profile, Study
from dts_gym.utils.archives import write_atomically
from dts_gym.utils.arrays import Array
from dts_gym.utils.seeding import stream

_AGENTS = ("dTS", "LaplaceDPS", "TunedTS", "MixTS")
_SEEN = 5  # number of rewards for the figure: few enough that the prior's shape is visible in the posterior
_DRAWS = 400
_POOL = 20_000


def _cells(profile: Profile, data: str | None) -> tuple[Cell, ...]:
    quick = profile == "quick"
    rounds = 50 if quick else 200
    learned: dict[str, Any] = (
        {"prior": "linear"} if quick else {"prior": "diffusion", "depth": 100, "schedule": "constant"}
    )
    return tuple(
        Cell(
            name=shape,
            env_id="SyntheticBandit-v0",
            agents=tuple(agent for agent in _AGENTS if not (quick and agent == "LaplaceDPS")),
            env_settings={
                "shape": shape,
                "num_actions": 100,
                "features": "shared",
                "feature_law": "ball",
                "horizon": rounds,
                **learned,
            },
            seeds=3 if quick else 50,
            num_rounds=rounds,
            panel=shape,
        )
        for shape in (PLANAR[:2] if quick else PLANAR)
    )


@dataclass(frozen=True)
class PlanarStudy(Study):
    """Runs cells as a comparison does; its figure shows posteriors."""

    cells: CellStudy

    def settings(self, ask: Ask) -> Mapping[str, Any]:
        return {cell.name: asdict(cell) for cell in self.cells.chosen_cells(ask)}

    def _run(self, ask: Ask, conduct: Conduct) -> Findings:
        outcome = run_cells(self.cells, ask, conduct)
        return replace(findings_of(outcome), draw=lambda path: _draw(outcome.cells, path))


def posterior_clouds(cell: Cell) -> dict[str, Array]:
    """Draws of the shared parameter, (n, 2): past ones, from the true posterior under the prior, from every agent.

    All agents learn the same five rewards of actions played at random on one instance. The truth is a pool of 20 000
    chains, reweighted by the exact likelihood.
    """
    env: Any = gym.make(cell.env_id, **cell.env_settings).unwrapped
    problem: BanditProblem = env.problem
    context, _ = env.reset(seed=0)
    rng = stream(0, "history")
    contexts, actions, rewards = [], [], []
    for _ in range(_SEEN):
        action = int(rng.integers(problem.num_actions))
        contexts.append(context.astype(np.float64))
        actions.append(action)
        context, reward, *_ = env.step(action)
        rewards.append(reward)
    X, y = np.array([x[a] for x, a in zip(contexts, actions, strict=True)]), np.array(rewards)
    assert problem.past_parameters is not None
    pool = draw_pool(as_chain_prior(problem.prior), _POOL, stream(0, "prior"))
    clouds = {
        "past": problem.past_parameters[:_DRAWS],
        "true posterior": sample_pool(pool, X, y, 1.0, _DRAWS, rng).draws,
    }
    for name in cell.agents:
        agent: Any = make_agent(name, problem, seed=0)
        agent.update(np.array(contexts), np.array(actions), y)
        clouds[name] = agent.sample_parameters(_DRAWS)
    return clouds | {"truth": env.instance.parameters[None]}


def _draw(cells: tuple[Cell, ...], path: str | os.PathLike[str]) -> None:
    """Draw a row for each shape: past draws, the true posterior, the agents'; a cross marks the parameter."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = ["past", "true posterior", *cells[0].agents]
    figure = Figure(figsize=(2.1 * len(columns), 2.15 * len(cells)), layout="constrained")
    FigureCanvasAgg(figure)
    known = looks(cells[0].agents) | {"past": ("0.6", "-"), "true posterior": ("0.2", "-")}
    for row, cell in zip(figure.subplots(len(cells), len(columns), squeeze=False), cells, strict=True):
        clouds = posterior_clouds(cell)
        reach = 1.1 * float(np.abs(clouds["past"]).max())
        for axes, name in zip(row, columns, strict=True):
            axes.plot(*clouds[name].T, ".", color=known[name][0], markersize=2, alpha=0.6)
            axes.plot(*clouds["truth"].T, "x", color="black", markersize=7)
            axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[], aspect="equal")
            if cell is cells[0]:
                axes.set_title(name, fontsize="medium", color=known[name][0])
        row[0].set_ylabel(cell.name)
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=120))


_CLAIM = CLAIMS["posterior-2d"]
STUDY = PlanarStudy(
    id="posterior-2d",
    claim=_CLAIM,
    description=(
        "The six problems of Kveton et al.: one parameter in the plane for all actions, drawn from a shape; 100 "
        "actions with features uniform in the unit ball, noise 1, 200 rounds, exploration 1. The prior is a denoising "
        "diffusion model of 100 steps of 0.97 pre-trained on 10 000 draws, which TunedTS and MixTS fit too. The figure "
        "shows the posteriors after five rewards on one instance, whose parameter is the cross. The quick profile has "
        "the linear prior, which needs no torch."
    ),
    cells=CellStudy(
        "posterior-2d",
        _CLAIM,
        "",
        Reading(
            "dTS",
            claims=(
                Claim(_CLAIM, "dTS", ("TunedTS",)),
                Claim(
                    "Beyond the deck: draws of the exact posterior are worth more than other ways to the shape.",
                    "dTS",
                    ("LaplaceDPS", "MixTS"),
                ),
            ),
        ),
        _cells,
    ),
)
