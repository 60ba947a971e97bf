"""Exploration scales other than 1 on chains by particles, against importance sampling of the tempered model.

The truth knows nothing of messages and guides: draws of the prior with every covariance times ``e^2``, weighed by all
evidence divided by ``e^2``.
"""

import functools

import numpy as np
import pytest

from dts_gym import make_agent
from dts_gym.posteriors.chain.messages import upward_messages
from dts_gym.posteriors.chain.particles import sample_actions, sample_shared
from dts_gym.posteriors.chain.surrogates import statistical_surrogates
from dts_gym.posteriors.chain.tangents import jacobian_surrogates
from dts_gym.posteriors.evidence import Evidence
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.links import MLPLink
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward

MESSAGE = Evidence(np.array([[0.9, 0.3], [0.3, 0.6]]), np.array([1.5, -0.6]))


def bent_prior(depth, branch=0):
    """Perceptrons that bend a good deal where the prior is: surrogates of any kind stand in badly."""
    rng = np.random.default_rng(7)
    links = [MLPLink([rng.uniform(-1.5, 1.5, (6, 2)), rng.uniform(-1, 1, (2, 6))], [rng.uniform(-1, 1, 6), np.zeros(2)])
             for _ in range(depth)]  # fmt: skip
    return DiffusionPrior(links, [np.eye(2)] * (depth + 1), branch)


def features(f):
    return np.concatenate([f, f**2, f[..., :1] * f[..., 1:], np.abs(f)], axis=-1)


@functools.cache
def tempered_truth(depth, scale, size=100_000):
    """Means of `features` of ``f_1(psi_1)`` and their standard errors, by self-normalised importance sampling."""
    prior, message, rng = bent_prior(depth), MESSAGE, np.random.default_rng([depth, int(2 * scale)])
    tempered = DiffusionPrior(prior.links, [scale**2 * cov for cov in prior.covariances], prior.depth)
    f = prior.links[0](tempered.sample_chain(rng, size)[1])
    log_weights = (f @ message.h - 0.5 * np.vecdot(f @ message.G, f)) / scale**2
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    assert 1 / (weights @ weights) > 0.02 * size
    values = features(f)
    mean = weights @ values
    return mean, np.sqrt((weights**2) @ (values - mean) ** 2)


def surrogates_of(name, prior, message, branch, rng):
    if name == "jacobian":
        return jacobian_surrogates(prior, message, branch).surrogates
    return statistical_surrogates(prior, rng, 1_000)


@pytest.mark.parametrize("defensive", [0.0, 0.25])
@pytest.mark.parametrize("name", ["jacobian", "statistical"])
@pytest.mark.parametrize(("depth", "branch", "scale"), [(1, 0, 0.5), (2, 0, 0.5), (2, 0, 2.0), (2, 2, 0.5)])
def test_weighted_particles_have_the_law_of_the_tempered_model(depth, branch, name, defensive, scale):
    """Seven weighted means by 40 filters of 1 000 particles, |z| < 4.5 each, 16 cases: a false alarm in 1 000 runs."""
    prior, rng = bent_prior(depth, branch), np.random.default_rng([depth, branch, int(4 * defensive), int(2 * scale)])
    message = MESSAGE if branch == 0 else Evidence(MESSAGE.G[None], MESSAGE.h[None])
    messages = upward_messages(prior, surrogates_of(name, prior, message, branch, rng), message, branch)
    settings = {"size": 40, "exploration": scale, "defensive": defensive}
    if branch == 0:
        particles = sample_shared(prior, messages, 0, 1_000, rng, **settings)
    else:
        particles = sample_actions(prior, messages, branch, None, 1_000, rng, **settings)
    assert particles.effective_sample_size.mean() < 0.95  # weights differ
    found = (np.exp(particles.log_weights)[..., None] * features(particles.value)).sum(axis=-2).reshape(40, -1)
    truth, error = tempered_truth(depth, scale)
    spread = np.sqrt(found.var(axis=0, ddof=1) / 40 + error**2)
    assert (np.abs(found.mean(axis=0) - truth) / spread).max() < 4.5


@pytest.mark.parametrize("branch", [0, 2])
def test_an_agents_draws_have_the_law_of_the_tempered_model(branch):
    """2 000 draws of theta at exploration 0.5, means and squares: six |z| < 4.5, a false alarm in 10^4 runs.

    By the statistical surrogate, which resamples; 256 particles, so that what is left of their bias does not show.
    """
    scale, noise, prior, rng = 0.5, 0.8, bent_prior(2, branch), np.random.default_rng(branch)
    agent = make_agent(
        "dTS", BanditProblem(1, 2, prior, GaussianReward(noise)), seed=branch, exploration=scale,
        surrogate="statistical", num_particles=256,
    )  # fmt: skip
    G, h = np.zeros((2, 2)), np.zeros(2)
    for x, y in [((1.0, 0.3), 1.6), ((-0.2, 0.9), -0.9), ((0.5, 0.5), 0.9)]:
        agent.update(x, 0, y)
        G, h = G + np.outer(x, x) / noise**2, h + np.array(x) * y / noise**2
    drawn = np.stack([agent.sample_parameters()[0] for _ in range(2_000)])
    assert agent.diagnostics["effective_sample_size"] < 0.8  # weights differ
    # theta given psi_1 is N((I + G)^-1 (f + h), scale^2 (I + G)^-1), and f's evidence is what has passed the noise.
    tempered = DiffusionPrior(prior.links, [scale**2 * cov for cov in prior.covariances], 2)
    f = prior.links[0](tempered.sample_chain(rng, 100_000)[1])
    solved = np.linalg.inv(np.eye(2) + G)
    gamma, beta = solved @ G, solved @ h
    log_weights = (f @ beta - 0.5 * np.vecdot(f @ gamma, f)) / scale**2
    weights = np.exp(log_weights - log_weights.max())
    theta = (f + h) @ solved + scale * rng.standard_normal(f.shape) @ np.linalg.cholesky(solved).T
    chosen = theta[rng.choice(len(f), 20_000, p=weights / weights.sum())]
    products = [np.stack([v[:, 0], v[:, 1], v[:, 0] ** 2, v[:, 1] ** 2, v[:, 0] * v[:, 1], np.abs(v[:, 0])])
                for v in (drawn, chosen)]  # fmt: skip
    error = np.sqrt(products[0].var(axis=1) / 2_000 + products[1].var(axis=1) / 20_000)
    assert (np.abs(products[0].mean(axis=1) - products[1].mean(axis=1)) / error).max() < 4.5
