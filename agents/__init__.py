"""Agents: one ``act`` / ``update`` interface, an agent a class; the mathematics is in `dts_gym.posteriors`.

Read `base` (the template: what is checked, random streams; `inputs`, `cautions`, `saving`, `checked_files`,
`slates` and `together` serve it), then `posterior_agents` (agents with a posterior; `estimates` is what they say about
actions, `catalogues` how the set of actions changes), then any agent: `diffusion` (dTS and dUCB; `approximations` are
the ways to keep their posterior), `information` (IDS and Greedy), `linear`, `mixed_effects`, `glm`, `learned_priors`,
`baselines`. `lockstep` stacks the posteriors of many agents while they play.
"""

from dts_gym.agents.base import Agent
from dts_gym.agents.baselines import EpsilonGreedy, Oracle, Random
from dts_gym.agents.diffusion import ChainAgent, DiffusionTS, DiffusionUCB
from dts_gym.agents.glm import GLMTS, UCBGLM, GLMAgent
from dts_gym.agents.information import DiffusionGreedy, DiffusionIDS
from dts_gym.agents.learned_priors import FittedPriorAgent, LaplaceDPS, MixTS, MixUCB, TunedTS, TunedUCB
from dts_gym.agents.linear import HierTS, JointTS, LinearAgent, LinTS, LinUCB, MarginalLinTS
from dts_gym.agents.mixed_effects import MixedEffectTS
from dts_gym.agents.posterior_agents import ModelAgent, PosteriorAgent
from dts_gym.posteriors.interface import Posterior

__all__ = [
    "GLMTS",
    "UCBGLM",
    "Agent",
    "ChainAgent",
    "DiffusionGreedy",
    "DiffusionIDS",
    "DiffusionTS",
    "DiffusionUCB",
    "EpsilonGreedy",
    "FittedPriorAgent",
    "GLMAgent",
    "HierTS",
    "JointTS",
    "LaplaceDPS",
    "LinTS",
    "LinUCB",
    "LinearAgent",
    "MarginalLinTS",
    "MixTS",
    "MixUCB",
    "MixedEffectTS",
    "ModelAgent",
    "Oracle",
    "Posterior",
    "PosteriorAgent",
    "Random",
    "TunedTS",
    "TunedUCB",
]
