"""Means, spreads and credible intervals of every action against dense posteriors, quadrature and posterior draws."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, ndtr, ndtri

from dts_gym import (
    BanditProblem,
    BernoulliReward,
    GaussianReward,
    LinearDiffusionPrior,
    PoissonReward,
    RewardModel,
    make_agent,
    random_mlp_prior,
)
from dts_gym.posteriors.chain import chain_posterior, fixed_draws
from dts_gym.posteriors.joint_posterior import JointPosterior
from dts_gym.posteriors.marginals import NormalLaws
from truth import loud_denoisers, taught_agent

K = 6
LINEAR = LinearDiffusionPrior(
    [np.array([[1.0, 0.5], [0.0, 1.0]])] * 2, [np.eye(2), 0.5 * np.eye(2), np.eye(2)], [np.ones(2), np.zeros(2)]
)
MLP = random_mlp_prior(2, 2, activation="tanh", hidden=6, seed=1, stds=0.7)
SETTINGS = {
    "dTS": ("dTS", LINEAR, {}),
    "dTS tempered": ("dTS", LINEAR, {"exploration": 0.5, "branch": 1}),
    "dUCB": ("dUCB", LINEAR, {}),
    "HierTS": ("HierTS", LINEAR, {}),
    "MarginalLinTS": ("MarginalLinTS", LINEAR, {}),
    "JointTS": ("JointTS", LINEAR, {"exploration": 0.5}),
    "LinTS": ("LinTS", LINEAR, {"prior_mean": [0.3, -0.2]}),
    "LinUCB": ("LinUCB", LINEAR, {}),
    "dTS Bernoulli": ("dTS", LINEAR, {"reward": BernoulliReward()}),
    "dTS Poisson": ("dTS", LINEAR, {"reward": PoissonReward(), "exploration": 0.3}),
    "GLM-TS": ("GLM-TS", LINEAR, {"reward": BernoulliReward()}),
    "MixTS": ("MixTS", MLP, {"num_components": 3}),
    "MixTS Bernoulli": ("MixTS", MLP, {"num_components": 2, "reward": BernoulliReward()}),
    "dTS particles": ("dTS", MLP, {}),
    "dTS slice": ("dTS", MLP, {"approximation": "slice", "num_particles": 8, "num_steps": 5}),
    "dTS own levels": ("dTS", MLP, {"branch": 2}),
    "dTS between": ("dTS", MLP, {"branch": 1, "exploration": 0.7}),
    "dTS shared": ("dTS", LINEAR, {"features": "shared"}),
    "dTS shared particles": ("dTS", MLP, {"features": "shared"}),
    "MixTS shared": ("MixTS", MLP, {"features": "shared", "num_components": 2}),
}
# Draws to compare with, and how many of equal weight the estimates are averages of themselves, at least.
SAMPLED = {name: (2_000, 300) for name in ("dTS particles", "dTS own levels", "dTS between", "dTS shared particles")}
SAMPLED |= {"dTS slice": (1_000, 100), "LaplaceDPS": (4_000, 512)}


SETTINGS["LaplaceDPS"] = ("LaplaceDPS", loud_denoisers(), {})


def taught(name, num_actions=K):
    return taught_agent(*SETTINGS[name], num_actions, rounds=8)


@pytest.mark.parametrize(("branch", "exploration"), [(0, 1.0), (1, 0.5), (2, 2.0)])
def test_a_linear_chain_has_the_dense_posteriors_moments(branch, exploration):
    problem = BanditProblem(K, 2, LINEAR, GaussianReward(0.7))
    agent = make_agent("dTS", problem, seed=0, branch=branch, exploration=exploration)
    truth = JointPosterior(LINEAR.with_branch(branch), K, 0.7)
    rng = np.random.default_rng(0)
    for _ in range(9):
        x, a, y = rng.uniform(-1, 1, 2), int(rng.integers(3)), rng.standard_normal()
        agent.update(x, a, y)
        truth.update(x, a, y)
    theta_mean, theta_cov = truth.moments(exploration)
    blocks = theta_cov.reshape(K, 2, K, 2)[np.arange(K), :, np.arange(K), :]
    contexts = rng.uniform(-1, 1, (5, 2))
    mean, std = agent.marginals(contexts)
    np.testing.assert_allclose(mean, contexts @ theta_mean.T, atol=1e-10)
    np.testing.assert_allclose(std**2, np.einsum("nd,kde,ne->nk", contexts, blocks, contexts), atol=1e-10)
    np.testing.assert_array_equal(agent.mean_reward(contexts), mean)
    for level in (0.5, 0.95):
        lower, upper = agent.credible_interval(contexts, level)
        np.testing.assert_allclose(ndtr((upper - mean) / std) - ndtr((lower - mean) / std), level, atol=1e-12)
        np.testing.assert_allclose(upper + lower, 2 * mean, atol=1e-12)
    # One context is a row of many.
    np.testing.assert_allclose(agent.marginals(contexts[1]), (mean[1], std[1]), atol=1e-13)
    np.testing.assert_allclose(agent.credible_interval(contexts[1]), [part[1] for part in (lower, upper)], atol=1e-13)


@pytest.mark.parametrize("name", SETTINGS)
def test_estimates_are_those_of_posterior_draws(name):
    """|z| < 4.5 for 3 x 6 x 2 numbers a setting: a false alarm in some 200 runs of all, were all exact."""
    agent = taught(name)
    count, own = SAMPLED.get(name, (20_000, np.inf))
    x = np.random.default_rng(2).uniform(-1, 1, agent.problem.context_shape)
    theta = agent.sample_parameters(count)
    eta = theta @ x if theta.ndim == 3 else theta @ x.T  # (n, K)
    reward = agent.reward_model.mean(eta)
    errors = 1 / count + 1 / own
    mean, std = agent.marginals(x)
    assert mean.shape == std.shape == (K,)
    assert (np.abs(eta.mean(axis=0) - mean) / (std * np.sqrt(errors))).max() < 4.5
    fourth = ((eta - mean) ** 4).mean(axis=0) / std**4
    assert (np.abs(eta.var(axis=0) / std**2 - 1) / np.sqrt((fourth - 1) * errors)).max() < 4.5
    assert (np.abs(reward.mean(axis=0) - agent.mean_reward(x)) / (reward.std(axis=0) * np.sqrt(errors))).max() < 4.5
    for level in (0.9, 0.2):
        lower, upper = agent.credible_interval(x, level)
        tail = (1 - level) / 2
        spread = np.sqrt(tail * (1 - tail) * errors)
        assert (np.abs((reward < lower).mean(axis=0) - tail) / spread).max() < 4.5
        assert (np.abs((reward > upper).mean(axis=0) - tail) / spread).max() < 4.5


@pytest.mark.parametrize("name", SETTINGS)
def test_marginals_are_the_moments_along_a_context(name):
    # To rounding, also where both are averages: of the same draws.
    agent = taught(name)
    x = np.random.default_rng(2).uniform(-1, 1, agent.problem.context_shape)
    for _ in range(2):
        mean, cov = agent.moments()
        if agent.problem.features == "shared":
            truth = x @ mean, np.einsum("kd,de,ke->k", x, cov, x)
        else:
            blocks = cov.reshape(K, 2, K, 2)[np.arange(K), :, np.arange(K), :]
            truth = mean @ x, np.einsum("d,kde,e->k", x, blocks, x)
        reached, std = agent.marginals(x)
        np.testing.assert_allclose(reached, truth[0], atol=1e-9)
        np.testing.assert_allclose(std**2, truth[1], rtol=1e-9)
        agent.update(x, 1, 1.0)  # and again: no stale result is returned
    twin = taught(name)
    for _ in range(2):
        twin.update(x, 1, 1.0)
    np.testing.assert_allclose(agent.marginals(x), twin.marginals(x), rtol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_estimates_of_a_batch_are_those_of_its_rows_and_cost_no_draw(name):
    agent, twin = taught(name), taught(name)
    contexts = np.random.default_rng(2).uniform(-1, 1, (3, *agent.problem.context_shape))
    for ask in (agent.mean_reward, agent.marginals, agent.credible_interval):
        batch = np.stack(np.atleast_2d(ask(contexts))) if ask == agent.mean_reward else np.stack(ask(contexts))
        rows = np.stack([np.stack(ask(x)) for x in contexts], axis=-2)
        assert batch.shape[-2:] == (3, K)
        np.testing.assert_allclose(batch, rows, rtol=1e-12, atol=1e-12)
    lower, upper = agent.credible_interval(contexts)
    assert (lower < upper).all()
    assert [agent.act(contexts[0]) for _ in range(5)] == [twin.act(contexts[0]) for _ in range(5)]
    # What is learned is seen.
    before = agent.mean_reward(contexts[0])
    agent.update(contexts[0], 1, 0.0 if before[1] > 0.5 else 1.0)
    assert (agent.mean_reward(contexts[0])[1] - before[1]) * (-1 if before[1] > 0.5 else 1) > 0


def test_many_actions_cost_an_array():
    agent = taught("dTS", num_actions=1_000_000)
    mean, std = agent.marginals([0.5, 1.0])
    assert mean.shape == (1_000_000,)
    assert (mean[3:] == mean[3]).all()
    assert (std[3:] == std[3]).all()
    assert len({*mean[:4]}) == 4
    lower, upper = agent.credible_interval([0.5, 1.0])
    np.testing.assert_allclose((lower + upper) / 2, mean, atol=1e-12)


def test_epsilon_greedy_tells_its_ridge_means():
    problem = BanditProblem(3, 2, LINEAR, BernoulliReward())
    agent, ridge = make_agent("EpsilonGreedy", problem, seed=0), make_agent("LinTS", problem, noise_std=1.0)
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (10, 2))
    for one in (agent, ridge):
        one.update(X, [0, 1] * 5, [0.0, 1.0, 1.0, 1.0, 0.0] * 2)
    np.testing.assert_allclose(agent.mean_reward(X), ridge.mean_reward(X), atol=1e-14)
    np.testing.assert_allclose(agent.credible_interval(X), ridge.credible_interval(X), atol=1e-14)


@pytest.mark.parametrize("level", [0, 1, 1.5, -0.1, "0.5", True, None, np.nan])
def test_a_level_is_between_zero_and_one(level):
    with pytest.raises(ValueError, match="level must be a number between 0 and 1, got"):
        taught("LinTS").credible_interval([1.0, 0.0], level)


@pytest.mark.parametrize("name", ["LinTS", "MixTS"])
def test_both_ends_are_as_far_out_at_a_level_near_one(name):
    """The distribution of ``-x' theta`` is the mirrored one."""
    agent, x, level = taught(name), np.array([0.3, -0.8]), float(np.nextafter(1.0, 0.0))
    lower, upper = agent.credible_interval(x, level)
    mirrored_lower, mirrored_upper = agent.credible_interval(-x, level)
    np.testing.assert_allclose((upper, lower), (-mirrored_lower, -mirrored_upper), rtol=1e-12)
    assert np.isfinite(upper).all()


