"""The collapsed chain and its messages against formulas of another kind."""

import numpy as np
import pytest

from dts_gym.posteriors.evidence import through_noise
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.two_level import TwoLevelPrior, collapse
from truth import cov_along, random_axes, random_cov


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


def one_hot_posterior(actions, num_actions=6):
    """Actions played with the first unit vector, of reward 0: every bound along the second is alike."""
    posterior = TwoLevelPosterior(TwoLevelPrior(np.zeros(2), np.zeros((2, 2)), np.eye(2)), num_actions, 1.0)
    for action in actions:
        posterior.update(np.array([1.0, 0.0]), action, 0.0)
    return posterior


@pytest.mark.parametrize("played", [(), (5, 2), (3, 0, 1), (4, 3, 5, 1, 0, 2)])
def test_tied_actions(played):
    """Greedy play takes the lowest-numbered, upper confidence all alike, played or not."""
    posterior, rng = one_hot_posterior(played), np.random.default_rng(0)
    x = np.array([0.0, 1.0])
    assert int(posterior.greedy(x)) == 0
    assert posterior.greedy(np.stack([x, x])).tolist() == [0, 0]
    counts = np.bincount(posterior.upper_confidence(np.tile(x, (6000, 1)), rng), minlength=6)
    # Chi-square with 5 degrees of freedom exceeds 36 once in a million.
    assert ((counts - 1000) ** 2 / 1000).sum() < 36
    # Along the first vector played actions are known better, so their bounds are lower.
    if len(played) < 6:
        assert int(posterior.upper_confidence(np.array([1.0, 0.0]), rng)) not in played


@pytest.mark.parametrize("d", [1, 4])
@pytest.mark.parametrize(("own_rank", "shared_rank"), [(4, 4), (0, 4), (4, 0), (0, 0), (1, 1), (2, 3)])
@pytest.mark.parametrize(("noise_std", "norm"), [(1e-6, 1.0), (1e-3, 1e3), (1.0, 1e3), (1e6, 1e3), (1e6, 1.0)])
@pytest.mark.parametrize("lines", [False, True])
@pytest.mark.filterwarnings("error")
def test_extreme_noise_contexts_and_ranks(d, own_rank, shared_rank, noise_std, norm, lines):
    """A signal of up to a million noise deviations: still the dense posterior, in square-root form."""
    rng = np.random.default_rng([d, own_rank, shared_rank, int(norm), lines])
    covs = [cov_along(random_axes(rng, d), np.arange(d) < rank) for rank in (own_rank, shared_rank)]
    prior = LinearDiffusionPrior([np.eye(d)], covs, [rng.standard_normal(d)])
    sparse, dense = TwoLevelPosterior(prior.two_level(), 4, noise_std), JointPosterior(prior, 4, noise_std)
    theta = prior.sample(rng, 4)
    contexts = norm * rng.standard_normal((300, 1 if lines else d)) @ np.eye(d)[: 1 if lines else d]
    contexts = contexts @ np.linalg.qr(rng.standard_normal((d, d)))[0]
    for step, x in enumerate(contexts):
        action = step % 3
        y = float(x @ theta[action] + noise_std * rng.standard_normal())
        for posterior in (sparse, dense):
            posterior.update(x, action, y)
        if step % 100 == 0:
            sparse.thompson(contexts[:5], rng)
            sparse.upper_confidence(x, rng)
            assert np.isfinite(sparse.sample_parameters(rng)).all()
    for got, truth in zip(sparse.moments(), dense.moments(), strict=True):
        np.testing.assert_allclose(got, truth, atol=1e-7, rtol=0)


def test_known_parameters_are_drawn_as_they_are():
    rng = np.random.default_rng(0)
    posterior = TwoLevelPosterior(TwoLevelPrior(np.array([1.0, 2.0]), np.zeros((2, 2)), np.zeros((2, 2))), 3, 1.0)
    posterior.update(np.ones(2), 1, 100.0)
    np.testing.assert_array_equal(posterior.sample_parameters(rng), [[1.0, 2.0]] * 3)
    assert 0 <= int(posterior.thompson(np.ones(2), rng)) < 3
    assert not posterior.moments()[1].any()


def test_the_units_of_the_coordinates_do_not_matter():
    rng = np.random.default_rng(1)
    units = np.array([1e-9, 1.0, 1e9])
    S, C = random_cov(rng, 3), random_cov(rng, 3)
    plain = TwoLevelPosterior(TwoLevelPrior(np.zeros(3), C, S), 3, 0.5)
    outer = np.outer(units, units)
    scaled = TwoLevelPosterior(TwoLevelPrior(np.zeros(3), C * outer, S * outer), 3, 0.5)
    for step in range(60):
        x, y = rng.standard_normal(3), float(rng.standard_normal())
        plain.update(x, step % 2, y)
        scaled.update(x / units, step % 2, y)
    np.testing.assert_allclose(scaled.moments()[0] / units, plain.moments()[0], atol=1e-9)
    np.testing.assert_allclose(scaled.moments()[1] / np.tile(outer, (3, 3)), plain.moments()[1], atol=1e-9)


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_thousands_of_updates_then_a_restored_posterior_draws_bit_for_bit(branch):
    rng = np.random.default_rng(branch)
    chain = LinearDiffusionPrior(
        [rng.uniform(-1, 1, (4, 4)) for _ in range(2)], [random_cov(rng, 4) for _ in range(3)], branch=branch
    )
    first, second = (TwoLevelPosterior(chain.two_level(), 300, 0.7) for _ in range(2))
    second.update(np.ones(4), 7, 1.0)  # forgotten by restoring
    for action in rng.integers(200, size=3000).tolist():
        first.update(rng.standard_normal(4), action, float(rng.standard_normal()))
    second.restore(first.state())
    streams = np.random.default_rng(9), np.random.default_rng(9)
    for step in range(400):
        x, batch = rng.standard_normal(4), rng.standard_normal((3, 4))
        picks = []
        for posterior, stream in zip((first, second), streams, strict=True):
            actions = [int(posterior.thompson(x, stream)), int(posterior.upper_confidence(x, stream))]
            picks.append([*actions, *posterior.thompson(batch, stream).tolist(), *posterior.greedy(batch).tolist()])
            posterior.update(x, actions[0], float(step % 3))
        assert picks[0] == picks[1]
    np.testing.assert_array_equal(*(p.sample_parameters(s) for p, s in zip((first, second), streams, strict=True)))
