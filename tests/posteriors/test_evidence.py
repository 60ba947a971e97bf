"""Messages and conditioning, level by level, against the joint normal distribution of chain and rewards."""

import numpy as np
import pytest

from dts_gym.posteriors.evidence import Evidence, condition, learn, through_link, through_noise
from dts_gym.posteriors.linear_chain import downward, upward
from dts_gym.utils.arrays import factor
from truth import cov_along, given_rewards, random_axes, random_chain

K, NOISE_STD = 3, 0.6
# Some 600 z-scores a case, at most: false alarms below 600 * 2e-7 a case.
LIMIT = 5.2


def narrow_cov(rng, d, smallest=0.1):
    """A covariance of one small variance, ``smallest``, among others near 1."""
    return cov_along(random_axes(rng, d), [smallest, *rng.uniform(0.5, 1.5, d - 1)])


def chain_of(depth, branch, d=2, smallest=0.1):
    rng = np.random.default_rng([depth, branch, d])
    covs = [narrow_cov(rng, d, smallest)] + [narrow_cov(rng, d) for _ in range(depth)]
    return random_chain(rng, depth, branch, d, covs), rng


def whole_chain(prior):
    """Mean and covariance of all levels, theta first: level ell has K rows up to the branch, one above."""
    d, maps, means = prior.dim, [], []
    sizes = [(K if ell <= prior.branch else 1) * d for ell in range(prior.depth + 1)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    noise_cov = np.zeros((starts[-1], starts[-1]))
    for ell in range(prior.depth, -1, -1):
        rows, own = sizes[ell] // d, np.zeros((sizes[ell], starts[-1]))
        own[:, starts[ell] : starts[ell + 1]] = np.eye(sizes[ell])
        block = slice(starts[ell], starts[ell + 1])
        noise_cov[block, block] = np.kron(np.eye(rows), prior.covariances[ell])
        if ell == prior.depth:
            mean = np.zeros(sizes[ell])
        else:
            above = sizes[ell + 1] // d
            spread = np.kron(np.eye(rows) if above == rows else np.ones((rows, 1)), prior.weights[ell])
            mean = spread @ means[-1] + np.tile(prior.offsets[ell], rows)
            own = own + spread @ maps[-1]
        maps.append(own)
        means.append(mean)
    unroll = np.concatenate(maps[::-1])
    return np.concatenate(means[::-1]), unroll @ noise_cov @ unroll.T


def evidence_of(prior, contexts, actions, rewards):
    G, h = np.zeros((K, prior.dim, prior.dim)), np.zeros((K, prior.dim))
    for x, a, y in zip(contexts, actions, rewards, strict=True):
        G[a] += np.outer(x, x) / NOISE_STD**2
        h[a] += x * y / NOISE_STD**2
    return Evidence(G, h)


def history(prior, rng, played=2, rounds=9):
    return rng.uniform(-1, 1, (rounds, prior.dim)), rng.integers(played, size=rounds), rng.standard_normal(rounds)


@pytest.mark.parametrize("smallest", [0.1, 1e-9, 0.0])
@pytest.mark.parametrize(("depth", "branch"), [(L, b) for L in range(1, 5) for b in range(L + 1)])
def test_messages_up_give_every_levels_posterior(depth, branch, smallest):
    """The top level's posterior, and the mean path down from it, are those of the joint distribution."""
    prior, rng = chain_of(depth, branch, 3, smallest)
    data = history(prior, rng)
    mean, _ = given_rewards(*whole_chain(prior), prior.dim, data, NOISE_STD)
    levels = upward(prior, evidence_of(prior, *data), branch)
    psi, end = np.zeros((1, 3)), len(mean)
    for ell in range(depth, -1, -1):
        center = psi if ell == depth else prior.links[ell](psi)
        rows = K if ell <= branch else 1
        psi, _ = condition(np.broadcast_to(center, (rows, 3)), levels[ell], prior.covariances[ell])
        np.testing.assert_allclose(psi.ravel(), mean[end - psi.size : end], atol=1e-8, rtol=0)
        end -= psi.size


@pytest.mark.parametrize(
    ("depth", "branch", "draws"),
    [
        (1, 0, 6_000),
        (2, 1, 6_000),
        *(pytest.param(L, b, 40_000, marks=pytest.mark.slow) for L in range(1, 5) for b in range(L + 1)),
    ],
)
def test_draws_down_have_the_joint_laws_moments_on_every_level(depth, branch, draws):
    prior, rng = chain_of(depth, branch)
    data = history(prior, rng)
    mean, cov = given_rewards(*whole_chain(prior), prior.dim, data, NOISE_STD)
    levels = upward(prior, evidence_of(prior, *data), branch)
    sample = np.array(
        [np.concatenate([psi.ravel() for psi in downward(prior, levels, K, branch, rng)]) for _ in range(draws)]
    )
    centred, variances = sample - mean, np.diag(cov)
    assert np.abs(centred.mean(axis=0) / np.sqrt(variances / draws)).max() < LIMIT
    # Gaussian: Var(e_i e_j) = cov_ii cov_jj + cov_ij^2.
    spread = np.sqrt((np.outer(variances, variances) + cov**2) / draws)
    assert (np.abs(centred.T @ centred / draws - cov) / spread).max() < LIMIT


def test_without_evidence_draws_down_are_draws_of_the_prior():
    prior, rng = chain_of(2, 1)
    nothing = Evidence(np.zeros((1, 2, 2)), np.zeros((1, 2)))
    levels = upward(prior, nothing, 1)
    draws = [downward(prior, levels, 4, 1, rng) for _ in range(3_000)]
    assert [psi.shape for psi in draws[0]] == [(4, 2), (4, 2), (1, 2)]
    theta = np.array([draw[0] for draw in draws])
    mean, cov = whole_chain(prior)
    assert np.abs((theta.mean(axis=0) - mean[:2]) / np.sqrt(np.diag(cov)[:2] / 3_000)).max() < LIMIT
    # Two actions differ by what is not shared.
    own = cov[:2, :2] - cov[:2, 2:4]
    apart = np.var(theta[:, 0] - theta[:, 3], axis=0)
    assert np.abs(apart / (2 * np.diag(own)) - 1).max() < LIMIT * np.sqrt(2 / 3_000)


def test_conditioning_survives_evidence_that_rounding_made_indefinite():
    # Exact data along one axis: G has an eigenvalue of -1e3 by rounding, and nothing is known of the other axes.
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    G = (axes * np.array([1e18, 0.0, 0.0])) @ axes.T - 1e3 * np.eye(3)
    mean, F = condition(np.zeros(3), Evidence(G, np.zeros(3)), np.eye(3))
    np.testing.assert_allclose(F @ F.T, np.eye(3) - np.outer(axes[:, 0], axes[:, 0]), atol=1e-12)
    assert not mean.any()


@pytest.mark.parametrize("variance", [1e-12, 1.0, 1e12])
def test_learning_one_observation_is_gaussian_conditioning(variance):
    rng = np.random.default_rng(1)
    mean, root, x, y = rng.standard_normal(5), rng.standard_normal((5, 7)), rng.standard_normal(5), 2.0
    cov = root @ root.T
    gain = cov @ x / (x @ cov @ x + variance)
    truth = mean + gain * (y - x @ mean), cov - np.outer(gain, x @ cov)
    learn(mean, root, x @ root, y - x @ mean, variance)
    np.testing.assert_allclose(mean, truth[0], atol=1e-12)
    np.testing.assert_allclose(root @ root.T, truth[1], atol=1e-12)


def test_a_link_pulls_evidence_back():
    rng = np.random.default_rng(2)
    G, h, W, c, psi = np.eye(3) * 2.0, rng.standard_normal(3), rng.standard_normal((3, 3)), np.ones(3), np.ones(3)
    pulled = through_link(Evidence(G, h), W, c)

    def value(psi):
        v = W @ psi + c
        return -v @ G @ v / 2 + h @ v

    difference = value(psi) - value(np.zeros(3))
    np.testing.assert_allclose(-psi @ pulled.G @ psi / 2 + pulled.h @ psi, difference, atol=1e-12)


def test_zero_noise_keeps_evidence_and_no_noise_draws_the_mean():
    evidence = Evidence(np.eye(2)[None], np.ones((1, 2)))
    np.testing.assert_array_equal(through_noise(*evidence, np.zeros((2, 2))).G, evidence.G)
    mean, F = condition(np.ones((1, 2)), evidence, np.zeros((2, 2)))
    np.testing.assert_array_equal(mean, np.ones((1, 2)))
    assert F.shape == (1, 2, 0)


def test_the_factor_does_not_depend_on_the_units_of_the_coordinates():
    rng = np.random.default_rng(3)
    cov, units = narrow_cov(rng, 3), np.array([1e-9, 1.0, 1e9])
    R = factor(cov * np.outer(units, units)) / units[:, None]
    np.testing.assert_allclose(R @ R.T, cov, atol=1e-12)
    assert factor(np.outer(units, units)).shape == (3, 1)
    assert factor(np.zeros((3, 3))).shape == (3, 0)
