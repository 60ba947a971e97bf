"""Misspecified priors have errors of the size asked for, and are positive definite."""

import gymnasium as gym
import numpy as np
import pytest

from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.misspecified import misspecified_prior, rescaled_prior
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.priors.two_level import collapse


def test_entries_are_off_by_what_is_said():
    chain = random_linear_prior(5, 2)
    for error in (0.5, 1.5):
        off = misspecified_prior(chain, error, seed=3)
        for told, true in zip(off.weights, chain.weights, strict=True):
            assert ((told - true >= error) & (told - true <= error + 0.5)).all()
        for told, true in zip(off.covariances, chain.covariances, strict=True):
            assert np.array_equal(told, told.T)
            assert ((told - true >= error) & (told - true <= error + 0.5)).all()
            np.linalg.cholesky(told)
    again = misspecified_prior(chain, 1.5, seed=3)
    other = misspecified_prior(chain, 1.5, seed=4)
    assert np.array_equal(again.weights[0], off.weights[0])
    assert not np.array_equal(other.weights[0], off.weights[0])


def test_covariances_stay_positive_definite_where_the_error_would_end_that():
    """With d = 100 the symmetric errors reach eigenvalues of some -2: the least is raised to 0.01."""
    d = 100
    chain = LinearDiffusionPrior([np.zeros((d, d))], [np.eye(d) * 0.1] * 2)
    for cov in misspecified_prior(chain, 0.5).covariances:
        assert np.linalg.eigvalsh(cov)[0] == pytest.approx(0.01)


def test_the_environment_tells_the_wrong_prior_and_draws_from_the_right_one():
    settings = {"num_actions": 2000, "prior_seed": 5}
    right, off = (gym.make("DiffusionBandit-v0", prior_error=e, **settings).unwrapped for e in (0.0, 1.0))
    for env in (right, off):
        env.reset(seed=1)
    assert np.array_equal(right.instance.parameters, off.instance.parameters)
    assert not np.array_equal(right.problem.prior.weights[0], off.problem.prior.weights[0])
    vector = gym.make_vec("DiffusionBandit-v0", num_envs=2, prior_error=1.0, **settings)
    contexts, _ = vector.reset(seed=1)
    assert np.array_equal(contexts[0], off.reset(seed=1)[0])


def test_a_rescaled_prior_has_every_variance_times_that_number():
    chain = random_linear_prior(3, 2, seed=4)
    told = gym.make("DiffusionBandit-v0", prior=chain, prior_scale=0.25).unwrapped
    told.reset(seed=0)
    off, true = (collapse(c.weights, c.covariances, c.offsets, c.branch) for c in (told.problem.prior, chain))
    assert np.allclose(off.shared_cov, true.shared_cov / 4, rtol=1e-14)
    assert np.allclose(off.action_cov, true.action_cov / 4, rtol=1e-14)
    assert np.array_equal(off.mean, true.mean)
    right = gym.make("DiffusionBandit-v0", prior=chain).unwrapped
    right.reset(seed=0)
    assert np.array_equal(told.instance.parameters, right.instance.parameters)


def test_bad_scales_are_refused():
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="prior_scale must be"):
            rescaled_prior(random_linear_prior(2, 1), bad)
    with pytest.raises(ValueError, match=r"prior_scale must be 1 for a prior whose links are not affine, got 4\.0"):
        rescaled_prior(random_mlp_prior(2, 1), 4.0)
    assert rescaled_prior(mlp := random_mlp_prior(2, 1), 1.0) is mlp


def test_bad_errors_are_refused():
    with pytest.raises(ValueError, match="prior_error must be"):
        misspecified_prior(random_linear_prior(2, 1), -0.5)
    with pytest.raises(ValueError, match=r"prior_error must be 0 for a prior whose links are not affine, got 0\.5"):
        misspecified_prior(random_mlp_prior(2, 1), 0.5)
    assert misspecified_prior(mlp := random_mlp_prior(2, 1), 0.0) is mlp
