"""Moments by a fixed rule, against importance sampling of the prior."""

import numpy as np
import pytest

from dts_gym import make_agent
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.random_priors import random_mlp_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward

OWN = 0.04  # the actions' own variance: what is not known of them is almost all of the latents


def true_moments(prior, G, h, rng, size=150_000):
    """Mean (d,) and covariance (d, d) of theta under its own evidence, from draws of the prior's chain."""
    f = prior.links[0](prior.with_branch(prior.depth).sample_chain(rng, size)[1])
    solved = np.linalg.inv(np.eye(len(h)) + OWN * G)  # theta given f is N(solved (f + OWN h), OWN solved)
    log_weights = f @ (solved @ h) - 0.5 * np.vecdot(f @ (solved @ G), f)
    weights = np.exp(log_weights - log_weights.max())
    weights /= weights.sum()
    theta = (f + OWN * h) @ solved
    mean = weights @ theta
    return mean, ((theta - mean).T * weights) @ (theta - mean) + OWN * solved


@pytest.mark.parametrize("branch", [0, 2])
def test_moments_grow_more_precise_with_the_particles(branch):
    """Eight histories by 256 particles, errors of means in deviations: a fixed rule, no false alarm."""
    errors, ratios = [], []
    for seed in range(8):
        links, rng = random_mlp_prior(2, 2, hidden=8, seed=seed).links, np.random.default_rng(seed)
        prior = DiffusionPrior(links, [OWN * np.eye(2), np.eye(2), np.eye(2)], branch)
        agent = make_agent("dTS", BanditProblem(1, 2, prior, GaussianReward(0.5)), seed=0, num_particles=256)
        theta = prior.sample(rng, 1)[0]
        X = rng.uniform(-1, 1, (12, 2))
        y = X @ theta + 0.5 * rng.standard_normal(12)
        for x, reward in zip(X, y.tolist(), strict=True):
            agent.update(x, 0, reward)
        mean, cov = true_moments(prior, X.T @ X / 0.25, X.T @ y / 0.25, rng)
        found_mean, found_cov = agent.moments()
        errors.append((found_mean[0] - mean) / np.sqrt(np.diag(cov)))
        ratios.append(np.diag(found_cov) / np.diag(cov))
    # One or two filters alone had 0.035 and 0.059.
    assert np.sqrt(np.mean(np.square(errors))) < 0.031
    assert np.abs(errors).max() < 0.062
    assert np.abs(np.log(ratios)).max() < 0.06
