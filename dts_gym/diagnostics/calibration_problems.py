"""Bandits and agents whose posteriors simulation-based calibration tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.prior import Prior
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import BernoulliReward, GaussianReward, RewardModel

Claim = Literal["exact", "consistent", "approximate"]


@dataclass(frozen=True, eq=False)
class CalibrationProblem:
    """A bandit and an agent whose posterior is to be tested on it.

    Parameters
    ----------
    name : name shown in results.
    problem : a problem with any prior, rewards and features.
    agent : id of an agent with posterior draws.
    settings : the agent's own settings.
    claim : the claimed quality of the agent's posterior; "consistent" means in the number of particles. It is shown,
        not used.
    num_rounds : number of rewards in a simulation.
    """

    name: str
    problem: BanditProblem
    agent: str = "dTS"
    settings: Mapping[str, Any] | None = None
    claim: Claim = "exact"
    num_rounds: int = 10


def _five_actions(name: str, prior: Prior, model: RewardModel, claim: Claim, **settings: Any) -> CalibrationProblem:
    return CalibrationProblem(name, BanditProblem(5, prior.dim, prior, model), settings=settings, claim=claim)


# Actions are near each other and rewards few, so most of the posterior is in the shared levels, where engines differ.
# With Sigma_1 = I and 20 rounds, a standard deviation that is a fifth too small would not be detected.
_LINEAR = LinearDiffusionPrior(random_linear_prior(3, 2).weights, [np.eye(3) / 16, np.eye(3), np.eye(3)])
_MLP = DiffusionPrior(random_mlp_prior(2, 2).links, [np.eye(2) / 16, np.eye(2), np.eye(2)])
_GAUSSIAN = GaussianReward(1.0)
PROBLEMS = (
    _five_actions("linear", _LINEAR, _GAUSSIAN, "exact"),
    _five_actions("linear-branch", _LINEAR.with_branch(1), _GAUSSIAN, "exact"),
    _five_actions("linear-particles", _LINEAR, _GAUSSIAN, "exact", approximation="particles"),
    _five_actions("mlp-particles", _MLP, _GAUSSIAN, "consistent", approximation="particles"),
    _five_actions("mlp-linearised", _MLP, _GAUSSIAN, "approximate", approximation="linearised"),
    _five_actions("mlp-deck", _MLP, _GAUSSIAN, "approximate", approximation="deck"),
    _five_actions("linear-bernoulli", _LINEAR, BernoulliReward(), "approximate"),
)
PROBLEM_NAMES = tuple(problem.name for problem in PROBLEMS)
