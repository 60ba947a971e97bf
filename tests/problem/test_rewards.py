"""Reward families against sums over their support, numerical derivatives and SciPy's distributions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from dts_gym.problem.poisson_quantile import poisson_quantile
from dts_gym.problem.rewards import BernoulliReward, GaussianReward, PoissonReward, RewardModel, reward_model

FAMILIES = [GaussianReward(0.7), BernoulliReward(), PoissonReward()]
NAMES = [family.name for family in FAMILIES]
ETAS = np.array([-6.0, -1.3, 0.0, 0.4, 2.5])
LIMIT = 4.5  # two-sided false alarms of 7e-6 a score


def support(model, eta):
    """Rewards and weights of a sum (or an integral) over the support."""
    if model.name == "gaussian":
        nodes, weights = np.polynomial.legendre.leggauss(200)
        return eta + 8 * nodes, 8 * weights
    values = np.arange(2.0 if model.name == "bernoulli" else 200.0)
    return values, np.ones_like(values)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
@pytest.mark.parametrize("eta", ETAS)
def test_probabilities_sum_to_one_and_have_the_mean_and_the_variance(model, eta):
    y, weight = support(model, eta)
    p = np.exp(model.log_likelihood(y, np.full_like(y, eta))) * weight
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    mean = p @ y
    assert float(model.mean(np.array(eta))) == pytest.approx(mean, rel=1e-10)
    variance = p @ (y - mean) ** 2
    assert model.dispersion * float(model.derivative(np.array(eta))) == pytest.approx(variance, rel=1e-9)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_mean_and_derivative_are_those_of_the_log_partition(model):
    # log P(1 | eta) = (eta - A(eta)) / dispersion + c(1): A' is the mean, A'' the derivative.
    def log_partition(eta):
        return eta - model.dispersion * model.log_likelihood(np.ones_like(eta), eta)

    h = 1e-4
    first = (log_partition(ETAS + h) - log_partition(ETAS - h)) / (2 * h)
    np.testing.assert_allclose(model.mean(ETAS), first, rtol=1e-5, atol=1e-7)
    slope = (model.mean(ETAS + h) - model.mean(ETAS - h)) / (2 * h)
    np.testing.assert_allclose(model.derivative(ETAS), slope, rtol=1e-6)
    bend = (model.derivative(ETAS + h) - model.derivative(ETAS - h)) / (2 * h)
    np.testing.assert_allclose(model.second_derivative(ETAS), bend, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(RewardModel.second_derivative(model, ETAS), bend, rtol=1e-6, atol=1e-7)


def test_likelihoods_are_scipys():
    y = np.array([0.0, 1.0, 7.0, 1e6])
    for eta in (-3.0, 0.5, 4.0, math.log(1e6)):
        truth = stats.poisson.logpmf(y, math.exp(eta))
        np.testing.assert_allclose(PoissonReward().log_likelihood(y, np.full(4, eta)), truth, rtol=1e-9, atol=1e-8)
    area = integrate.quad(lambda v: math.exp(GaussianReward(0.3).log_likelihood(v, 1.0)), -2, 4)[0]
    assert area == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_large_predictors_give_finite_numbers_without_warnings(model):
    eta = np.array([-1e3, -700.0, -40.0, 40.0, 700.0, 1e3])
    with np.errstate(all="raise", under="ignore"):
        for y in (0.0, 1.0):
            assert np.isfinite(model.log_likelihood(np.array(y), eta)).all()
        assert np.isfinite(model.mean(eta)).all()
        assert (model.derivative(eta) >= 0).all()
        assert np.isfinite(model.second_derivative(eta)).all()
        assert np.isfinite(model.derivative(eta)).all()
        assert np.isfinite(model.sample(np.random.default_rng(0), eta)).all()


def test_bernoulli_keeps_relative_precision_where_a_probability_rounds_to_one():
    model, eta = BernoulliReward(), np.array([40.0, 300.0, 600.0])
    np.testing.assert_allclose(model.log_likelihood(np.ones(3), eta), -np.exp(-eta), rtol=1e-12)
    np.testing.assert_allclose(model.log_likelihood(np.zeros(3), -eta), -np.exp(-eta), rtol=1e-12)
    np.testing.assert_allclose(model.derivative(eta), np.exp(-eta), rtol=1e-12)
    np.testing.assert_allclose(model.log_likelihood(np.zeros(3), eta), -eta, rtol=1e-12)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
@pytest.mark.parametrize("eta", [-4.0, 0.3, 3.0])
def test_samples_have_mean_and_variance(model, eta):
    n = 40_000
    y = model.sample(np.random.default_rng(3), np.full(n, eta))
    mean, variance = float(model.mean(np.array(eta))), model.dispersion * float(model.derivative(np.array(eta)))
    assert abs(y.mean() - mean) < LIMIT * math.sqrt(variance / n)
    squares = (y - mean) ** 2
    assert abs(squares.mean() - variance) < LIMIT * squares.std() / math.sqrt(n)


@pytest.mark.parametrize("model", FAMILIES, ids=NAMES)
def test_the_stream_moves_by_the_same_amount_whatever_the_predictor(model):
    after = set()
    for eta in (-1e3, -3.0, 0.0, 5.0, 30.0, 1e3):
        rng = np.random.default_rng(8)
        assert model.sample(rng, np.full((3, 4), eta)).shape == (3, 4)
        after.add(rng.bit_generator.random_raw())
    assert len(after) == 1


@pytest.mark.parametrize("mean", [1e-8, 0.05, 1.0, 12.0, 900.0, 3e4, 9e5])
def test_counts_invert_the_poisson_distribution_function(mean):
    eta = np.full(3000, math.log(mean))
    y = PoissonReward().sample(np.random.default_rng(5), eta)
    u = np.random.default_rng(5).random(3000)
    assert (stats.poisson.cdf(y, np.exp(eta)) >= u - 1e-12).all()
    assert (stats.poisson.cdf(y - 1, np.exp(eta)) <= u + 1e-12).all()


def test_rare_uniform_numbers_invert_too():
    u = np.array([0.0, 2.0**-53, 0.5, 1 - 2.0**-53])
    for mean in (0.0, 1e-300, 0.3, 40.0, 1e3, 9e5):
        k = poisson_quantile(u, np.full(4, mean))
        assert 0 <= k[0] <= k[1] <= k[2] <= k[3]
        cdf, sf = stats.poisson.cdf, stats.poisson.sf  # each precise in its own tail
        assert (cdf(k[:3], mean) >= u[:3]).all()
        assert sf(k[3], mean) <= 2.0**-53
        assert ((k == 0) | np.append(cdf(k[:3] - 1, mean) < u[:3].clip(2.0**-54), sf(k[3] - 1, mean) > 2.0**-53)).all()


@pytest.mark.parametrize("mean", [1.001e6, 1e10, 1e15])
def test_large_counts_are_near_the_exact_quantile(mean):
    y = PoissonReward().sample(np.random.default_rng(5), np.full(4000, math.log(mean)))
    u = np.random.default_rng(5).random(4000)
    # The distribution function jumps by at most 0.4 / sqrt(mean) at a count.
    assert np.abs(stats.poisson.cdf(y, math.exp(math.log(mean))) - u).max() < 0.4 / math.sqrt(mean) + 1e-8
    assert (y == np.floor(y)).all()


@settings(deadline=None)
@given(name=st.sampled_from(["bernoulli", "poisson"]), eta=st.floats(-1e3, 1e3), seed=st.integers(0, 1000))
def test_every_sample_is_in_the_support(name, eta, seed):
    model = reward_model(name)
    y = float(model.sample(np.random.default_rng(seed), np.array(eta)))
    assert model.check(y) == y
    assert np.isfinite(model.log_likelihood(np.array(y), np.array(eta)))


@pytest.mark.parametrize(
    ("name", "bad", "match"),
    [
        ("bernoulli", 0.5, "reward must be 0 or 1, got 0.5"),
        ("bernoulli", -1, "reward must be 0 or 1, got -1"),
        ("bernoulli", math.nan, "reward must be 0 or 1, got nan"),
        ("bernoulli", "yes", "reward must be 0 or 1, got 'yes'"),
        ("poisson", -1, "reward must be a non-negative integer, got -1"),
        ("poisson", 0.5, "reward must be a non-negative integer, got 0.5"),
        ("poisson", math.inf, "reward must be a non-negative integer, got inf"),
        ("poisson", None, "reward must be a non-negative integer, got None"),
        ("gaussian", math.nan, "reward must be a finite number, got nan"),
        ("poisson", 2.0**54, r"reward must be a count of at most 2\^53, got 1.8"),
        ("gaussian", -1e51, r"reward must be at most 1e\+50 in size, got -1e\+51"),
    ],
)
def test_rewards_outside_the_family_are_refused(name, bad, match):
    with pytest.raises(ValueError, match=match):
        reward_model(name).check(bad)


def test_families_are_found_by_name_and_come_back_from_their_settings():
    for family in FAMILIES:
        again = reward_model(family.name, **family.settings())
        assert repr(again) == repr(family)
    assert BernoulliReward().check(np.float32(1)) == 1.0
    with pytest.raises(ValueError, match="reward must be 0 or 1, got True"):
        BernoulliReward().check(True)
    assert PoissonReward().check(np.int64(3)) == 3.0
    with pytest.raises(ValueError, match=r"reward must be one of \('bernoulli', 'gaussian', 'poisson'\), got 'cauchy'"):
        reward_model("cauchy")
    with pytest.raises(ValueError, match=r"settings of the reward 'bernoulli' must be its own, got \['noise_std'\]"):
        reward_model("bernoulli", noise_std=1.0)
