"""From a log to a decision: handwritten digits as a bandit, logged by a weak classifier.

python examples/offpolicy.py [ROUNDS]

Policies are learned from the log, judged on other rounds, and compared with their true values.
"""

import sys

import gymnasium as gym
import numpy as np

from dts_gym import offpolicy


class WeakClassifier:
    """What ran so far: right more often than chance, and never sure; it knows some labelled examples."""

    def __init__(self, contexts: np.ndarray, labels: np.ndarray) -> None:
        x, y = contexts[:100], np.eye(10)[labels[:100]]
        self.weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)

    def action_probabilities(self, contexts: np.ndarray) -> np.ndarray:
        """Softmax of its scores, mixed with uniform picks so that every action is tried."""
        p = np.exp(6.0 * contexts @ self.weights)
        return 0.8 * p / p.sum(axis=-1, keepdims=True) + 0.02


def main(num_rounds: int = 4000) -> None:
    """Log, learn on one half, judge on the other, compare with the truth."""
    env = gym.make("ClassificationBandit-v0", data="digits", dim=25, horizon=num_rounds)
    contexts, labels = env.unwrapped.contexts, env.unwrapped.labels
    logging = WeakClassifier(contexts, labels)
    log = offpolicy.record(env, logging, num_rounds, seed=0, learn=False)
    print(f"{log}\nmean reward of the log: {log.rewards.mean():.3f}")
    half = num_rounds // 2
    seen, unseen = log.rows(slice(half)), log.rows(slice(half, None))
    prior = env.unwrapped.problem.prior
    for learner in ("sDM", "LCB", "IPS", "LS"):
        policy = offpolicy.learn(seen, learner, prior=prior)
        table = offpolicy.evaluate(unseen, policy, ["IPS", "LS", "DR"], prior=prior)
        truth = policy.action_probabilities(contexts)[np.arange(len(labels)), labels].mean()
        print(f"\n{learner}: true value {truth:.3f}\n{table}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
