"""An agent with very many actions: microseconds a round over the rounds played, and peak memory.

python examples/large_k.py [ROUNDS] [NUM_ACTIONS] [AGENT ...]

No environment holds the parameters: an action's are drawn when it is first played, so a billion actions cost nothing.
Each agent runs in a process of its own, and each block of rounds reports the CPU time a round of the agent alone.

Beside a block's mean reward stand that of random play under the same contexts, and the share of the way from there to
the best of all actions (the mean of the largest of as many normal draws) that the agent has come.
"""

import multiprocessing
import resource
import sys
import time

import numpy as np
from scipy.special import ndtri

import dts_gym

DIM, BLOCKS = 20, 10


def chain() -> dts_gym.LinearDiffusionPrior:
    """A chain of two links, scaled so that the prior's spread does not grow."""
    plain = dts_gym.random_linear_prior(DIM, 2, seed=0)
    weights = [W / max(float(np.linalg.norm(W, 2)), 1.0) for W in plain.weights]
    return dts_gym.LinearDiffusionPrior(weights, plain.covariances)


def play(agent_id: str, num_actions: int, rounds: int) -> None:
    """Play, and print a line for each block."""
    prior, rng = chain(), np.random.default_rng(0)
    problem = dts_gym.BanditProblem(num_actions, DIM, prior, dts_gym.GaussianReward(1.0))
    agent = dts_gym.make_agent(agent_id, problem, seed=0)
    # The chain as two levels: the part that all actions share, and each action's own noise around it.
    mean, shared, own = prior.two_level()
    center = rng.multivariate_normal(mean, shared, method="eigh")
    root = np.linalg.cholesky(own)
    theta: dict[int, np.ndarray] = {}
    largest = ndtri((num_actions - 0.375) / (num_actions + 0.25))  # Blom: the largest of as many standard normal draws
    names = ("rounds", "µs a round", "played", "mean reward", "Random", "of best")
    print(f"{agent_id}, K={num_actions}, d={DIM}\n" + "".join(f"{name:>12}" for name in names))
    for block in np.array_split(np.arange(rounds), min(BLOCKS, rounds)):
        seconds, total, at_random, to_best = 0.0, 0.0, 0.0, 0.0
        for _ in block:
            context, noise = rng.uniform(-1, 1, DIM), rng.standard_normal()
            start = time.process_time()
            action = agent.act(context)
            seconds += time.process_time() - start
            if action not in theta:
                theta[action] = center + root @ rng.standard_normal(DIM)
            reward = float(context @ theta[action] + noise)
            start = time.process_time()
            agent.update(context, action, reward)
            seconds += time.process_time() - start
            total += reward
            at_random += float(context @ center)
            to_best += float(largest * np.linalg.norm(root.T @ context))
        n, share = len(block), (total - at_random) / to_best
        means = f"{total / n:>12.3f}{at_random / n:>12.3f}{share:>12.2f}"
        print(f"{int(block[-1]) + 1:>12}{seconds / n * 1e6:>12.1f}{len(theta):>12}{means}", flush=True)
    print(f"peak memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB", flush=True)


def main(rounds: str = "20000", num_actions: str = "1000000", *agents: str) -> None:
    """Play each agent in a fresh process."""
    for agent_id in agents or ("dTS", "LinTS"):
        given = agent_id, int(num_actions), int(rounds)
        process = multiprocessing.get_context("spawn").Process(target=play, args=given)
        process.start()
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)


if __name__ == "__main__":
    main(*sys.argv[1:])
