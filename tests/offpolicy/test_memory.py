"""Memory of an evaluation: bounded by blocks, whatever the number of rounds times the number of actions."""

import subprocess
import sys

import pytest

# Prints the bytes that the process held at most with the log alone, and with the evaluation.
SCRIPT = """
import resource
import sys
import warnings

import numpy as np

from dts_gym import GaussianReward, random_linear_prior
from dts_gym.offpolicy import BanditLog, evaluate

n, K, d = int(sys.argv[1]), 1000, 10
rng = np.random.default_rng(0)
prior = random_linear_prior(d, 2, seed=0)
theta = prior.sample(rng, K)
x, a = rng.uniform(-1, 1, (n, d)), rng.integers(K, size=n)
y = np.vecdot(x, theta[a]) + rng.standard_normal(n)
log = BanditLog(x, a, y, np.full(n, 1 / K), K, reward=GaussianReward(1.0), adapted=False)


class Softmax:
    def action_probabilities(self, contexts):
        p = np.exp(contexts @ theta.T)
        return p / p.sum(axis=1, keepdims=True)


def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


print(most())
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    table = evaluate(log, Softmax(), ["IPS", "SNIPS", "DR", "DM", "sDM"], prior)
print(most())
truth = np.vecdot(Softmax().action_probabilities(x[:10_000]), x[:10_000] @ theta.T)
error = np.hypot(table["DR"].standard_error, truth.std() / 100)
print((table["DR"].value - truth.mean()) / error)
"""


@pytest.mark.slow
def test_a_million_rounds_of_a_thousand_actions_take_bounded_memory():
    """At most 650 MB above the log's own, where one number for each round and action would take 8 GB; 2 CPU minutes.

    And the estimate is right: one z value, false alarm 7e-6.
    """
    pytest.importorskip("resource", reason="this machine does not count memory")
    done = subprocess.run([sys.executable, "-c", SCRIPT, "1000000"], capture_output=True, text=True, check=True)
    held, most, z = map(float, done.stdout.split())
    print(f"{(most - held) / 1e6:.0f} MB above the log's, z {z:.2f}")
    assert most - held < 650e6
    assert abs(z) < 4.5
