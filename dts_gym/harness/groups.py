"""Runs in groups that advance together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym

from dts_gym.harness.experiment import AgentSpec, Experiment, base_label
from dts_gym.harness.teams import advance_together
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import is_built_in, make_agent

Job = tuple[int, int, int]  # index of the task, seed, index of the agent
# Runs that advance together: at most so many, fewer where more rounds would be lost with them, but no fewer than the
# last; and from so many runs on.
_MOST_TOGETHER, _ROUNDS_TOGETHER, _LEAST_TOGETHER, _LEAST_RUNS = 50, 3_000_000, 8, 4
# Rounds of runs whose rewards are not Gaussian: they take longer, and rewards are kept.
_KEPT_TOGETHER = 500_000


class Group(NamedTuple):
    """Runs of one experiment and one kind of agent that advance together, or one by itself.

    Attributes
    ----------
    jobs : index of the task, seed, and index of the agent of each run.
    together : whether they advance together, which one run can do too.
    """

    jobs: list[Job]
    together: bool


def grouped(jobs: Sequence[Job], experiments: Sequence[Experiment], num_workers: int) -> list[Group]:
    """The jobs in groups whose runs advance together, in the order of their first jobs; others by themselves.

    A group holds runs of one agent, at one exploration scale or several, on seeds that follow each other. With several
    workers groups are smaller, so that there are at least twice as many as workers, if there are so many runs. No
    number depends on the groups.

    Notes
    -----
    A group has at most 50 runs, of small tables (see `dts_gym.agents.lockstep`): some 130 MB, where rewards are not
    Gaussian half as much again, and 50 MB in 5 dimensions for the rewards themselves. It has fewer where runs are long:
    a stopped experiment loses the groups in flight, about a minute's work each, some minutes' with deep denoisers.
    """
    asked = {number for number, _, _ in jobs}
    rounds = {number: _rounds_together(experiments[number]) for number in asked}
    stacked = sum(rounds[number][index] > 0 for number, _, index in jobs)
    even = -(-stacked // (2 * num_workers)) if num_workers > 1 else _MOST_TOGETHER
    kinds = {number: _alike(experiments[number].agents) for number in asked}
    groups: list[Group] = []
    open_groups: dict[tuple[int, int], Group] = {}  # by task and kind of agent
    for job in jobs:
        number, _, index = job
        kind = number, kinds[number][index]
        together = rounds[number][index] > 0
        long = max(_LEAST_TOGETHER, rounds[number][index] // experiments[number].num_rounds)
        size = max(1, min(_MOST_TOGETHER, even, long)) if together else 1
        held = open_groups.get(kind)
        if held is not None and len(held.jobs) < size:
            held.jobs.append(job)
        else:
            groups.append(Group([job], together))
            open_groups[kind] = groups[-1]
    return groups


def _alike(agents: Sequence[AgentSpec]) -> list[int]:
    """For each agent the number of the first that differs from it in its exploration scale at most."""
    kinds = [(spec.id, base_label(spec)) for spec in agents]
    return [kinds.index(kind) for kind in kinds]


def _rounds_together(experiment: Experiment) -> list[int]:
    """For each agent how many rounds its runs that advance together may have, 0 where each run is by itself.

    Runs advance together on the package's environments, where the agent's class offers it and it pays.
    """
    kinds = _alike(experiment.agents)
    asked = [kind for kind in set(kinds) if len(experiment.seeds) * kinds.count(kind) >= _LEAST_RUNS]
    if not asked or not is_built_in(experiment.env_id):
        return [0] * len(kinds)
    env = gym.make(experiment.env_id, disable_env_checker=True, **experiment.env_settings)
    try:
        specs = {kind: experiment.agents[kind] for kind in asked}
        made = {kind: make_agent(spec.id, env, seed=0, **spec.settings) for kind, spec in specs.items()}
    finally:
        env.close()
    return [_most_rounds(made[kind]) if kind in made else 0 for kind in kinds]


def _most_rounds(agent: Any) -> int:
    if not advance_together([agent]):
        return 0
    return _ROUNDS_TOGETHER if isinstance(agent.reward_model, GaussianReward) else _KEPT_TOGETHER
