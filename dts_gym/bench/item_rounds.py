"""Measures a round of dTS on items that share effects against one on a linear chain, as a ratio within one run."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

import numpy as np

from dts_gym.priors.mixed_effects import MixedEffectPrior
from dts_gym.priors.random_priors import even_chain
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import make_agent
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import boolean, integer

_KINDS = 50  # groups of equal items, where items are alike


class ItemTiming(NamedTuple):
    """Median microseconds of CPU time of a round, of its choice and its update, and of a new item; NaN if not timed."""

    name: str
    choice: float
    update: float
    new_item: float

    @property
    def round(self) -> float:
        """A choice and an update."""
        return self.choice + self.update


def run_item_bench(
    num_actions: int = 10_000,
    played: int = 4000,
    dim: int = 20,
    effects: tuple[int, ...] = (5, 20),
    rounds: int = 500,
    seed: int = 0,
    progress: bool = True,
) -> str:
    """Time rounds of dTS on priors of mixed effects against rounds on a linear chain of the same size.

    Parameters
    ----------
    num_actions :
        Number K of actions.
    played :
        Number of actions that have been played.
    dim :
        Dimension d of contexts and parameters.
    effects :
        Numbers J of effects, so that q = J d numbers are shared.
    rounds :
        Number of rounds that are timed, in turn.
    seed :
        Seed for the contexts, the weights and the agents.
    progress :
        Show a bar on stderr.

    Returns
    -------
    str
        A table. Compare times within it only, never between runs or machines.
    """
    K, d = integer("num_actions", num_actions, 1), integer("dim", dim, 1)
    P, n = integer("played", played, 1, K), integer("rounds", rounds, 1)
    root = integer("seed", seed, 0)
    rng = stream(root, "contexts")
    problems = {"linear chain": BanditProblem(K, d, even_chain(d, 2, root), GaussianReward())}
    weights: dict[str, Any] = {}
    for J in [integer("effects", each, 1) for each in effects]:
        kinds = rng.standard_normal((min(_KINDS, K), J))
        alike = kinds[rng.integers(len(kinds), size=K)]
        for kind, mixing in ((f"{len(kinds)} kinds", alike), ("all different", rng.standard_normal((K, J)))):
            name = f"q = {J * d}, {kind}"
            prior = MixedEffectPrior(mixing, np.eye(J * d) / J, np.eye(d))
            problems[name], weights[name] = BanditProblem(K, d, prior, GaussianReward()), mixing
    agents = {name: make_agent("dTS", problem, seed=root) for name, problem in problems.items()}
    for agent in agents.values():
        agent.update(rng.standard_normal((P, d)), rng.permutation(K)[:P], rng.standard_normal(P))
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in agents}
    for _ in progress_bar(range(n), boolean("progress", progress), n, "rounds"):
        context, reward = rng.uniform(-1, 1, d), float(rng.standard_normal())
        for name, agent in agents.items():
            posterior: Any = agent._posterior
            action = int((posterior if name in weights else posterior.table).actions[0])
            start = time.process_time()
            agent.act(context)
            chosen = time.process_time()
            agent.update(context, action, reward)
            learned = time.process_time()
            # The item keeps its weights, so that sizes stay, and is played again at once.
            agent.retire(action, weights[name][action] if name in weights else None)
            retired = time.process_time()
            agent.update(context, action, reward)
            times[name].append((chosen - start, learned - chosen, retired - learned))
    medians = {name: 1e6 * np.median(np.array(each), axis=0) for name, each in times.items()}
    timings = [ItemTiming(name, *map(float, each)) for name, each in medians.items()]
    return item_table(timings, f"K = {K}, d = {d}, {P} actions played, dTS, medians of {n} rounds")


def item_table(timings: list[ItemTiming], title: str) -> str:
    """The timings as text; the first is what rounds are compared with."""
    header = f"{'prior':<24}{'choice µs':>11}{'update µs':>11}{'new item µs':>13}"
    header += f"{'round / chain':>15}{'new item / update':>19}"
    lines = [title, header]
    lines += [
        f"{each.name:<24}{each.choice:>11.1f}{each.update:>11.1f}{each.new_item:>13.1f}"
        f"{each.round / timings[0].round:>15.2f}{each.new_item / each.update:>19.2f}"
        for each in timings
    ]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    return "\n".join([*lines, f"CPU time; {os.cpu_count()} cores, OPENBLAS_NUM_THREADS {threads}"])
