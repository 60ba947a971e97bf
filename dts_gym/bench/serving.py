"""Measures choices for a batch of contexts against one matrix product over the played actions' packed matrices."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from dts_gym.posteriors.action_table import Dtype
from dts_gym.priors.random_priors import even_chain
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from dts_gym.registry import make_agent
from dts_gym.utils.seeding import stream

CASES: tuple[tuple[str, Dtype], ...] = (("dTS", "float64"), ("dTS", "float32"), ("LinTS", "float64"))
_ACTIONS, _DIM, _BATCH = 10_000, 20, 256


class ServingTiming(NamedTuple):
    """Median milliseconds of 256 choices at once, and of the matrix product, in the same precision."""

    agent: str
    dtype: str
    batch: float
    product: float


def measure_serving(agent_id: str, dtype: Dtype, repeats: int, seed: int) -> ServingTiming:
    """Time ``act`` on 256 contexts at K=10^4, d=20, all actions played, and the matrix product, in turn."""
    problem = BanditProblem(_ACTIONS, _DIM, even_chain(_DIM, 2, seed), GaussianReward(1.0))
    agent, rng = make_agent(agent_id, problem, seed=seed, dtype=dtype), stream(seed, "history")
    contexts, rewards = rng.uniform(-1, 1, (_ACTIONS, _DIM)), rng.standard_normal(_ACTIONS)
    agent.update(contexts, np.arange(_ACTIONS), rewards)
    packed = rng.standard_normal((_ACTIONS, _DIM * (_DIM + 1) // 2)).astype(dtype)
    queries = rng.standard_normal((_BATCH, packed.shape[1])).astype(dtype)
    seconds = np.empty((repeats, 2))
    for i in range(repeats):
        batch = rng.uniform(-1, 1, (_BATCH, _DIM))
        start = time.process_time()
        agent.act(batch)
        between = time.process_time()
        queries @ packed.T
        seconds[i] = between - start, time.process_time() - between
    of_batch, product = np.median(seconds, axis=0) * 1e3
    return ServingTiming(agent_id, dtype, float(of_batch), float(product))


def serving_table(timings: list[ServingTiming]) -> str:
    """The timings as text."""
    lines = [
        f"Choices for {_BATCH} contexts at once over one product of ({_BATCH}, d (d + 1) / 2) with the packed matrices",
        f"of the played actions, K=10^4, d={_DIM}, all played",
        f"{'agent':<6} {'dtype':<8} {'batch ms':>9} {'product ms':>11} {'ratio':>6}",
    ]
    lines += [
        f"{timing.agent:<6} {timing.dtype:<8} {timing.batch:>9.1f} {timing.product:>11.1f} "
        f"{timing.batch / timing.product:>6.2f}"
        for timing in timings
    ]
    return "\n".join(lines)
