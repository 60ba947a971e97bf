"""Priors of mixed effects: draws have the moments of the formula, files give them back, wrong sizes are named."""

from __future__ import annotations

import numpy as np
import pytest

from dts_gym import BanditProblem, GaussianReward, MixedEffectPrior, load_prior
from dts_gym.checks import check_prior
from dts_gym.priors.fitting import independent_draws, marginal_moments

K, D, Q = 3, 2, 5
rng = np.random.default_rng(0)


def spd(n: int, rank: int | None = None) -> np.ndarray:
    root = rng.normal(size=(n, rank or n))
    return root @ root.T / n


WEIGHTS = MixedEffectPrior(rng.normal(size=(K, 2)), spd(4), spd(D), rng.normal(size=4), rng.normal(size=(K, D)))
FULL = MixedEffectPrior(
    rng.normal(size=(K, D, Q)), spd(Q, 3), np.array([spd(D), spd(D, 1), np.zeros((D, D))]), rng.normal(size=Q)
)


def dense(prior: MixedEffectPrior) -> tuple[np.ndarray, np.ndarray]:
    """Mean (K d,) and covariance (K d, K d) of all parameters, from Kronecker products written out."""
    W = prior.mixing if prior.mixing.ndim == 3 else [np.kron(b, np.eye(prior.dim)) for b in prior.mixing]
    stacked = np.vstack(list(W))
    cov = stacked @ prior.effect_cov @ stacked.T
    own = np.broadcast_to(prior.action_cov, (prior.num_actions, prior.dim, prior.dim))
    for a, S in enumerate(own):
        cov[a * prior.dim : (a + 1) * prior.dim, a * prior.dim : (a + 1) * prior.dim] += S
    return stacked @ prior.effect_mean + prior.action_means.ravel(), cov


@pytest.mark.parametrize("prior", [WEIGHTS, FULL])
def test_draws_have_the_moments_of_the_formula(prior: MixedEffectPrior) -> None:
    """|z| < 4.5 for each of 6 means and 21 second moments: a false alarm in 5000 runs, with a fixed seed none."""
    mean, cov = dense(prior)
    draws = np.array([prior.sample(stream, K).ravel() for stream in np.random.default_rng(1).spawn(4000)])
    off = draws - mean
    products = off[:, :, None] * off[:, None, :]
    for seen, truth in ((draws, mean), (products, cov)):
        error = seen.std(axis=0) / np.sqrt(len(draws))
        assert (np.abs(seen.mean(axis=0) - truth) < 4.5 * error + 1e-12).all()


@pytest.mark.parametrize("prior", [WEIGHTS, FULL])
def test_marginals_are_blocks_of_the_dense_covariance(prior: MixedEffectPrior) -> None:
    mean, cov = dense(prior)
    means, covs = prior.marginals()
    np.testing.assert_allclose(means.ravel(), mean, atol=1e-12)
    for a in range(K):
        np.testing.assert_allclose(covs[a], cov[a * D : (a + 1) * D, a * D : (a + 1) * D], atol=1e-12)
    draws = independent_draws(prior, np.random.default_rng(2), 20_000)
    mixed_mean, mixed_cov = marginal_moments(prior)
    assert (np.abs(draws.mean(axis=0) - mixed_mean) < 4.5 * draws.std(axis=0) / np.sqrt(20_000)).all()
    np.testing.assert_allclose(np.cov(draws.T), mixed_cov, rtol=0.1, atol=0.05)


@pytest.mark.parametrize("prior", [WEIGHTS, FULL])
def test_a_file_gives_an_equal_prior(prior: MixedEffectPrior, tmp_path) -> None:
    pytest.importorskip("safetensors")
    check_prior(prior)
    prior.save(tmp_path / "mixed.safetensors")
    again = load_prior(tmp_path / "mixed.safetensors")
    assert isinstance(again, MixedEffectPrior)
    draws = [one.sample(np.random.default_rng(3), K) for one in (prior, again)]
    np.testing.assert_array_equal(*draws)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"mixing": np.ones(3)}, "mixing"),
        ({"mixing": np.ones((K, 3, 4))}, "mixing"),
        ({"effect_cov": np.eye(3)}, "effect_cov"),
        ({"effect_cov": -np.eye(4)}, "effect_cov"),
        ({"action_cov": np.eye(3)}, "effect_cov"),
        ({"action_cov": np.ones((2, D, D))}, "action_cov"),
        ({"action_cov": np.stack([np.eye(D), np.eye(D), -np.eye(D)])}, r"action_cov\[2\]"),
        ({"effect_mean": np.ones(3)}, "effect_mean"),
        ({"action_means": np.full((K, D), np.nan)}, "action_means"),
    ],
)
def test_wrong_sizes_are_named(wrong: dict, named: str) -> None:
    right = {"mixing": np.ones((K, 2)), "effect_cov": np.eye(4), "action_cov": np.eye(D)}
    with pytest.raises(ValueError, match=named):
        MixedEffectPrior(**{**right, **wrong})


def test_the_number_of_actions_is_the_priors() -> None:
    with pytest.raises(ValueError, match="num_actions must be 3"):
        WEIGHTS.sample(np.random.default_rng(0), 4)
    with pytest.raises(ValueError, match="prior must describe 4 actions"):
        BanditProblem(4, D, WEIGHTS, GaussianReward())
