"""Measures rounds without a closed form, as ratios within one run: perceptron chains and GLM rewards."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.links import MLPLink
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import BernoulliReward, GaussianReward
from dts_gym.registry import make_agent
from dts_gym.utils.arrays import Array, IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import integer

_ACTIONS, _DIM, _SHALLOW = 100, 5, 2
_DEPTHS = (_SHALLOW, 40)
_PARTICLES = (1, 16, 64)
# Random perceptrons widen a chain; in deep chains the last layer's weights are multiplied by this, which keeps the
# spread.
_CONTRACTION = 0.3
# Number of rounds played before the timed ones, so that tangents are warm.
_WARM_ROUNDS = 5
_EXPANSIONS = ("map", "online")
# Ratio of the lengths of the two histories of GLM rewards.
_LONGER = 100


class ChainTiming(NamedTuple):
    """Microseconds of a round of dTS on a perceptron chain, and of the link evaluations that it needs at least."""

    depth: int
    num_particles: int
    median: float
    mean: float
    links: float  # median: P values and one Jacobian of every link


class GLMTiming(NamedTuple):
    """Median microseconds of a round after the shorter and after the longer history, of the same distribution."""

    agent: str
    expansion: str
    before: float
    after: float


class _History(NamedTuple):
    """Contexts (n, d), actions (n,) and rewards (n,) of uniformly random play."""

    contexts: Array
    actions: IntArray
    rewards: Array


def run_chain_bench(rounds: int = 300, repeats: int = 300, glm_rounds: int = 100_000, seed: int = 0) -> str:
    """Time rounds (act + update) on perceptron chains against link evaluations, and GLM rounds against their number.

    Parameters
    ----------
    rounds :
        Number of updates before the timing on perceptron chains.
    repeats :
        Number of rounds timed; every round times each job of its table in turn.
    glm_rounds :
        Number of Bernoulli rewards before the timing, compared with a hundredth of them.
    seed :
        Seed for the problems and agents.

    Returns
    -------
    str
        Two tables. Compare times within one table only, never between runs or machines.
    """
    count, times = integer("rounds", rounds, 1), integer("repeats", repeats, 1)
    number, root = integer("glm_rounds", glm_rounds, _LONGER), integer("seed", seed, 0)
    chains = [timing for depth in _DEPTHS for timing in time_chain(depth, count, times, root)]
    return chain_table(chains, count) + "\n\n" + glm_table(time_glm(number, times, root), number)


def time_chain(depth: int, rounds: int, repeats: int, seed: int) -> list[ChainTiming]:
    """Time rounds of dTS on one chain, for several numbers of particles."""
    prior = _perceptrons(depth, seed)
    problem = BanditProblem(_ACTIONS, _DIM, prior, GaussianReward(1.0))
    agents = {P: make_agent("dTS", problem, seed=seed, num_particles=P) for P in _PARTICLES}
    history = _random_play(problem, rounds + _WARM_ROUNDS + repeats, seed)
    for agent in agents.values():
        _learn(agent, history, 0, rounds)
    psi = np.random.default_rng(seed).standard_normal((max(_PARTICLES), _DIM))

    def evaluate(P: int) -> Callable[[Array, int, float], Any]:
        return lambda x, action, y: [(link(psi[:P]), link.jacobian(psi[0])) for link in prior.links]

    jobs: dict[Any, Callable[[Array, int, float], Any]] = {P: _round_of(agent) for P, agent in agents.items()}
    jobs |= {("links", P): evaluate(P) for P in _PARTICLES}
    times = _timed(jobs, history, rounds)
    return [
        ChainTiming(depth, P, float(np.median(times[P])), float(times[P].mean()), float(np.median(times["links", P])))
        for P in _PARTICLES
    ]


def time_glm(rounds: int, repeats: int, seed: int) -> list[GLMTiming]:
    """Time rounds of GLM-TS and dTS with Bernoulli rewards on a linear chain, after both histories."""
    prior = random_linear_prior(_DIM, _SHALLOW, seed=seed)
    problem = BanditProblem(_ACTIONS, _DIM, prior, BernoulliReward())
    history = _random_play(problem, rounds + _WARM_ROUNDS + repeats, seed)
    jobs: dict[Any, Callable[[Array, int, float], Any]] = {}
    for agent_id in ("GLM-TS", "dTS"):
        for expansion in _EXPANSIONS:
            for length in (rounds // _LONGER, rounds):
                agent = make_agent(agent_id, problem, seed=seed, expansion=expansion)
                _learn(agent, history, rounds - length, rounds)
                jobs[agent_id, expansion, length] = _round_of(agent)
    medians = {name: float(np.median(times)) for name, times in _timed(jobs, history, rounds).items()}
    return [
        GLMTiming(name, mode, medians[name, mode, rounds // _LONGER], medians[name, mode, rounds])
        for name in ("GLM-TS", "dTS")
        for mode in _EXPANSIONS
    ]


def _perceptrons(depth: int, seed: int) -> DiffusionPrior:
    """The default chain of random perceptrons; a deep one contracts."""
    plain = random_mlp_prior(_DIM, depth, seed=seed)
    if depth <= _SHALLOW:
        return plain
    links = []
    for link in plain.links:
        assert isinstance(link, MLPLink)
        links.append(MLPLink([*link.weights[:-1], _CONTRACTION * link.weights[-1]], activation=link.activation))
    return DiffusionPrior(links, plain.covariances)


def _random_play(problem: BanditProblem, rounds: int, seed: int) -> _History:
    """Play actions uniformly at random on one instance of the problem."""
    rng = stream(seed, "history")
    theta = problem.prior.sample(rng, _ACTIONS)  # (K, d)
    contexts, actions = rng.uniform(-1.0, 1.0, (rounds, _DIM)), rng.integers(_ACTIONS, size=rounds)
    rewards = problem.reward_model.sample(rng, (contexts * theta[actions]).sum(axis=1))
    return _History(contexts, actions, rewards)


def _learn(agent: Any, history: _History, begin: int, end: int) -> None:
    for i in range(begin, end):
        agent.update(history.contexts[i], int(history.actions[i]), float(history.rewards[i]))


def _round_of(agent: Any) -> Callable[[Array, int, float], Any]:
    """A round whose update is fixed, so that all agents learn the same."""
    return lambda x, action, y: (agent.act(x), agent.update(x, action, y))


def _timed(jobs: Mapping[Any, Callable[[Array, int, float], Any]], history: _History, begin: int) -> dict[Any, Array]:
    """Microseconds of every job in the rounds from ``begin`` on, all in turn, after a few warm-up rounds."""
    micros: dict[Any, list[float]] = {name: [] for name in jobs}
    for i in range(begin, len(history.actions)):
        x, action, y = history.contexts[i], int(history.actions[i]), float(history.rewards[i])
        for name, job in jobs.items():
            start = time.process_time()
            job(x, action, y)
            micros[name].append((time.process_time() - start) * 1e6)
    return {name: np.array(times[_WARM_ROUNDS:]) for name, times in micros.items()}


def chain_table(timings: list[ChainTiming], rounds: int) -> str:
    """The timings on perceptron chains as text."""
    lines = [f"{'L':>3} {'P':>3} {'round µs':>9} {'mean µs':>9} {'links µs':>9} {'round / links':>14}"]
    for depth, P, median, mean, links in timings:
        lines.append(f"{depth:>3} {P:>3} {median:>9.1f} {mean:>9.1f} {links:>9.1f} {median / links:>14.2f}")
    lines.append(
        f"dTS on perceptron chains, K={_ACTIONS}, d={_DIM}, after {rounds} rounds; "
        "links: P values and one Jacobian of each link"
    )
    lines.append(f"the deep chain contracts: its links' last layers are the random ones times {_CONTRACTION}")
    return "\n".join([*lines, _machine()])


def glm_table(timings: list[GLMTiming], rounds: int) -> str:
    """The timings of GLM rounds as text."""
    few = rounds // _LONGER
    lines = [f"{'agent':<6} {'expansion':<9} {f'µs at {few}':>13} {f'µs at {rounds}':>13} {'ratio':>6}"]
    for agent, expansion, before, after in timings:
        lines.append(f"{agent:<6} {expansion:<9} {before:>13.1f} {after:>13.1f} {after / before:>6.2f}")
    lines.append(
        f"Bernoulli rewards on a linear chain, K={_ACTIONS}, d={_DIM}, L={_SHALLOW}, actions uniformly at random: "
        f"about {rounds / _ACTIONS:.0f} rounds each"
    )
    return "\n".join([*lines, _machine()])


def _machine() -> str:
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    return f"{os.cpu_count()} cores, OPENBLAS_NUM_THREADS {threads}; medians of one run"
