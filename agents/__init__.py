"""Agents: one ``act`` / ``update`` interface, an agent a class."""

from dts_gym.agents.base import Agent
from dts_gym.agents.baselines import EpsilonGreedy, Oracle, Random
from dts_gym.agents.diffusion import ChainAgent, DiffusionTS, DiffusionUCB
from dts_gym.agents.glm import GLMTS, UCBGLM, GLMAgent
from dts_gym.agents.linear import HierTS, JointTS, LinearAgent, LinTS, LinUCB, MarginalLinTS
from dts_gym.agents.model_agents import ModelAgent, PosteriorAgent
from dts_gym.agents.posterior_sampling import LaplaceDPS, MixTS, PosteriorSampler, TunedTS
from dts_gym.posteriors.interface import Posterior

__all__ = [
    "GLMTS",
    "UCBGLM",
    "Agent",
    "ChainAgent",
    "DiffusionTS",
    "DiffusionUCB",
    "EpsilonGreedy",
    "GLMAgent",
    "HierTS",
    "JointTS",
    "LaplaceDPS",
    "LinTS",
    "LinUCB",
    "LinearAgent",
    "MarginalLinTS",
    "MixTS",
    "ModelAgent",
    "Oracle",
    "Posterior",
    "PosteriorAgent",
    "PosteriorSampler",
    "Random",
    "TunedTS",
]
