"""Regret of dTS, LinTS, LinUCB and of SB3's PPO, DQN, A2C (gamma 0) on fixed instances, every interaction counted.

python examples/sb3_comparison.py [--quick] [--seeds N] [--actions K] [--workers N] [INTERACTIONS ...]

The default is 5000, 10^5 and 10^6 interactions; see docs/ecosystem.md for how long that takes. Each SB3 model
is trained anew for each number, as DQN's exploration is planned for it. Beside the regret of all interactions the table
has the regret a round afterwards, in 2000 rounds played greedily without learning. SB3's settings are its defaults
except gamma and PPO's rollouts of 250 rounds, because 5000 interactions hold only two rollouts of 2048. The agents'
exploration is 1.
"""

import argparse
import time
from collections.abc import Sequence

import gymnasium as gym
import numpy as np
import torch
from joblib import Parallel, delayed
from stable_baselines3 import A2C, DQN, PPO

import dts_gym
from dts_gym.integrations.sb3 import RegretCallback, SB3Policy
from dts_gym.report import plus_minus, standard_error

MODELS = {"PPO": (PPO, {"n_steps": 250, "batch_size": 50}), "DQN": (DQN, {}), "A2C": (A2C, {})}
AGENTS = ("dTS", "LinTS", "LinUCB")


def measure(name: str, interactions: int, num_actions: int, seed: int, rounds_after: int = 2000) -> tuple[float, float]:
    """Measure the regret of all interactions, and the regret a round afterwards."""
    torch.set_num_threads(1)  # networks this small are slower on many
    env = gym.make("DiffusionBandit-v0", num_actions=num_actions, instance_seed=seed, horizon=max(interactions, 2000))
    if name in MODELS:
        cls, settings = MODELS[name]
        counted = RegretCallback()
        learner = cls("MlpPolicy", env, gamma=0.0, seed=seed, device="cpu", **settings)
        learner.learn(interactions, callback=counted)  # rounded up to whole rollouts
        total = counted.regret[interactions - 1]
    else:
        learner = dts_gym.make_agent(name, env, seed=seed)
        total = dts_gym.run(env, learner, interactions, seed=seed).regret[-1]
    after = dts_gym.run(env, SB3Policy(learner), rounds_after, seed=seed + 1_000_000).regret[-1] / rounds_after
    return float(total), float(after)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row as soon as its runs are done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "interactions", nargs="*", type=int, default=[5_000, 100_000, 1_000_000], help="numbers of interactions"
    )
    parser.add_argument("--quick", action="store_true", help="run 500 interactions on one instance of 10 actions")
    parser.add_argument("--seeds", type=int, default=5, help="number of instances")
    parser.add_argument("--actions", type=int, default=100, help="number of actions")
    parser.add_argument("--workers", type=int, default=1, help="number of instances at a time")
    asked = parser.parse_args(arguments)
    if asked.quick:
        asked.interactions, asked.seeds, asked.actions = [500], 1, 10
    print(f"DiffusionBandit-v0, K={asked.actions}, d=5, L=2: means of {asked.seeds} instances ± standard errors")
    print(f"{'interactions':>12} {'':>7} {'regret':>14} {'a round after':>16} {'minutes':>8}")
    pool = Parallel(n_jobs=asked.workers)
    for interactions in asked.interactions:
        for name in (*AGENTS, *MODELS):
            start = time.perf_counter()
            runs = np.array(pool(delayed(measure)(name, interactions, asked.actions, s) for s in range(asked.seeds)))
            minutes = (time.perf_counter() - start) / 60
            total, after = (plus_minus(float(x.mean()), float(standard_error(x[:, None])[0])) for x in runs.T)
            print(f"{interactions:>12} {name:>7} {total:>14} {after:>16} {minutes:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
