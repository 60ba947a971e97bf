"""Measures a step of a vector environment against as many single environments, as a ratio within one run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from dts_gym.utils.arrays import IntArray
from dts_gym.utils.seeding import stream
from dts_gym.utils.validation import integer

# Number of rounds before the timed ones, after which blocks drawn ahead have reached their full length.
_WARM_ROUNDS = 240
# Share of the timed rounds that the slow single environments play too.
_SINGLES_SHARE = 4


class EnvTiming(NamedTuple):
    """Median microseconds of a round of N instances: by N single environments, and by the vector environment."""

    env_id: str
    settings: dict[str, Any]
    singles: float
    vector: float


SETTINGS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("DiffusionBandit-v0", {}),
    ("DiffusionBandit-v0", {"regret_info": False}),
    ("DiffusionBandit-v0", {"reward": "bernoulli"}),
    ("DiffusionBandit-v0", {"num_actions": 1000, "dim": 20}),
    ("SyntheticBandit-v0", {"num_past": 100}),
    ("SharedDiffusionBandit-v0", {}),
    ("SharedDiffusionBandit-v0", {"regret_info": False}),
    ("SharedDiffusionBandit-v0", {"fixed_features": True}),
    ("DiffusionBandit-v0", {"horizon": 50}),
    ("DiffusionBandit-v0", {"horizon": 1}),
)


def run_env_bench(num_envs: int = 256, rounds: int = 256, repeats: int = 3, seed: int = 0) -> str:
    """Time a step of vector environments against a loop over as many single ones, made by ``gym.make``.

    Parameters
    ----------
    num_envs :
        N, the number of instances.
    rounds :
        Number of steps of the vector environment in one timing; the single environments play a quarter of them.
    repeats :
        Number of timings; each times both in turn, and the table has their medians.
    seed :
        Seed for the environments and the actions.

    Returns
    -------
    str
        A table. Compare times within it only, never between runs or machines.
    """
    N, n = integer("num_envs", num_envs, 1), integer("rounds", rounds, _SINGLES_SHARE)
    times, root = integer("repeats", repeats, 1), integer("seed", seed, 0)
    timings = [measure(env_id, settings, N, n, times, root) for env_id, settings in SETTINGS]
    return env_table(timings, N)


def measure(env_id: str, settings: dict[str, Any], num_envs: int, rounds: int, repeats: int, seed: int) -> EnvTiming:
    """Time one environment."""
    envs = gym.make_vec(env_id, num_envs=num_envs, **settings)
    singles = [gym.make(env_id, **settings) for _ in range(num_envs)]
    envs.reset(seed=seed)
    for i, env in enumerate(singles):
        env.reset(seed=seed + i)
    size = singles[0].get_wrapper_attr("problem").num_actions
    actions = stream(seed, "history").integers(size, size=(_WARM_ROUNDS + rounds, num_envs))

    def vector(played: IntArray) -> None:
        for row in played:
            envs.step(row)

    def loop(played: IntArray) -> None:
        for row in played.tolist():
            for env, action in zip(singles, row, strict=True):
                if env.step(action)[3]:
                    env.reset()

    warm, timed = actions[:_WARM_ROUNDS], actions[_WARM_ROUNDS:]
    vector(warm)
    loop(warm[: _WARM_ROUNDS // _SINGLES_SHARE])
    pairs = [(_seconds(loop, timed[: rounds // _SINGLES_SHARE]), _seconds(vector, timed)) for _ in range(repeats)]
    of_singles, of_vector = (float(np.median(part)) * 1e6 for part in zip(*pairs, strict=True))
    return EnvTiming(env_id, settings, of_singles, of_vector)


def _seconds(play: Callable[[IntArray], None], actions: IntArray) -> float:
    """Seconds for each round."""
    start = time.process_time()
    play(actions)
    return (time.process_time() - start) / len(actions)


def env_table(timings: list[EnvTiming], num_envs: int) -> str:
    """The timings as text."""
    names = [
        " ".join([timing.env_id, *(f"{name}={value}" for name, value in timing.settings.items())]) for timing in timings
    ]
    width = max(map(len, names))
    lines = [f"{'':<{width}} {'singles µs':>11} {'vector µs':>10} {'ratio':>6} {'steps/s':>10}"]
    for name, timing in zip(names, timings, strict=True):
        lines.append(
            f"{name:<{width}} {timing.singles:>11.0f} {timing.vector:>10.0f} {timing.singles / timing.vector:>6.1f} "
            f"{1e6 * num_envs / timing.vector:>10.0f}"
        )
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "not set")
    lines.append(f"a round of {num_envs} instances; {os.cpu_count()} cores, OPENBLAS_NUM_THREADS {threads}")
    return "\n".join(lines)
