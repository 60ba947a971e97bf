"""Rewards that come in batches: bounds that pick in order, beside Thompson sampling at several scales.

python examples/batches.py [ROUNDS] [BATCH] [SEEDS]

Each agent picks actions for BATCH contexts at once and learns their rewards together. Scales of Thompson sampling are
tried on other instances, half as many; the best one is then played on the same instances as dUCB, which is not tuned.
"""

import sys

import gymnasium as gym
import numpy as np

import dts_gym

SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)


def regret(agent_id: str, rounds: int, batch: int, seed: int, **settings: float) -> float:
    """Cumulative regret of one agent on the instance of a seed, whose prior is drawn by that seed too."""
    env = gym.make("DiffusionBandit-v0", num_actions=100, dim=5, prior_seed=seed, horizon=rounds)
    env.reset(seed=seed)
    instance, problem = env.unwrapped.instance, env.unwrapped.problem
    agent = dts_gym.make_agent(agent_id, env, seed=seed, **settings)
    rng, total = np.random.default_rng(seed), 0.0
    for start in range(0, rounds, batch):
        contexts = rng.uniform(-1, 1, (min(batch, rounds - start), problem.dim))
        actions = np.atleast_1d(agent.act(contexts))
        means = instance.linear_predictors(contexts)
        chosen = means[np.arange(len(contexts)), actions]
        agent.update(contexts, actions, problem.reward_model.sample(rng, chosen))
        total += float((means.max(axis=1) - chosen).sum())
    return total


def main(rounds: int = 2000, batch: int = 100, seeds: int = 20) -> None:
    """Print mean regrets with standard errors, and the paired difference."""
    others = range(1000, 1000 + max(1, seeds // 2))
    tried = {e: np.mean([regret("dTS", rounds, batch, s, exploration=e) for s in others]) for e in SCALES}
    best = min(tried, key=lambda e: tried[e])
    ours = np.array([regret("dUCB", rounds, batch, s) for s in range(seeds)])
    theirs = np.array([regret("dTS", rounds, batch, s, exploration=best) for s in range(seeds)])
    for name, values in (("dUCB", ours), (f"dTS at {best}", theirs), ("difference", ours - theirs)):
        error = values.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
        print(f"{name:>12}: {values.mean():.0f} ± {error:.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