@pytest.mark.parametrize("mean", [-60.0, -8.0, -1.0, 0.0, 0.3, 20.0])
@pytest.mark.parametrize("std", [0.0, 1e-8, 0.1, 0.999, 1.0, 1.001, 3.0, 50.0])
def test_the_logistic_average_by_adaptive_quadrature(mean, std):
    ours = float(BernoulliReward().expected_mean(np.array(mean), np.array(std**2)))

    def integrand(z):
        return expit(mean + std * z) * np.exp(-z * z / 2) / np.sqrt(2 * np.pi)

    edges = [-12, *sorted({float(np.clip(-mean / max(std, 1e-3) + off, -12, 12)) for off in (-1, 0, 1)}), 12]
    parts = [quad(integrand, a, b, epsabs=1e-16, epsrel=1e-13, limit=400)[0] for a, b in pairwise(edges)]
    assert ours == pytest.approx(sum(parts), abs=2e-13)


def test_other_averages():
    mean, variance = np.array([-1.0, 0.2, 2.0]), np.array([0.0, 0.5, 2.0])
    np.testing.assert_array_equal(GaussianReward().expected_mean(mean, variance), mean)
    draws = mean + np.sqrt(variance) * ndtri((np.arange(200_000) + 0.5) / 200_000)[:, None]
    np.testing.assert_allclose(PoissonReward().expected_mean(mean, variance), np.exp(draws).mean(axis=0), rtol=1e-3)

    class Cubic(BernoulliReward):
        """A family of one's own, with the rule that all have."""

        expected_mean = RewardModel.expected_mean

        def mean(self, eta):
            return eta**3

    np.testing.assert_allclose(Cubic().expected_mean(mean, variance), mean**3 + 3 * mean * variance, atol=1e-12)


