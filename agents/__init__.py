"""Agents: one ``act`` / ``update`` interface, an agent a class."""

from dts_gym.agents.base import Agent, Posterior, PosteriorAgent
from dts_gym.agents.baselines import EpsilonGreedy, Oracle, Random
from dts_gym.agents.linear import DiffusionTS, HierTS, JointTS, LinTS, LinUCB, MarginalLinTS

__all__ = [
    "Agent",
    "DiffusionTS",
    "EpsilonGreedy",
    "HierTS",
    "JointTS",
    "LinTS",
    "LinUCB",
    "MarginalLinTS",
    "Oracle",
    "Posterior",
    "PosteriorAgent",
    "Random",
]
