"""The collapsed chain and its messages against formulas of another kind."""

import numpy as np
import pytest

from dts_gym.messages import through_noise
from dts_gym.two_level import collapse


def random_cov(rng, d):
    root = rng.standard_normal((d, d))
    return root @ root.T / d + 0.1 * np.eye(d)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_collapse_matches_covariance_of_the_unrolled_chain(depth):
    rng = np.random.default_rng(depth)
    d = 3
    weights = [rng.uniform(-1, 1, (d, d)) for _ in range(depth)]
    offsets = [rng.standard_normal(d) for _ in range(depth)]
    covs = [random_cov(rng, d) for _ in range(depth + 1)]
    for branch in range(depth + 1):
        prior = collapse(weights, covs, offsets, branch)
        # Unroll the chain from the top: moments of psi_branch-or-theta by recursion.
        mean, shared = np.zeros(d), covs[depth].copy() if branch < depth else np.zeros((d, d))
        own = covs[depth].copy() if branch == depth else np.zeros((d, d))
        for level in range(depth, 0, -1):
            W = weights[level - 1]
            mean, shared, own = W @ mean + offsets[level - 1], W @ shared @ W.T, W @ own @ W.T
            if level <= branch + 1:
                own = own + covs[level - 1]
            else:
                shared = shared + covs[level - 1]
        np.testing.assert_allclose(prior.mean, mean, atol=1e-12)
        np.testing.assert_allclose(prior.shared_cov, shared, atol=1e-12)
        np.testing.assert_allclose(prior.action_cov, own, atol=1e-12)


def test_through_noise_equals_the_decks_precision_form():
    rng = np.random.default_rng(0)
    cov, G, h = random_cov(rng, 4), random_cov(rng, 4), rng.standard_normal(4)
    P = np.linalg.inv(cov)
    gamma, beta = through_noise(G, h, cov)
    np.testing.assert_allclose(gamma, P - P @ np.linalg.inv(P + G) @ P, atol=1e-12)
    np.testing.assert_allclose(beta, P @ np.linalg.inv(P + G) @ h, atol=1e-12)


def test_through_noise_of_zero_noise_and_of_no_data():
    rng = np.random.default_rng(1)
    cov, G, h = random_cov(rng, 3), random_cov(rng, 3), rng.standard_normal(3)
    gamma, beta = through_noise(G, h, np.zeros((3, 3)))
    np.testing.assert_allclose(gamma, G)
    np.testing.assert_allclose(beta, h)
    gamma, beta = through_noise(np.zeros((3, 3)), np.zeros(3), cov)
    assert not gamma.any()
    assert not beta.any()
