"""The marginal likelihood of rewards under factors on the prior's variance, against a dense normal density."""

import math
from fractions import Fraction

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import multivariate_normal

import dts_gym
from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior, random_mlp_prior
from dts_gym.posteriors.evidence import Evidence
from dts_gym.posteriors.prior_scale import SCALES, believed_scale, gauge, log_marginal

K, D, NOISE = 4, 3, 0.7


rational = np.vectorize(Fraction, otypes=[object])


def rational_log_density(cov, values):
    """``-v' cov^-1 v / 2`` as a rational number, and minus half the log determinant, by elimination."""
    left = np.column_stack([cov, values])
    pivots = []
    for i in range(len(left)):
        pivots.append(left[i, i])
        left[i + 1 :] -= (left[i + 1 :, [i]] / left[i, i]) * left[i]
    quadratic = sum(row[-1] ** 2 / pivot for row, pivot in zip(left, pivots, strict=True))
    return -quadratic / 2, -0.5 * sum(math.log(p.numerator) - math.log(p.denominator) for p in pivots)


def rounds(count, factor=1.0, seed=0):
    """A prior, and rounds of an instance whose parameters' variance is that many times the prior's."""
    rng = np.random.default_rng(seed)
    prior = random_linear_prior(D, 2, seed=seed)
    mean = prior.two_level(0).mean
    theta = mean + np.sqrt(factor) * (prior.sample(rng, K) - mean)
    X, actions = rng.normal(size=(count, D)), rng.integers(K, size=count)
    return prior, X, actions, np.vecdot(X, theta[actions]) + NOISE * rng.normal(size=count)


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_the_marginal_likelihood_is_that_of_the_rewards_normal_distribution(branch):
    prior, X, actions, y = rounds(30)
    m0, C, S = prior.two_level(branch)
    same = actions[:, None] == actions
    dense = []
    for scale in (0.25, 1.0, 9.0):
        cov = scale * (X @ C @ X.T + same * (X @ S @ X.T)) + NOISE**2 * np.eye(30)
        dense.append(multivariate_normal(X @ m0, cov).logpdf(y))
    evidence = Evidence(
        np.array([X[actions == a].T @ X[actions == a] for a in range(K)]) / NOISE**2,
        np.array([X[actions == a].T @ (y - X @ m0)[actions == a] for a in range(K)]) / NOISE**2,
    )
    found = log_marginal(prior.two_level(branch), evidence, np.array([0.25, 1.0, 9.0]))
    np.testing.assert_allclose(np.diff(found), np.diff(dense), rtol=1e-8)


@pytest.mark.parametrize("branch", [0, 1, 2])
@pytest.mark.parametrize("noise", [1e-4, 1e-8, 1e-12])
def test_nothing_cancels_where_rewards_are_precise(branch, noise):
    """Against the rewards' dense normal distribution in rational numbers, also for a singular own part."""
    rng, n, d = np.random.default_rng(branch), 8, 2
    prior = random_linear_prior(d, 2, seed=branch).two_level(branch)
    if branch == 1:
        prior = prior._replace(action_cov=np.outer([1.0, 0.5], [1.0, 0.5]))
    X, actions, scales = rng.normal(size=(n, d)), rng.integers(2, size=n), np.array([1 / 64, 1.0, 64.0])
    m, own = (rng.multivariate_normal(np.zeros(d), cov, 1 + i) for i, cov in enumerate(prior[1:]))
    y = np.vecdot(X, 2 * (m + own)[actions]) + noise * rng.normal(size=n)
    same = actions[:, None] == actions
    base = Fraction(noise) ** 2 * np.vectorize(Fraction)(np.eye(n, dtype=int))
    C, S, rows, values = (rational(part) for part in (prior.shared_cov, prior.action_cov, X, y))
    spread = rows @ C @ rows.T + same * (rows @ S @ rows.T)
    dense = [rational_log_density(Fraction(scale) * spread + base, values) for scale in scales]
    right = [float(quadratic - dense[1][0]) + log_det - dense[1][1] for quadratic, log_det in dense]
    seen = [actions == a for a in range(2)]
    evidence = Evidence(
        np.array([X[rows].T @ X[rows] for rows in seen]) / noise**2,
        np.array([X[rows].T @ y[rows] for rows in seen]) / noise**2,
    )
    found = log_marginal(prior, evidence, scales)
    np.testing.assert_allclose(found - found[1], right, atol=1e-3)


