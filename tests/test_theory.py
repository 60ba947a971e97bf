"""The bound on Bayes regret against closed forms, 50-digit arithmetic, quadrature, limits and invariances."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from dts_gym.priors.random_priors import random_linear_prior
from dts_gym.theory import bayes_regret_bound, bound_terms, lints_bound

numbers = st.floats(1e-2, 1e2)
ladders = st.lists(numbers, min_size=1, max_size=6)


@pytest.mark.parametrize("L", [0, 1, 2, 5, 40])
@pytest.mark.parametrize("sigma", [1.0, 0.3])
def test_closed_form_where_every_level_has_the_noise_of_the_rewards(L, sigma):
    # All logarithms are of 2 but the action's: the sum is d sigma^2 (K log2(1 + n / d) + 2^(L+1) - 2).
    n, K, d = 5000, 100, 5
    inner = d * sigma**2 * (K * math.log2(1 + n / d) + 2 ** (L + 1) - 2)
    bound = bayes_regret_bound(n, K, d, [sigma] * (L + 1), sigma)
    np.testing.assert_allclose(bound, math.sqrt(2 * n * inner * math.log(n)), rtol=1e-13)
    terms = bound_terms(n, K, d, [sigma] * (L + 1), sigma)
    np.testing.assert_allclose(terms.latents, [d * sigma**2 * 2**ell for ell in range(1, L + 1)], rtol=1e-12)


def test_fifty_digits():
    # n = 777, K = 33, d = 4, sigma = 0.7, sigma_1..sigma_4 = 0.2, 1e-3, 3, 1e-9; delta = 0.01; d_1..d_3 = 4, 2, 1
    with localcontext() as context:
        context.prec = 50
        s1, s2, s3, s4, noise = (Decimal(t) ** 2 for t in ("0.2", "1e-3", "3", "1e-9", "0.7"))
        top = 1 + s3 / noise
        action = s1 / (1 + s1 / noise).ln() * 4 * 33 * (1 + 777 * s1 / (4 * noise)).ln()
        first = s2 * top / (1 + s2 / noise).ln() * 4 * (1 + s2 / s1).ln()
        second = s3 * top**2 / (1 + s3 / noise).ln() * 2 * (1 + s3 / s2).ln()
        third = s4 * top**3 / (1 + s4 / noise).ln() * 1 * (1 + s4 / s3).ln()
        total = (2 * 777 * (action + first + second + third) * Decimal(100).ln()).sqrt()
        truth = [float(x) for x in (action, first, second, third, total)]
    arguments = 777, 33, 4, [0.2, 1e-3, 3.0, 1e-9], 0.7, [4, 2, 1]
    terms = bound_terms(*arguments)
    np.testing.assert_allclose([terms.action, *terms.latents], truth[:4], rtol=1e-13)
    assert bayes_regret_bound(*arguments, delta=0.01) == pytest.approx(truth[4], rel=1e-13)


@given(ladders, numbers, st.integers(1, 10**6), st.integers(1, 50))
def test_terms_by_quadrature(stds, noise_std, n, d):
    # log(1 + r) is the integral of r / (1 + r t) over 0..1, here taken numerically in the logarithm of 1 + r t.
    def log1p(r):
        return quad(lambda t: r / (1 + r * t), 0, 1, points=[min(1 / r, 0.5)], limit=200, epsabs=0)[0]

    terms = bound_terms(n, 7, d, stds, noise_std)
    ratio = (stds[0] / noise_std) ** 2
    assert terms.action == pytest.approx(stds[0] ** 2 * 7 * d * log1p(n * ratio / d) / log1p(ratio), rel=1e-5)
    growth = 1.0
    for ell, term in enumerate(terms.latents, 1):
        growth *= max(1 + (std / noise_std) ** 2 for std in stds)
        gain = log1p((stds[ell] / stds[ell - 1]) ** 2) / log1p((stds[ell] / noise_std) ** 2)
        assert term == pytest.approx(stds[ell] ** 2 * growth * d * gain, rel=1e-5)


@given(ladders, numbers, st.integers(2, 10**6), st.integers(1, 10**6), st.integers(1, 100), st.data())
def test_monotone(stds, noise_std, n, K, d, data):
    def bound(n=n, K=K, d=d, stds=stds, noise_std=noise_std, **more):
        return bayes_regret_bound(n, K, d, stds, noise_std, **more)

    base = bound() * (1 - 1e-12)
    assert bound(K=K + 1) > base
    assert bound(n=n + 1) > base
    assert bound(d=d + 1) > base
    # More noise of the last level raises the bound; the noise of rewards and levels together is a change of units.
    assert bound(stds=[*stds[:-1], 1.5 * stds[-1]]) > base
    assert bound(stds=[3.0 * std for std in stds], noise_std=3.0 * noise_std) == pytest.approx(3.0 * bound())
    # Once each direction has been seen as often as its dimension, noisier rewards raise the action's term.
    if n > d:
        noisier = bound_terms(n, K, d, stds, 1.1 * noise_std).action
        assert noisier > bound_terms(n, K, d, stds, noise_std).action * (1 - 1e-12)
    active = data.draw(st.lists(st.integers(0, d), min_size=len(stds) - 1, max_size=len(stds) - 1))
    assert bound(active=active) <= bound() * (1 + 1e-12)
    assert bound(active=[d] * (len(stds) - 1)) == bound()
    assert bound(delta=0.1) == pytest.approx(bound(delta=0.01) / math.sqrt(2))
    assert bound(delta=1 / n) == pytest.approx(bound())


def test_limits_at_zero():
    # c_0 = sigma^2 at sigma_1 = 0: what the action's term is per round, to first order in the prior's variance.
    sigma, d, K, n = 0.6, 4, 11, 900
    for std in (1e-4, 1e-8, 1e-120):
        action = bound_terms(n, K, d, [std], sigma).action
        assert action == pytest.approx(std**2 * K * n, rel=2e-3 if std == 1e-4 else 1e-9, abs=0)
    assert bound_terms(n, K, d, [0.0], sigma) == (0.0, ())
    assert bayes_regret_bound(n, K, d, [0.0, 0.0, 0.0], sigma) == 0.0
    # A level without noise adds nothing, and the limit goes there.
    whole = bound_terms(n, K, d, [0.5, 0.4], sigma)
    for tiny in (1e-5, 1e-100, 1e-200, 0.0):
        terms = bound_terms(n, K, d, [0.5, 0.4, tiny], sigma)
        assert terms.action == whole.action
        np.testing.assert_allclose(terms.latents, [*whole.latents, 0.0], atol=1e-8)
    assert terms.latents[-1] == 0.0
    # Towards the refused case, a level without noise below one with, the bound has no limit.
    growing = [bound_terms(n, K, d, [std, 1.0], sigma).latents[0] for std in (1e-1, 1e-10, 1e-100)]
    np.testing.assert_allclose(np.diff(growing) / growing[0], [18.0 / 2, 180.0 / 2], rtol=1e-2)


def test_more_than_floating_point_holds_is_infinite_never_nan():
    assert bayes_regret_bound(10, 5, 2, [1.0] * 2000) == math.inf
    assert bound_terms(10, 5, 2, [1.0] * 2000 + [0.0]).latents[-1] == 0.0
    assert bound_terms(10, 5, 2, [1.0] * 2001, active=[2] * 1999 + [0]).latents[-1] == 0.0
    assert bayes_regret_bound(10, 5, 2, [1e-160, 1e-161]) >= 0.0
    assert bayes_regret_bound(1, 5, 2, [1.0, 1.0]) == 0.0


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 4), st.integers(0, 10**6), st.lists(numbers, min_size=5, max_size=5))
def test_lints_takes_a_variance_that_the_marginal_does_not_exceed(d, L, seed, stds):
    prior = random_linear_prior(d, L, seed=seed, stds=stds[: L + 1], weight_norm=1.0)
    marginal = prior.two_level(L).action_cov
    largest = math.sqrt(np.linalg.eigvalsh(marginal)[-1])
    known = bayes_regret_bound(500, 20, d, [largest])
    assert lints_bound(500, 20, d, stds[: L + 1]) >= known * (1 - 1e-12)
    # Identity weights reach it.
    assert lints_bound(500, 20, d, stds, 0.3) == pytest.approx(
        bayes_regret_bound(500, 20, d, [math.sqrt(sum(std**2 for std in stds))], 0.3)
    )


def test_sharing_has_the_lower_bound_with_many_actions_only():
    stds = [0.5, 1.0, 1.0]
    assert bayes_regret_bound(5000, 10_000, 5, stds) < lints_bound(5000, 10_000, 5, stds)
    long = [0.5, *[1.0] * 8]  # powers of sigma_max outweigh what is shared
    assert bayes_regret_bound(5000, 2, 5, long) > lints_bound(5000, 2, 5, long)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_rounds": 0}, "num_rounds must be an integer >= 1, got 0"),
        ({"num_actions": 2.5}, "num_actions must be an integer"),
        ({"dim": 0}, "dim must be"),
        ({"stds": []}, "stds must hold one number a level"),
        ({"stds": [1.0, -1.0]}, "stds must not be negative, got -1.0"),
        ({"stds": [1.0, math.nan]}, "stds must be finite"),
        ({"stds": [1.0, 0.0, 0.5]}, r"stds must have no 0 before a positive one.*stds\[1\] = 0, stds\[2\] = 0.5"),
        ({"stds": [1e200], "noise_std": 1e-20}, "stds must have squares in floating point"),
        ({"noise_std": 0.0}, "noise_std must be a positive"),
        ({"active": [1]}, "active must hold one number a link: 2, got 1"),
        ({"active": [1, 4]}, r"active\[1\] must be an integer in 0..3, got 4"),
        ({"delta": 0.0}, "delta must be"),
        ({"delta": 1.5}, r"delta must be a probability in \(0, 1\], got 1.5"),
    ],
)
def test_bad_input(arguments, message):
    good = {"num_rounds": 100, "num_actions": 5, "dim": 3, "stds": [1.0, 1.0, 1.0]}
    with pytest.raises(ValueError, match=message):
        bayes_regret_bound(**(good | arguments))
