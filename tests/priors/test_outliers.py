"""A few vectors far from the others do not lose what a prior says of these, against the two-sample test's distance."""

import warnings

import numpy as np
import pytest
from scipy.stats import ks_2samp

from dts_gym import BanditProblem, FeaturePrior, GaussianReward, make_agent, random_linear_prior
from dts_gym.agents import TunedTS, TunedUCB
from dts_gym.priors.outliers import residual_outliers

N, D = 2000, 2


def vectors(features=None):
    """Vectors, some of which are then 30 standard deviations away, and those that are not."""
    rng = np.random.default_rng(0)
    theta = rng.standard_normal((N, D)) * [1.0, 50.0]
    theta += 0.0 if features is None else features * [3.0, 100.0]
    far = theta.copy()
    far[::100] += 30.0 * theta.std(axis=0) * np.sign(rng.standard_normal((20, D)))
    return far, np.delete(theta, np.s_[::100], axis=0)


def distance(draws, others):
    return max(ks_2samp(draws[:, j], others[:, j]).statistic for j in range(D))


def test_tuned_agents_learn_the_prior_of_the_others_and_warn():
    far, others = vectors()
    prior = random_linear_prior(D, 1)
    problem = BanditProblem(10, D, prior, GaussianReward(1.0), past_parameters=far)
    for made in (TunedTS, TunedUCB):
        with pytest.warns(UserWarning, match="past_parameters has 20 of 2000 vectors more than 8 .* row 0") as caught:
            agent = made(problem, seed=0, exploration=1.0)
        assert [warning.filename for warning in caught] == [__file__]
        mean, cov = agent.moments()
        draws = np.random.default_rng(2).multivariate_normal(mean[0], cov[:D, :D], 20_000)
        # Right draws exceed 1.95 sqrt(1/20000 + 1/1980) = .046 once in 1000; with the outliers it is .2.
        assert distance(draws, others) < 0.046
    clean = BanditProblem(10, D, prior, GaussianReward(1.0), past_parameters=others)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_agent("TunedTS", clean, seed=0)


def test_priors_of_features_are_those_of_the_others():
    z = np.random.default_rng(3).standard_normal((N, 1)) ** 3  # some items' features are far out, which is no error
    far, others = vectors(z)
    with pytest.warns(UserWarning, match="theta has 20 of 2000 vectors") as caught:
        prior = FeaturePrior.fit(far, z, noise_cov=np.tile(1e-6 * np.eye(D), (N, 1, 1)))
    assert [warning.filename for warning in caught] == [__file__]
    right = FeaturePrior.fit(others, np.delete(z, np.s_[::100], axis=0))
    np.testing.assert_allclose(prior.action_cov, right.action_cov, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(prior.effects, right.effects, rtol=1e-5, atol=1e-5)
    draws = prior.sample(np.random.default_rng(4), 20_000)
    assert distance(draws, others) < 0.046


def test_features_that_explain_all_leave_no_outliers():
    rng = np.random.default_rng(0)
    weights, theta = rng.standard_normal((30, 20)), rng.standard_normal((30, D))
    theta[3] = 1e3
    assert not residual_outliers(theta, weights).any()
