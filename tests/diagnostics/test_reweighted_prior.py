"""The pool's posterior against closed forms and Markov chains."""

import numpy as np
import pytest

from dts_gym.diagnostics.energy import energy_score
from dts_gym.diagnostics.reweighted_prior import PriorPool, draw_pool, sample_pool
from dts_gym.posteriors.mcmc.slice_sampling import slice_sample_rewards
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain
from dts_gym.problem.rewards import GaussianReward

SCALE, OFFSET = np.array([[1.0, 0.5], [0.0, 2.0]]), np.array([1.0, -1.0])


def gaussian_ddpm(depth, unknown=True):
    """With the exact denoiser of N(0, I), data of mean OFFSET and root SCALE; without ``unknown``, Sigma_1 is zero."""
    shapes = ((2, 2), (1, 2, 2), (1, 2, 2), (2, 2), (2,), (depth, 2, 2))
    bars = noise_schedule(depth)
    rest = (1 - bars)[:, None, None] * np.eye(2) if unknown else None
    network = DenoiserNetwork(*(np.zeros(shape) for shape in shapes))
    return DiffusionPrior(*reverse_chain(network, bars, rest, scale=SCALE, offset=OFFSET), branch=depth)


def bent_ddpm(depth=6):
    """With a denoiser of random weights."""
    rng, bars = np.random.default_rng(1), noise_schedule(depth)
    shapes = ((8, 2), (1, 8, 8), (1, 8, 8), (2, 8), (2,), (depth, 2, 8))
    network = DenoiserNetwork(*(0.6 * rng.standard_normal(shape) for shape in shapes))
    rest = 0.5 * (1 - bars)[:, None, None] * np.eye(2)
    return DiffusionPrior(*reverse_chain(network, bars, rest, scale=SCALE, offset=OFFSET))


def rewards_of(theta, n, rng, noise_std=0.7):
    X = rng.uniform(-1, 1, (n, 2))
    return X, X @ theta + noise_std * rng.standard_normal(n)


@pytest.mark.parametrize("n", [0, 3, 300])
@pytest.mark.parametrize("unknown", [True, False], ids=["full", "singular"])
def test_a_gaussian_ddpm_has_its_closed_form(unknown, n):
    """Five moments; the pool's own error and that of the draws make the standard error, |z| < 4.5.

    The prior's moments are those of the chain, by recursion over its affine links.
    """
    rng = np.random.default_rng(n)
    prior = gaussian_ddpm(8, unknown)
    mean, cov = np.zeros(2), prior.covariances[-1]
    for link, noise in zip(prior.links[::-1], prior.covariances[-2::-1], strict=True):
        W = (link(np.eye(2)) - link(np.zeros((1, 2)))).T
        mean, cov = link(mean[None])[0], W @ cov @ W.T + noise
    X, y = rewards_of(np.array([1.5, 0.0]), n, rng)
    precision = np.linalg.inv(cov) + X.T @ X / 0.49
    posterior = np.linalg.inv(precision)
    expected = posterior @ (np.linalg.solve(cov, mean) + X.T @ y / 0.49)
    found = sample_pool(draw_pool(prior, 200_000, rng), X, y, 0.7, 20_000, rng)
    white = np.linalg.solve(np.linalg.cholesky(posterior), (found.draws - expected).T).T
    share = np.sqrt(1 / 20_000 + 1 / found.effective_draws)
    z = np.array([*white.mean(axis=0), *(np.square(white).mean(axis=0) - 1) / np.sqrt(2), white.prod(axis=1).mean()])
    assert np.abs(z / share).max() < 4.5
    assert share < 0.07  # so that a mean is known to a third of a standard deviation at worst


def test_a_bent_chain_has_the_law_of_markov_chains():
    """Energy distance to slice sampling of the whole chain, z < 4.5; distinguished with a tenth of the rewards."""
    rng, prior = np.random.default_rng(2), bent_ddpm()
    X, y = rewards_of(prior.sample(rng, 1)[0], 60, rng)
    walked = slice_sample_rewards(
        prior, GaussianReward(0.7), X, np.zeros(60, dtype=int), y, 1, rng, 4, thin=40, burn_in=300, chains=400
    )
    assert walked.r_hat.max() < 1.03
    truth = walked.values.reshape(-1, 2)
    pool = draw_pool(prior, 100_000, rng)
    found = sample_pool(pool, X, y, 0.7, 800, rng)
    assert found.effective_draws > 4_000
    assert energy_score(found.draws, truth, rng).z_score < 4.5
    assert energy_score(sample_pool(pool, X[:6], y[:6], 0.7, 800, rng).draws, truth, rng).z_score > 10


def test_the_effective_draws_are_those_of_the_weights():
    rng = np.random.default_rng(3)
    prior = LinearDiffusionPrior([np.eye(2)], [0.01 * np.eye(2), np.eye(2)])
    pool = draw_pool(prior, 1000, rng)
    assert sample_pool(pool, np.empty((0, 2)), [], 1.0, 5, rng).effective_draws == pytest.approx(1000)
    # Two far apart: sharp rewards at one of them leave it alone.
    apart = PriorPool(prior, np.array([[5.0, 0.0], [-5.0, 0.0]]))
    X = np.repeat(np.eye(2), 50, axis=0)
    found = sample_pool(apart, X, X @ [-5.0, 0.0], 0.5, 200, rng)
    assert found.effective_draws == pytest.approx(1.0)
    assert np.abs(found.draws - [-5.0, 0.0]).max() < 0.5


def test_what_does_not_fit_is_refused():
    rng = np.random.default_rng(4)
    pool = draw_pool(gaussian_ddpm(3), 10, rng)
    good = {"contexts": np.ones((3, 2)), "rewards": np.ones(3), "noise_std": 1.0, "draws": 5}
    for name, value, message in (
        ("contexts", np.ones((3, 1)), r"contexts must have shape \(any, 2\)"),
        ("rewards", np.ones(2), r"rewards must have shape \(3,\)"),
        ("rewards", [1.0, np.nan, 1.0], "rewards must be finite"),
        ("noise_std", 0.0, "noise_std must be a positive finite number, got 0.0"),
        ("draws", 0, "draws must be an integer >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_pool(pool, **{**good, name: value}, rng=rng)
    with pytest.raises(ValueError, match="size must be an integer >= 2, got 1"):
        draw_pool(gaussian_ddpm(3), 1, rng)
    with pytest.raises(ValueError, match="prior must have a link or more, got none"):
        draw_pool(LinearDiffusionPrior([], [np.eye(2)]), 10, rng)