def test_quantiles_of_mixtures():
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(4), 5).T  # (4, 5)
    laws = NormalLaws(weights, rng.standard_normal((4, 5)), rng.random((4, 5)) * (rng.random((4, 5)) < 0.7))
    for p in (0.01, 0.5, 0.9):
        q = laws.quantile(p)
        # The distribution function jumps where a variance is 0: at most p just below, at least p just above.
        below, above = (
            (weights * ndtr((q + off - laws.means) / np.sqrt(laws.variances.clip(1e-40)))).sum(axis=0)
            for off in (-1e-9, 1e-9)
        )
        assert (below <= p).all()
        assert (above >= p).all()
    one = NormalLaws(np.ones((1, 1)), np.array([[2.0]]), np.array([[4.0]]))
    np.testing.assert_allclose(one.quantile(0.975), 2 + 2 * 1.959964, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("reward", [GaussianReward(1.0), BernoulliReward()], ids=["gaussian", "bernoulli"])
@pytest.mark.parametrize("branch", [0, 1, 2])
def test_estimates_on_perceptrons_are_off_and_hang_on_the_order_by_no_more_than_is_said(branch, reward, monkeypatch):
    error, moved = [], []
    for seed in range(6):
        problem = BanditProblem(10, 5, random_mlp_prior(5, 2, seed=seed, branch=branch), reward)
        rng = np.random.default_rng(seed)
        theta = problem.prior.sample(rng, 10)
        contexts, actions = rng.uniform(-1, 1, (100, 5)), rng.integers(10, size=100)
        rewards, asked = reward.sample(rng, (contexts * theta[actions]).sum(axis=1)), rng.uniform(-1, 1, (20, 5))
        means, std = [], None
        for order in (np.arange(100), rng.permutation(100)):
            agent = make_agent("dTS", problem, seed=0)
            agent.update(contexts[order], actions[order], rewards[order])
            std = agent.marginals(asked)[1] if std is None else std
            for other in range(12):  # other numbers for the draws alone
                monkeypatch.setattr(fixed_draws, "FIXED_SEED", other)
                monkeypatch.setattr(chain_posterior, "_FIXED_SEED", other)
                if branch:
                    agent._posterior._fixed = fixed_draws.FixedDraws(agent._posterior.levels)
                else:
                    agent._posterior._known = {}
                means.append(agent.marginals(asked)[0] / std)
            monkeypatch.undo()
        one, two = np.array(means).reshape(2, 12, 20, 10)
        error.append(one.var(axis=0, ddof=1).mean())
        # Less what two averages of 12 draws differ by chance.
        moved.append(((one.mean(axis=0) - two.mean(axis=0)) ** 2).mean() - 2 * error[-1] / 12)
    assert 0.01 < np.sqrt(np.mean(error)) < 0.16
    assert np.mean(moved) < 0.15**2
