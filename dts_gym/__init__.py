"""Bayesian contextual bandits with structured priors, as Gymnasium environments and agents.

    import gymnasium as gym, dts_gym

    env = gym.make("DiffusionBandit-v0", num_actions=100, dim=5, depth=2)
    agent = dts_gym.make_agent("dTS", env, seed=0)
    result = dts_gym.run(env, agent, num_rounds=1000, seed=0)

Importing the package registers ids and loads nothing else; names load when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dts_gym.registry import agent_ids, env_ids, make_agent, register_agent, register_envs

if TYPE_CHECKING:
    from dts_gym.agents.choose import choose_exploration
    from dts_gym.harness.aggregates import aggregate
    from dts_gym.harness.comparing import compare
    from dts_gym.harness.experiment import AgentSpec
    from dts_gym.harness.run_result import RunResult
    from dts_gym.harness.runner import run
    from dts_gym.harness.tuning import tune
    from dts_gym.identification.comparing import compare_identification
    from dts_gym.identification.identifying import identify
    from dts_gym.pretraining.branch_choice import BranchChoice, choose_branch
    from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior, load_prior
    from dts_gym.priors.features import FeaturePrior
    from dts_gym.priors.links import AffineLink, Link, MLPLink
    from dts_gym.priors.mixed_effects import MixedEffectPrior
    from dts_gym.priors.offsets import OffsetPrior
    from dts_gym.priors.prior import Prior
    from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
    from dts_gym.problem.problem import BanditInstance, BanditProblem
    from dts_gym.problem.rewards import BernoulliReward, GaussianReward, PoissonReward, RewardModel

__version__ = "0.1.0"

__all__ = [
    "AffineLink",
    "AgentSpec",
    "BanditInstance",
    "BanditProblem",
    "BernoulliReward",
    "BranchChoice",
    "DiffusionPrior",
    "FeaturePrior",
    "GaussianReward",
    "LinearDiffusionPrior",
    "Link",
    "MLPLink",
    "MixedEffectPrior",
    "OffsetPrior",
    "PoissonReward",
    "Prior",
    "RewardModel",
    "RunResult",
    "agent_ids",
    "agents",
    "aggregate",
    "callbacks",
    "checks",
    "choose_branch",
    "choose_exploration",
    "compare",
    "compare_identification",
    "datasets",
    "env_ids",
    "envs",
    "identification",
    "identify",
    "load_prior",
    "make_agent",
    "offpolicy",
    "pretraining",
    "random_linear_prior",
    "random_mlp_prior",
    "register_agent",
    "run",
    "sweeps",
    "theory",
    "tune",
]

_MODULES = (
    "agents",
    "callbacks",
    "checks",
    "datasets",
    "envs",
    "identification",
    "offpolicy",
    "pretraining",
    "sweeps",
    "theory",
)
_HOMES = {
    "AffineLink": "priors.links",
    "AgentSpec": "harness.experiment",
    "BanditInstance": "problem.problem",
    "BanditProblem": "problem.problem",
    "BernoulliReward": "problem.rewards",
    "BranchChoice": "pretraining.branch_choice",
    "DiffusionPrior": "priors.chains",
    "FeaturePrior": "priors.features",
    "GaussianReward": "problem.rewards",
    "LinearDiffusionPrior": "priors.chains",
    "Link": "priors.links",
    "MLPLink": "priors.links",
    "MixedEffectPrior": "priors.mixed_effects",
    "OffsetPrior": "priors.offsets",
    "PoissonReward": "problem.rewards",
    "Prior": "priors.prior",
    "RewardModel": "problem.rewards",
    "RunResult": "harness.run_result",
    "choose_branch": "pretraining.branch_choice",
    "choose_exploration": "agents.choose",
    "compare": "harness.comparing",
    "aggregate": "harness.aggregates",
    "compare_identification": "identification.comparing",
    "identify": "identification.identifying",
    "load_prior": "priors.chains",
    "random_linear_prior": "priors.random_priors",
    "random_mlp_prior": "priors.random_priors",
    "run": "harness.runner",
    "tune": "harness.tuning",
}

register_envs()


if not TYPE_CHECKING:  # a type checker would otherwise believe that every name exists

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(f"dts_gym.{name}")
        if name in _HOMES:
            return getattr(importlib.import_module(f"dts_gym.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'dts_gym' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
