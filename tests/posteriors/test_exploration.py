"""Rules of exploration against their formulas; bounds and pending picks against the dense posterior."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from dts_gym.posteriors.exploration import Exploration, largest_normal_mean
from dts_gym.posteriors.glm.glm_posterior import GLMPosterior
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.random_priors import random_linear_prior
from dts_gym.problem.rewards import BernoulliReward, PoissonReward

K, D = 40, 3


@pytest.mark.parametrize("t", [0, 1, 500, 999, 1000, 5000])
@pytest.mark.parametrize(("actions", "dim"), [(1, 1), (2, 5), (100, 5), (10**6, 20)])
def test_rules_are_their_formulas(t, actions, dim):
    n = 1000
    left = max(1 - min(t, n) / n, 0.05)
    sizes = {"num_actions": actions, "dim": dim}
    expected = left * math.sqrt(math.log(1 + actions * n / dim))
    assert Exploration("horizon", by_bounds=True).scale(t, n, **sizes) == pytest.approx(expected)
    one = left * math.sqrt(math.log(1 + n / dim))
    assert Exploration("horizon", by_bounds=True).scale(t, n, shared=True, **sizes) == pytest.approx(one)
    assert Exploration("decay", by_bounds=False).scale(t, n, **sizes) == pytest.approx(left)
    assert Exploration(0.3, by_bounds=False).scale(t, n, **sizes) == 0.3
    assert Exploration(lambda t, n: 1 + t / n, by_bounds=True).scale(t, n, **sizes) == 1 + min(t, n) / n
    assert Exploration("max", by_bounds=True).scale(t, None, **sizes) == largest_normal_mean(actions)


@pytest.mark.parametrize("count", [1, 2, 3, 10, 100, 10**4])
def test_the_mean_of_the_largest_normal_is_its_integral(count):
    density = lambda x: x * count * norm.pdf(x) * norm.cdf(x) ** (count - 1)  # noqa: E731
    assert largest_normal_mean(count) == pytest.approx(quad(density, -12, 12, limit=400)[0], abs=1e-7)


def test_an_agents_own_choice_hangs_on_whether_the_horizon_is_known():
    rule = Exploration(None, by_bounds=True)
    assert rule.named(100) == "horizon"
    assert rule.named(None) == "max"


@pytest.mark.parametrize(
    ("setting", "by_bounds"),
    [("decay", True), ("horizon", False), ("max", False), ("best", True), (0, True), (-1.0, False), (True, False)],
)
def test_what_is_no_rule_of_that_kind_is_refused(setting, by_bounds):
    with pytest.raises(ValueError, match=r"exploration must be a positive finite number.*, got"):
        Exploration(setting, by_bounds)


@pytest.mark.parametrize(("setting", "by_bounds"), [("horizon", True), ("decay", False), (lambda t, n: 1.0, True)])
def test_a_rule_of_the_horizon_needs_one(setting, by_bounds):
    with pytest.raises(ValueError, match="horizon must be given for exploration"):
        Exploration(setting, by_bounds).scale(0, None, num_actions=2, dim=1)


def test_a_function_must_return_a_positive_number():
    with pytest.raises(ValueError, match=r"exploration\(3, 10\) must be a positive finite number, got -1"):
        Exploration(lambda t, n: -1, by_bounds=True).scale(3, 10, num_actions=2, dim=1)


def taught(branch, rounds=60, actions=25, seed=0):
    """A two-level posterior and the dense one, after the same rewards of some of the actions."""
    prior = random_linear_prior(D, 2, seed=seed, branch=branch)
    ours, dense = TwoLevelPosterior(prior.two_level(branch), K, 0.7), JointPosterior(prior, K, 0.7)
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        x, a, y = rng.uniform(-1, 1, D), int(rng.integers(actions)), float(rng.normal())
        ours.update(x, a, y)
        dense.update(x, a, y)
    return ours, dense, rng


@pytest.mark.parametrize("scale", [0.3, 1.0, 3.2])
@pytest.mark.parametrize("branch", [0, 1, 2])
@pytest.mark.parametrize("rounds", [5, 60, 600])  # most of the bounds are screened in the end
@pytest.mark.parametrize("screened_from", [0, 1000])
def test_a_bound_has_the_shared_parts_deviation_in_it(branch, rounds, scale, screened_from, monkeypatch):
    monkeypatch.setattr("dts_gym.posteriors.pruning._SCREENED_FROM", screened_from)
    ours, dense, rng = taught(branch, rounds, actions=39)
    mean, cov = dense.moments()
    blocks = cov.reshape(K, D, K, D)[np.arange(K), :, np.arange(K), :]
    mask = np.ones(K, dtype=bool)
    for i in range(60):
        x = rng.uniform(-1, 1, D)
        bounds = mean @ x + scale * np.sqrt(np.einsum("d,kde,e->k", x, blocks, x))
        if i % 2:
            mask = rng.random(K) < 0.5
            bounds[~mask] = -np.inf
        chosen = int(ours.upper_confidence(x, rng, scale, mask if i % 2 else None))
        assert bounds[chosen] == pytest.approx(bounds.max(), abs=1e-9)


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_a_pending_pick_is_a_reward_equal_to_its_mean(branch):
    """The dense posterior after that reward; no mean moves."""
    ours, dense, rng = taught(branch)
    before = ours.moments()[0]
    for action in (3, 3, 38, 7, 38):  # 38 is new
        x = rng.uniform(-1, 1, D)
        ours.expect(x, action)
        dense.update(x, action, float(x @ dense.moments()[0][action]))
    mean, cov = ours.moments()
    np.testing.assert_allclose(mean, before, atol=1e-9)
    np.testing.assert_allclose(mean, dense.moments()[0], atol=1e-9)
    np.testing.assert_allclose(cov, dense.moments()[1], atol=1e-9)


@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()])
def test_a_pending_pick_of_other_rewards_is_the_expansion_at_the_mean(model):
    prior = random_linear_prior(D, 1, seed=0)
    ours = GLMPosterior(prior.two_level(0), K, model)
    rng = np.random.default_rng(0)
    for _ in range(40):
        ours.update(rng.uniform(-1, 1, D), int(rng.integers(10)), float(rng.integers(2)))
    mean, cov = ours.moments()
    x, action = rng.uniform(-1, 1, D), 4
    row = np.zeros(K * D)
    row[action * D : (action + 1) * D] = x
    variance = model.dispersion / float(model.derivative(np.array([x @ mean[action]]))[0])
    gain = cov @ row / (row @ cov @ row + variance)
    ours.expect(x, action)
    np.testing.assert_allclose(ours.moments()[0], mean, atol=1e-9)
    np.testing.assert_allclose(ours.moments()[1], cov - np.outer(gain, row @ cov), atol=1e-9)