@pytest.mark.parametrize("features", ["disjoint", "shared"])
def test_the_gauge_of_an_agent_is_that_of_its_rewards(features):
    prior, X, actions, y = rounds(60)
    agent = make_agent("dTS", BanditProblem(K, D, prior, GaussianReward(NOISE), features, 100), seed=0)
    assert agent.diagnostics == {"prior_scale": 1.0, "prior_surprise": 0.0}
    rows = X if features == "disjoint" else np.repeat(X[:, None], K, axis=1)
    agent.update(rows, actions, y)
    m0, C, S = prior.two_level(0)
    same = actions[:, None] == actions if features == "disjoint" else np.ones((60, 60))
    base, spread = NOISE**2 * np.eye(60), X @ C @ X.T + same * (X @ S @ X.T)
    dense = np.array([multivariate_normal(X @ m0, scale * spread + base).logpdf(y) for scale in SCALES])
    gauges = agent.diagnostics
    assert gauges["prior_scale"] == SCALES[dense.argmax()]
    assert gauges["prior_surprise"] == pytest.approx(dense.max() - dense[24], rel=1e-7)


@pytest.mark.parametrize("factor", [1 / 16, 1.0, 16.0])
def test_the_scale_is_found_from_many_actions(factor):
    rng = np.random.default_rng(1)
    two_level = random_linear_prior(D, 2).two_level(0)
    root = np.linalg.cholesky(two_level.action_cov)
    theta = np.sqrt(factor) * rng.normal(size=(300, D)) @ root.T
    theta += np.sqrt(factor) * np.linalg.cholesky(two_level.shared_cov) @ rng.normal(size=D)
    precise = Evidence(np.broadcast_to(1e6 * np.eye(D), (300, D, D)), 1e6 * theta)
    assert gauge(two_level, precise).scale == pytest.approx(factor, rel=0.2)  # 903 numbers tell a variance to 5 %
    assert believed_scale(two_level, precise) == pytest.approx(factor, rel=0.2)


def test_an_agent_that_adapts_is_one_that_was_told_the_scale():
    """Its posterior is that of an agent whose prior has the factor from the start."""
    prior, X, actions, y = rounds(70, 9.0)
    problem = BanditProblem(K, D, prior, GaussianReward(NOISE))
    agent = make_agent("dUCB", problem, seed=0, adapt_scale=True)
    agent.update(X[:64], actions[:64], y[:64])
    one_by_one = make_agent("dUCB", problem, seed=0, adapt_scale=True)
    for round_ in zip(X[:64], actions[:64], y[:64], strict=True):
        one_by_one.update(*round_)
    plain = make_agent("dUCB", problem, seed=0)
    plain.update(X[:64], actions[:64], y[:64])
    evidence = Evidence(*plain._posterior.table.evidence())
    scale = believed_scale(prior.two_level(0), evidence)
    assert scale > 2
    told = dts_gym.LinearDiffusionPrior(prior.weights, [scale * cov for cov in prior.covariances], prior.offsets)
    known = make_agent("dUCB", BanditProblem(K, D, told, GaussianReward(NOISE)), seed=0)
    known.update(X[:64], actions[:64], y[:64])
    for other in (agent, one_by_one):
        np.testing.assert_allclose(other.moments()[1], known.moments()[1], rtol=1e-8, atol=1e-12)
        np.testing.assert_allclose(other.moments()[0], known.moments()[0], rtol=1e-8, atol=1e-12)
        assert not np.allclose(other.moments()[0], plain.moments()[0], rtol=1e-3)


@pytest.mark.filterwarnings("ignore:the rewards so far")
@pytest.mark.parametrize("reward", ["gaussian", "bernoulli"])
def test_what_adapts_goes_on_from_a_file_and_forgets(reward, tmp_path):
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D, reward=reward)
    agent = make_agent("dTS", env, seed=0, adapt_scale=True)
    rng = np.random.default_rng(0)
    X, actions = rng.uniform(-1, 1, (100, D)), rng.integers(K, size=100)
    y = (rng.random(100) < 0.5).astype(float) if reward == "bernoulli" else 5 * rng.normal(size=100)
    agent.update(X[:40], actions[:40], y[:40])
    agent.save(tmp_path / "agent")
    loaded = dts_gym.agents.Agent.load(tmp_path / "agent")
    for each in (agent, loaded):
        each.update(X[40:], actions[40:], y[40:])
    assert agent._prior_scale == loaded._prior_scale != 1.0
    np.testing.assert_array_equal(agent.act(X), loaded.act(X))
    agent.reset(0)
    fresh = make_agent("dTS", env, seed=0, adapt_scale=True)
    np.testing.assert_array_equal(agent.moments()[1], fresh.moments()[1])


def test_only_closed_forms_adapt():
    problem = BanditProblem(K, D, random_mlp_prior(D, 2), GaussianReward(NOISE))
    with pytest.raises(ValueError, match="adapt_scale must be False"):
        make_agent("dTS", problem, adapt_scale=True)
    with pytest.raises(ValueError, match="adapt_scale must be"):
        make_agent("dTS", BanditProblem(K, D, random_linear_prior(D, 2), GaussianReward()), adapt_scale=2)
