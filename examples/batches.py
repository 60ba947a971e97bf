"""Rewards that come in batches, or late: upper bounds that know what is on its way, beside Thompson sampling.

python examples/batches.py [ROUNDS] [BATCH] [SEEDS] [batch | late | unsaid]

With "batch" each agent picks actions for BATCH contexts at once and learns their rewards together. With "late" it picks
one by one, each reward comes BATCH rounds later, and the plays that wait are given to `act` as pending; with "unsaid"
they are not. Scales of Thompson sampling are tried on other instances, half as many; the best one is then played on the
same instances as dUCB, which is not tuned.
"""

import sys
from collections import deque

import gymnasium as gym
import numpy as np

import dts_gym

SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)


def regret(agent_id: str, rounds: int, batch: int, seed: int, when: str, **settings: float) -> float:
    """Cumulative regret of one agent on the instance of a seed, whose prior is drawn by that seed too."""
    env = gym.make("DiffusionBandit-v0", num_actions=100, dim=5, prior_seed=seed, horizon=rounds)
    env.reset(seed=seed)
    instance, problem = env.unwrapped.instance, env.unwrapped.problem
    agent = dts_gym.make_agent(agent_id, env, seed=seed, **settings)
    rng, total = np.random.default_rng(seed), 0.0
    waiting: deque[tuple[np.ndarray, int, float]] = deque()
    for start in range(0, rounds, batch if when == "batch" else 1):
        count = min(batch, rounds - start) if when == "batch" else 1
        contexts = rng.uniform(-1, 1, (count, problem.dim))
        pending = None
        if when == "late" and waiting:
            pending = np.array([x for x, _, _ in waiting]), [a for _, a, _ in waiting]
        actions = np.atleast_1d(agent.act(contexts, pending=pending))
        means = instance.linear_predictors(contexts)
        chosen = means[np.arange(count), actions]
        rewards = problem.reward_model.sample(rng, chosen)
        total += float((means.max(axis=1) - chosen).sum())
        if when == "batch":
            agent.update(contexts, actions, rewards)
            continue
        waiting.append((contexts[0], int(actions[0]), float(rewards[0])))
        if len(waiting) > batch:
            agent.update(*waiting.popleft())
    return total


def main(rounds: int = 2000, batch: int = 100, seeds: int = 20, when: str = "batch") -> None:
    """Print mean regrets with standard errors, and the paired difference."""
    others = range(1000, 1000 + max(1, seeds // 2))
    tried = {e: np.mean([regret("dTS", rounds, batch, s, when, exploration=e) for s in others]) for e in SCALES}
    best = min(tried, key=lambda e: tried[e])
    ours = np.array([regret("dUCB", rounds, batch, s, when) for s in range(seeds)])
    theirs = np.array([regret("dTS", rounds, batch, s, when, exploration=best) for s in range(seeds)])
    for name, values in (("dUCB", ours), (f"dTS at {best}", theirs), ("difference", ours - theirs)):
        error = values.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else float("nan")
        print(f"{name:>12}: {values.mean():.0f} ± {error:.0f}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:4]), *sys.argv[4:])
