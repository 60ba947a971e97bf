"""Measures rounds with compiled kernels (extra ``fast``) against rounds by NumPy, as ratios within one run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.fast.switch import VARIABLE, is_fast
from dts_gym.priors.random_priors import even_chain
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import make_agent
from dts_gym.utils.seeding import stream

SIZES = ((100, 5), (1000, 20), (10_000, 20))  # number of actions, all played, and dimension
_STRETCH = 10  # rounds of one kind before the other's turn, so that its arrays are in the cache as they are in play


class CompiledTiming(NamedTuple):
    """Median microseconds of a round of dTS by NumPy and compiled, and of one BLAS pass over the full matrices."""

    num_actions: int
    dim: int
    plain: float
    compiled: float
    blas_pass: float


def check_compiled() -> None:
    """Raise ValueError if the extra ``fast`` is not installed."""
    with _switched("1"):
        if not is_fast():
            raise ValueError("fast must be left out where the extra `fast` (numba) is not installed")


@contextmanager
def _switched(value: str) -> Iterator[None]:
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = value
    try:
        yield
    finally:
        del os.environ[VARIABLE]
        if before is not None:
            os.environ[VARIABLE] = before


def measure_compiled(num_actions: int, dim: int, repeats: int, seed: int) -> CompiledTiming:
    """Time one size: a stretch of rounds by each in turn; the extra ``fast`` must be installed."""
    problem = BanditProblem(num_actions, dim, even_chain(dim, 2, seed), GaussianReward(1.0))
    rng = stream(seed, "history")
    contexts, rewards = rng.uniform(-1, 1, (num_actions, dim)), rng.standard_normal(num_actions)
    agents = []
    for value in "01":
        with _switched(value):
            agents.append(make_agent("dTS", problem, seed=seed))
        agents[-1].update(contexts, np.arange(num_actions), rewards)
        agents[-1].act(contexts[0])  # compiles, once
        agents[-1].update(contexts[0], 0, 0.0)
    full = rng.standard_normal((num_actions * dim, dim))
    medians = []
    for _ in range(max(1, repeats // _STRETCH)):
        rounds = [
            (rng.uniform(-1, 1, dim), int(rng.integers(num_actions)), float(rng.standard_normal()))
            for _ in range(_STRETCH)
        ]
        seconds: list[list[float]] = [[], [], []]
        for agent, times in zip(agents, seconds, strict=False):
            for x, action, y in rounds:
                start = time.process_time()
                agent.act(x)
                agent.update(x, action, y)
                times.append(time.process_time() - start)
        for x, _, _ in rounds:
            start = time.process_time()
            full @ x
            seconds[2].append(time.process_time() - start)
        medians.append(np.median(seconds, axis=1))
    plain, compiled, blas_pass = (float(each) * 1e6 for each in np.median(medians, axis=0))
    return CompiledTiming(num_actions, dim, plain, compiled, blas_pass)


def compiled_table(timings: list[CompiledTiming]) -> str:
    """The timings as text."""
    head = f"{'K':>6} {'d':>3} {'NumPy µs':>9} {'compiled µs':>12} {'ratio':>6}"
    head += f" {'NumPy / pass':>13} {'compiled / pass':>16}"
    lines = ["A round of dTS, compiled over NumPy, all actions played; pass: one of BLAS over (K d, d) matrices", head]
    for K, d, plain, compiled, blas_pass in timings:
        lines.append(
            f"{K:>6} {d:>3} {plain:>9.1f} {compiled:>12.1f} {compiled / plain:>6.3f} {plain / blas_pass:>13.2f} "
            f"{compiled / blas_pass:>16.2f}"
        )
    return "\n".join(lines)
