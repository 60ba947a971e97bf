"""dTS's posterior against the dense one, computed in observation space from the unrolled chain."""

import numpy as np
import pytest

from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from truth import cov_along, dense_posterior, prior_moments, random_axes, random_chain, random_cov, taught, z_scores

CASES = [(depth, branch) for depth in range(1, 5) for branch in range(depth + 1)]
KINDS = ["generic", "nearly singular", "singular"]


def chain_of(depth, branch, kind, seed=0):
    """A random chain, and the stream that drew it; ``kind`` says how Sigma_1 is."""
    rng = np.random.default_rng([depth, branch, KINDS.index(kind), seed])
    d = int(rng.integers(2, 5))
    covs = [random_cov(rng, d) for _ in range(depth + 1)]
    if kind != "generic":
        small = 1e-9 if kind == "nearly singular" else 0.0
        covs[0] = cov_along(random_axes(rng, d), [small, *np.ones(d - 1)])
    return random_chain(rng, depth, branch, d, covs), rng


def history(prior, rng, num_actions=5, rounds=30):
    """Observations of all actions but the last two."""
    contexts = rng.uniform(-1, 1, (rounds, prior.dim))
    return contexts, rng.integers(num_actions - 2, size=rounds), rng.standard_normal(rounds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("depth", "branch"), CASES)
def test_both_posteriors_equal_the_dense_one(depth, branch, kind):
    prior, rng = chain_of(depth, branch, kind)
    data, noise_std = history(prior, rng), 0.7
    mean, cov = dense_posterior(prior, 5, data, noise_std)
    for posterior in (TwoLevelPosterior(prior.two_level(), 5, noise_std), JointPosterior(prior, 5, noise_std)):
        got_mean, got_cov = taught(posterior, data).moments()
        np.testing.assert_allclose(got_mean.ravel(), mean, atol=1e-8, rtol=0)
        np.testing.assert_allclose(got_cov, cov, atol=1e-8, rtol=0)


def test_no_data_gives_the_prior_and_the_order_of_updates_does_not_matter():
    prior, rng = chain_of(3, 1, "generic")
    mean, cov = prior_moments(prior, 4)
    for posterior in (TwoLevelPosterior(prior.two_level(), 4, 1.0), JointPosterior(prior, 4, 1.0)):
        got_mean, got_cov = posterior.moments()
        np.testing.assert_allclose(got_mean.ravel(), mean, atol=1e-12)
        np.testing.assert_allclose(got_cov, cov, atol=1e-12)
    data = history(prior, rng)
    order = rng.permutation(len(data[2]))
    shuffled = tuple(part[order] for part in data)
    first = taught(TwoLevelPosterior(prior.two_level(), 5, 1.0), data).moments()
    second = taught(TwoLevelPosterior(prior.two_level(), 5, 1.0), shuffled).moments()
    np.testing.assert_allclose(first[0], second[0], atol=1e-10)
    np.testing.assert_allclose(first[1], second[1], atol=1e-10)


# Of the largest of some 300 z-scores a case: false alarms below 300 * 2e-7 a case (|z| < 5.2).
LIMIT = 5.2


@pytest.mark.parametrize(
    ("depth", "branch", "kind", "scale"),
    [
        (2, 1, "singular", 0.5),
        pytest.param(1, 0, "generic", 1.0, marks=pytest.mark.slow),
        pytest.param(3, 3, "generic", 1.0, marks=pytest.mark.slow),
        pytest.param(4, 2, "nearly singular", 0.5, marks=pytest.mark.slow),
    ],
)
def test_draws_have_the_dense_posteriors_moments(depth, branch, kind, scale):
    prior, rng = chain_of(depth, branch, kind, seed=1)
    data, noise_std = history(prior, rng, num_actions=4, rounds=12), 0.7
    mean, cov = dense_posterior(prior, 4, data, noise_std, scale)
    for posterior in (TwoLevelPosterior(prior.two_level(), 4, noise_std), JointPosterior(prior, 4, noise_std)):
        taught(posterior, data)
        draws = np.array([posterior.sample_parameters(rng, scale).ravel() for _ in range(40_000)])
        mean_z, cov_z = z_scores(draws, mean, cov)
        assert np.abs(mean_z).max() < LIMIT
        assert np.abs(cov_z).max() < LIMIT


@pytest.mark.parametrize(
    "make", [lambda p: TwoLevelPosterior(p.two_level(), 7, 0.7), lambda p: JointPosterior(p, 7, 0.7)]
)
def test_upper_confidence_and_greedy_follow_the_dense_moments(make):
    for branch in (0, 1, 2):
        prior, rng = chain_of(2, branch, "generic", seed=4)
        data = history(prior, rng, num_actions=7, rounds=25)
        mean, cov = dense_posterior(prior, 7, data, 0.7)
        posterior = taught(make(prior), data)
        contexts = rng.uniform(-1, 1, (200, prior.dim))
        means = contexts @ mean.reshape(7, -1).T
        blocks = cov.reshape(7, prior.dim, 7, prior.dim)[np.arange(7), :, np.arange(7)]
        spreads = np.sqrt(np.einsum("nd,kde,ne->nk", contexts, blocks, contexts))
        for scale in (1.0, 0.3):
            bounds = means + scale * spreads
            chosen = posterior.upper_confidence(contexts, rng, scale)
            np.testing.assert_allclose(bounds[np.arange(200), chosen], bounds.max(axis=1), atol=1e-9)
        greedy = posterior.greedy(contexts)
        np.testing.assert_allclose(means[np.arange(200), greedy], means.max(axis=1), atol=1e-9)


def test_a_restored_posterior_continues_bit_for_bit():
    prior, rng = chain_of(2, 0, "generic", seed=5)
    first = taught(TwoLevelPosterior(prior.two_level(), 50, 0.7), history(prior, rng, num_actions=30, rounds=400))
    second = TwoLevelPosterior(prior.two_level(), 50, 0.7)
    second.restore(first.state())
    streams = np.random.default_rng(6), np.random.default_rng(6)
    for _ in range(500):
        x, y = rng.uniform(-1, 1, prior.dim), float(rng.standard_normal())
        actions = [int(p.thompson(x, s)) for p, s in zip((first, second), streams, strict=True)]
        assert actions[0] == actions[1]
        for posterior in (first, second):
            posterior.update(x, actions[0], y)
    np.testing.assert_array_equal(first.moments()[1], second.moments()[1])
