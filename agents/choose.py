"""The exploration that an agent would choose for a problem, in the open: `dts_gym.choose_exploration`."""

from __future__ import annotations

from typing import Any

from dts_gym.agents.auto.exploration_tuning import ExplorationTuning
from dts_gym.agents.exploring import Exploring
from dts_gym.agents.inputs import checked_problem
from dts_gym.problem.problem import BanditProblem
from dts_gym.registry import agent_settings, make_agent


def choose_exploration(
    problem: BanditProblem,
    agent_id: str,
    *,
    seed: int = 0,
    horizon: int | None = None,
    contexts: Any = None,
    tuning_rounds: int | None = None,
    **settings: Any,
) -> ExplorationTuning:
    """Find the exploration under which an agent has the most reward on instances of its own prior.

    An agent made with ``exploration="auto"`` does the same at its first `act`, with seed 0.

    Parameters
    ----------
    problem : the problem, of which the agent's own settings and prior are simulated.
    agent_id : id of an agent with an ``exploration`` setting.
    seed : seed for the simulation.
    horizon : number of rewards that the agent will learn; None uses the problem's.
    contexts : (N, d) contexts like those to come, with shared features (N, K, d); None uses the problem's
        ``context_sample``.
    tuning_rounds : most rounds to simulate, summed over runs; None: a number that follows from the sizes.
    settings : other settings of the agent.

    Returns
    -------
    ExplorationTuning
        The candidates, how they did, and the chosen one.

    Raises
    ------
    ValueError
        If the agent has no such setting or refuses it, or the number of rounds or the contexts are unknown.

    Examples
    --------
    >>> import gymnasium as gym, dts_gym
    >>> env = gym.make("DiffusionBandit-v0", num_actions=5, dim=3, horizon=100)
    >>> found = dts_gym.choose_exploration(env.unwrapped.problem, "LinTS", tuning_rounds=20_000)
    >>> found.num_rounds, found.choice in found.rules
    (100, True)
    """
    known = checked_problem(problem)
    if "tuning_rounds" not in agent_settings(agent_id):
        raise ValueError(f"agent_id must be of an agent that may choose its exploration, got {agent_id!r}")
    told = {"horizon": horizon, "contexts": contexts, "tuning_rounds": tuning_rounds}
    agent = make_agent(agent_id, known, seed=0, exploration="auto", **told, **settings)
    assert isinstance(agent, Exploring)
    found = agent.choose_exploration(seed)
    if found is None:
        raise ValueError("contexts must be given where the problem has no context_sample, got None")
    return found
