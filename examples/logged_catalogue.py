"""Learning from the log of a large catalogue: 500 simulated items, one log, and the truth to compare with.

python examples/logged_catalogue.py [ROUNDS] [ITEMS]

Three policies are learned from the same log: under the chain that the items come from, under independent items, and by
weighted rewards without a model. What each is worth is known here, because the items are simulated.
"""

import sys
import warnings

import gymnasium as gym
import numpy as np

from dts_gym import offpolicy


class Popularity:
    """What ran so far: a softmax of a guess of the items' parameters, mixed with uniform picks."""

    def __init__(self, guess: np.ndarray) -> None:
        self.guess = guess

    def action_probabilities(self, contexts: np.ndarray) -> np.ndarray:
        """Every item has a probability above 0, so that the log tells something of each."""
        scores = contexts @ self.guess.T
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return 0.7 * p / p.sum(axis=-1, keepdims=True) + 0.3 / len(self.guess)


def main(num_rounds: int = 5000, num_items: int = 500) -> None:
    """Log, learn, judge by the log, and compare with the truth."""
    env = gym.make("DiffusionBandit-v0", num_actions=num_items, dim=10, horizon=num_rounds)
    chain = env.unwrapped.problem.prior
    log = offpolicy.record(env, Popularity(chain.sample(np.random.default_rng(1), num_items)), num_rounds, learn=False)
    print(f"{log}\nitems that were never shown: {num_items - len(np.unique(log.actions))}")

    contexts = np.random.default_rng(2).uniform(-1, 1, (5000, 10))
    means = contexts @ env.unwrapped.instance.parameters.T  # (5000, items), the truth
    print(f"mean reward of the log {log.rewards.mean():.2f}, of the best items {means.max(axis=1).mean():.2f}")

    independent = chain.with_branch(chain.depth)  # the same items, but none says anything about another
    for name, learner, prior in (
        ("chain", "sDM", chain),
        ("independent", "sDM", independent),
        ("weights", "IPS", None),
    ):
        policy = offpolicy.learn(log, learner, prior=prior)
        value = (policy.action_probabilities(contexts) * means).sum(axis=1).mean()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", offpolicy.OffPolicyWarning)  # the table repeats them
            table = offpolicy.evaluate(log, policy, ["sDM", "DR"], prior=prior or chain)
        print(f"\n{name}: true value {value:.2f}\n{table}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
