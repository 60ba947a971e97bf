"""How often do intervals at 95 % hold the true value of a policy? Many simulated logs of 500 rounds, five policies.

python examples/interval_coverage.py [LOGS]

A linear chain, 10 actions. Fixed: a policy made beforehand. Learned: made from the log that judges it. Outside: greedy
on the truth plus noise. Adapted: the log is of Thompson sampling with independent actions. IX and LS judge logs of
clicks, the others normal rewards.
"""

import sys
import warnings

import gymnasium as gym
import numpy as np
from scipy.special import expit

import dts_gym
from dts_gym import offpolicy

K, D, ROUNDS = 10, 4, 500
NORMAL, CLICKS = ["IPS", "CIPS", "SNIPS", "ES", "DM", "sDM", "DR", "SNDR"], ["IX", "LS"]
COLUMNS = ["fixed", "learned", "outside", "adapted, fixed", "adapted, learned"]


class ByScores:
    """A policy by the scores of parameters (K, d): the best of them, or a softmax mixed with uniform picks."""

    def __init__(self, theta: np.ndarray, is_greedy: bool = False) -> None:
        self.theta, self.is_greedy = theta, is_greedy

    def action_probabilities(self, contexts: np.ndarray) -> np.ndarray:
        """(..., K) probabilities at contexts (..., d)."""
        scores = contexts @ self.theta.T
        if self.is_greedy:
            return np.eye(K)[scores.argmax(axis=-1)]
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return 0.7 * p / p.sum(axis=-1, keepdims=True) + 0.3 / K


def held(seed: int, reward: str) -> dict[tuple[str, str], bool]:
    """Whether each estimator's interval held the truth, by estimator and column, in the logs of one seed."""
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D, horizon=ROUNDS, reward=reward)
    prior, rng = env.unwrapped.problem.prior, np.random.default_rng([7, seed])
    logging, fixed = (ByScores(prior.sample(rng, K)) for _ in range(2))
    names, learner = (NORMAL, "sDM") if reward == "gaussian" else (CLICKS, "LS")
    log = offpolicy.record(env, logging, ROUNDS, seed=seed, learn=False)
    theta = env.unwrapped.instance.parameters
    outside = ByScores(theta + 0.1 * rng.standard_normal(theta.shape), is_greedy=True)
    adapted = offpolicy.record(
        env, dts_gym.make_agent("LinTS" if reward == "gaussian" else "GLM-TS", env, seed=seed), ROUNDS, seed=seed
    )
    np.testing.assert_array_equal(env.unwrapped.instance.parameters, theta)
    own, own_adapted = (offpolicy.learn(each, learner, prior=prior) for each in (log, adapted))
    fresh = rng.uniform(-1, 1, (20_000, D))
    means = fresh @ theta.T if reward == "gaussian" else expit(fresh @ theta.T)
    pairs = [(log, fixed), (log, own), (log, outside), (adapted, fixed), (adapted, own_adapted)]
    found = {}
    for column, (rows, policy) in zip(COLUMNS, pairs, strict=True):
        truth = float((policy.action_probabilities(fresh) * means).sum(axis=1).mean())
        table = offpolicy.evaluate(rows, policy, names, prior=prior)
        found |= {(name, column): bool(table[name].lower <= truth <= table[name].upper) for name in names}
    return found


def main(num_logs: int = 20) -> None:
    """Print the share of logs in which each interval held the truth."""
    warnings.simplefilter("ignore", offpolicy.OffPolicyWarning)  # what `evaluate` warns of is what this table shows
    logs = [held(seed, "gaussian") | held(seed, "bernoulli") for seed in range(num_logs)]
    print(f"{'':8}" + "".join(f"{column:>18}" for column in COLUMNS))
    for name in (*NORMAL, *CLICKS):
        shares = (np.mean([log[name, column] for log in logs]) for column in COLUMNS)
        print(f"{name:8}" + "".join(f"{share:18.3f}" for share in shares))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
