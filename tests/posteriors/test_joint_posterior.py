"""The dense posterior where its own form matters: singular covariances, tiny noise, ties, its state."""

import numpy as np
import pytest

from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.priors.chains import LinearDiffusionPrior


def posterior_of(covariances, noise_std=1.0, num_actions=3, branch=0):
    d = len(covariances[0])
    weights = [np.eye(d)] * (len(covariances) - 1)
    return JointPosterior(LinearDiffusionPrior(weights, covariances, branch=branch), num_actions, noise_std)


def test_nothing_random_stays_as_it_is():
    posterior = posterior_of([np.zeros((2, 2)), np.zeros((2, 2))])
    posterior.update(np.ones(2), 1, 5.0)
    mean, cov = posterior.moments()
    assert not mean.any()
    assert not cov.any()
    assert not posterior.sample_parameters(np.random.default_rng(0)).any()


def test_without_noise_of_their_own_actions_are_one():
    posterior = posterior_of([np.zeros((2, 2)), np.eye(2)])
    posterior.update(np.array([1.0, 0.0]), 0, 3.0)
    mean, _ = posterior.moments()
    np.testing.assert_allclose(mean, [[1.5, 0.0]] * 3, atol=1e-12)
    draw = posterior.sample_parameters(np.random.default_rng(0))
    np.testing.assert_allclose(draw, np.tile(draw[0], (3, 1)), atol=1e-12)


@pytest.mark.parametrize("noise_std", [1e-6, 1e-3, 1e6])
def test_the_covariance_stays_positive_and_shrinks(noise_std):
    rng = np.random.default_rng(0)
    posterior = posterior_of([np.eye(3), np.eye(3)], noise_std)
    before = posterior.moments()[1]
    for _ in range(500):
        posterior.update(rng.standard_normal(3), int(rng.integers(3)), float(rng.standard_normal()))
        after = posterior.moments()[1]
        assert np.linalg.eigvalsh(after)[0] > -1e-15
        assert (np.diag(after) <= np.diag(before) * (1 + 1e-12)).all()
        before = after


def test_ties_go_to_the_lowest_or_to_all_alike():
    posterior = posterior_of([np.eye(2), np.eye(2)], num_actions=5)
    rng = np.random.default_rng(0)
    for _ in range(20):
        posterior.update(rng.standard_normal(2), 2, -3.0)
    # 0, 1, 3 and 4 are alike; 2 is worse.
    x = -posterior.moments()[0][0]
    assert int(posterior.greedy(x)) == 0
    assert posterior.greedy(np.tile(x, (4, 1))).tolist() == [0] * 4
    counts = np.bincount(posterior.upper_confidence(np.tile(x, (4000, 1)), rng), minlength=5)
    assert counts[2] == 0
    # Chi-square with 3 degrees of freedom exceeds 31 once in a million.
    assert ((counts[[0, 1, 3, 4]] - 1000) ** 2 / 1000).sum() < 31


def test_a_restored_posterior_continues_bit_for_bit():
    rng = np.random.default_rng(1)
    first = posterior_of([np.eye(2), np.ones((2, 2)), np.eye(2)], 0.3, branch=1)
    second = posterior_of([np.eye(2), np.ones((2, 2)), np.eye(2)], 0.3, branch=1)
    for _ in range(50):
        first.update(rng.standard_normal(2), int(rng.integers(3)), float(rng.standard_normal()))
    second.restore(first.state())
    streams = np.random.default_rng(2), np.random.default_rng(2)
    for _ in range(50):
        x = rng.standard_normal(2)
        chosen = [int(p.thompson(x, s)) for p, s in zip((first, second), streams, strict=True)]
        assert chosen[0] == chosen[1]
        for posterior in (first, second):
            posterior.update(x, chosen[0], 1.0)
    np.testing.assert_array_equal(first.moments()[1], second.moments()[1])
