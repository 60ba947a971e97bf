"""Runs of an agent on instances that it believes in: its own prior, its own rewards, contexts like those to come."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dts_gym.harness.teams import team_of
from dts_gym.posteriors.exploration import Exploration
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import seed_sequence

_BLOCK = 64  # rounds whose contexts and noise are drawn at once
_ROWS = 384  # of runs that advance together


class Contexts(NamedTuple):
    """What contexts are believed to be like.

    Attributes
    ----------
    rows : (N, d), or (N, K, d) with shared features; each is as probable as any.
    fixed : whether an instance shows one of them in all its rounds.
    """

    rows: Array
    fixed: bool


def rewards_of(
    agent: Any,
    rules: Sequence[Exploration],
    numbers: range,
    contexts: Contexts,
    num_rounds: int,
    seed: int,
    progress: Callable[[int], object] = lambda _: None,
) -> Array:
    """The sum of mean rewards of a run under each rule, on instances drawn from what the agent believes.

    Parameters
    ----------
    agent : an agent that has learned nothing and follows a rule; it is copied, not played.
    rules : C rules of exploration.
    numbers : the instances' numbers, R of them: instance i is the same in every call.
    contexts : what instances show.
    num_rounds : n, the length of a run.
    seed : seed for instances, contexts, noise and the agents' draws.
    progress : called with the number of rounds that were played since the last time, of all runs together.

    Returns
    -------
    (C, R)
        Rules are played on the same instances, contexts and noise, by agents of the same random streams.
    """
    size = max(1, _ROWS // len(rules))
    parts = [
        _played(agent, rules, numbers[start : start + size], contexts, num_rounds, seed, progress)
        for start in range(0, len(numbers), size)
    ]
    return np.concatenate(parts, axis=1)


def _played(
    agent: Any,
    rules: Sequence[Exploration],
    numbers: range,
    contexts: Contexts,
    num_rounds: int,
    seed: int,
    progress: Callable[[int], object],
) -> Array:
    model, C, R = agent.reward_model, len(rules), len(numbers)
    roots = [np.random.SeedSequence(seed, spawn_key=(number,)) for number in numbers]
    worlds = [np.random.default_rng(seed_sequence(root, "simulation")) for root in roots]
    posterior = agent._posterior
    theta = np.stack([posterior.sample_parameters(world, 1.0) for world in worlds])
    theta = np.concatenate([theta] * C)  # the runs of a rule follow each other
    twins = [_twin(agent, rule, root, num_rounds) for rule in rules for root in roots]
    total = np.zeros(C * R)
    shown = np.array([world.integers(len(contexts.rows)) for world in worlds])
    with team_of(twins) as playing:
        for start in range(0, num_rounds, _BLOCK):
            length = min(_BLOCK, num_rounds - start)
            if not contexts.fixed:
                picked = np.stack([world.integers(len(contexts.rows), size=length) for world in worlds], axis=1)
            noise = np.stack([model.draw_noise(world, (length,)) for world in worlds], axis=1)
            for t in range(length):
                x = np.concatenate([contexts.rows[shown if contexts.fixed else picked[t]]] * C)
                actions = playing.act(x)
                predictors = _predictors(agent, theta, x, actions)
                playing.update(x, actions, model.from_noise(np.tile(noise[t], C), predictors))
                total += model.mean(predictors)
            progress(C * R * length)
    return total.reshape(C, R)


def _twin(agent: Any, rule: Exploration, root: np.random.SeedSequence, num_rounds: int) -> Any:
    """A copy of an agent that follows a rule, with random streams of its own."""
    twin = copy.copy(agent)
    shared = {id(value): value for value in agent.__dict__.values() if value is not agent._posterior}
    twin.__setstate__(copy.deepcopy(agent.__getstate__(), shared))
    twin.reseed(root)
    twin._follow(rule)
    twin.begin_run(num_rounds)
    twin._first = None  # simulated rewards are what it expects
    return twin


def _predictors(agent: Any, theta: Array, x: Array, actions: IntArray) -> Array:
    """``x' theta`` of the played actions in R runs, (R,)."""
    rows, runs = agent._check_context(x), np.arange(len(actions))
    if theta.ndim == 2:  # a parameter that all actions share
        return np.asarray(np.vecdot(rows[runs, actions], theta))
    return np.asarray(np.vecdot(rows, theta[runs, actions]))
