"""Measures runs that advance together against runs one by one, as a ratio within one run."""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from dts_gym.harness.runner import run
from dts_gym.harness.teams import advance_together
from dts_gym.registry import make_agent
from dts_gym.utils.progress import progress_bar
from dts_gym.utils.validation import boolean, integer

_SINGLES_SHARE = 10  # of the runs that are played one by one too
AGENTS = ("dTS", "dUCB", "LinTS", "LinUCB")


class Setting(NamedTuple):
    """Sizes and rewards of a problem, and who plays it."""

    num_actions: int
    dim: int
    reward: str
    agent: str


SETTINGS = (
    *(Setting(K, d, "gaussian", agent) for K, d in ((10, 5), (100, 5), (1000, 5), (1000, 20)) for agent in AGENTS),
    *(Setting(100, 5, reward, agent) for reward in ("bernoulli", "poisson") for agent in ("dTS", "GLM-TS")),
)


class TogetherTiming(NamedTuple):
    """Median microseconds of CPU time of a round of one run, with its environment: one by one, and together."""

    setting: Setting
    stacked: bool
    singles: float
    together: float


def run_together_bench(
    num_runs: int = 50, rounds: int = 2000, repeats: int = 3, seed: int = 0, progress: bool = True
) -> str:
    """Time runs on a vector environment, which advance together where that pays, against single runs.

    Parameters
    ----------
    num_runs :
        Number of runs that are played together; a tenth of them are played one by one.
    rounds :
        Number of rounds of a run.
    repeats :
        Number of timings; each times both in turn, and the table has their medians.
    seed :
        Seed for the environments and the agents.
    progress :
        Show a bar on stderr.

    Returns
    -------
    str
        A table. Compare times within it only, never between runs or machines.
    """
    R, n = integer("num_runs", num_runs, 1), integer("rounds", rounds, 1)
    times, root = integer("repeats", repeats, 1), integer("seed", seed, 0)
    shown = progress_bar(SETTINGS, boolean("progress", progress), len(SETTINGS), "settings")
    return together_table([measure(setting, R, n, times, root) for setting in shown], R)


def measure(setting: Setting, num_runs: int, rounds: int, repeats: int, seed: int) -> TogetherTiming:
    """Time one agent on one size of problem."""
    *sizes, agent_id = setting
    settings: dict[str, Any] = dict(zip(("num_actions", "dim", "reward"), sizes, strict=True))
    settings["horizon"] = rounds
    env = gym.make("DiffusionBandit-v0", **settings)
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=num_runs, **settings)
    alone, pairs = max(1, num_runs // _SINGLES_SHARE), []
    for _ in range(repeats):
        start = time.process_time()
        for i in range(alone):
            run(env, make_agent(agent_id, env, seed=seed + i), rounds, seed=seed + i)
        between = time.process_time()
        run(envs, [make_agent(agent_id, envs, seed=seed + i) for i in range(num_runs)], rounds, seed=seed)
        pairs.append(((between - start) / alone, (time.process_time() - between) / num_runs))
    singles, together = (1e6 * float(np.median(part)) / rounds for part in zip(*pairs, strict=True))
    stacked = advance_together([make_agent(agent_id, env, seed=seed)])
    return TogetherTiming(setting, stacked, singles, together)


def together_table(timings: list[TogetherTiming], num_runs: int) -> str:
    """The timings as text."""
    lines = [f"{'K':>6} {'d':>3} {'rewards':<9} {'agent':<7} {'singles µs':>11} {'together µs':>12} {'ratio':>6}"]
    lines += [
        f"{K:>6} {d:>3} {reward:<9} {agent:<7} {singles:>11.1f} {together:>12.1f} {together / singles:>6.3f}"
        + ("" if stacked else "  agents one by one")
        for (K, d, reward, agent), stacked, singles, together in timings
    ]
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    lines.append(
        f"CPU time of a round of one of {num_runs} runs, with its environment; {os.cpu_count()} cores, "
        f"OPENBLAS_NUM_THREADS {threads}"
    )
    return "\n".join(lines)
