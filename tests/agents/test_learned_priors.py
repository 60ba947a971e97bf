"""Samplers with learned priors: mixtures against dense formulas, TunedTS against LinTS, LaplaceDPS by its rule."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import chi2_contingency, multivariate_normal, norm

from dts_gym import BanditProblem, BernoulliReward, DiffusionPrior, GaussianReward, make_agent, random_linear_prior
from dts_gym.agents import LaplaceDPS, MixTS, MixUCB, TunedTS
from dts_gym.checks.agent_checks import check_agent
from dts_gym.datasets import sample_shape
from dts_gym.posteriors.laplace_posterior import LaplacePosterior
from dts_gym.posteriors.mixture_posterior import MixturePosterior
from dts_gym.priors.denoisers import DenoiserNetwork
from dts_gym.priors.fitting import prior_draws
from dts_gym.priors.mixtures import Mixture, fit_mixture
from dts_gym.priors.reverse_process import noise_schedule, reverse_chain

MIXTURE = Mixture(
    np.array([0.5, 0.3, 0.2]),
    np.array([[1.0, 1.0], [-1.0, 0.5], [0.0, -2.0]]),
    np.array([[[0.3, 0.1], [0.1, 0.2]], [[0.5, 0.0], [0.0, 0.05]], [[0.1, 0.1], [0.1, 0.1]]]),  # the last is singular
)
SCALE, OFFSET = np.array([[1.0, 0.5], [0.0, 2.0]]), np.array([1.0, -1.0])
PAST = sample_shape("rays", np.random.default_rng(0), 2_000)


def problem(num_actions=5, prior=None, reward=None, features="disjoint", past=PAST):
    prior = random_linear_prior(2, 2) if prior is None else prior
    return BanditProblem(num_actions, 2, prior, reward or GaussianReward(0.5), features=features, past_parameters=past)


def gaussian_ddpm(depth=6):
    """A denoising diffusion prior whose data are normal of mean OFFSET and root SCALE, with the exact denoiser.

    In the denoiser's units the data are N(0, I): the best velocity is 0, and ``Cov(z_0 | z_l) = (1 - abar_l) I``.
    """
    d = 2
    network = DenoiserNetwork(
        np.eye(d), *np.zeros((2, 1, d, d)), np.zeros((d, d)), np.zeros(d), np.zeros((depth, 2, d))
    )
    bars = noise_schedule(depth)
    unknown = (1 - bars)[:, None, None] * np.eye(d)
    return DiffusionPrior(*reverse_chain(network, bars, unknown, scale=SCALE, offset=OFFSET))


def play(agent, rounds=15, seed=0, num_played=3):
    """Rounds of the first actions; contexts, actions and rewards."""
    rng, theta = np.random.default_rng(seed), np.random.default_rng(99).standard_normal((num_played, 2))
    X, actions = rng.uniform(-1, 1, (rounds, 2)), rng.integers(num_played, size=rounds)
    y = (X * theta[actions]).sum(axis=1) + 0.5 * rng.standard_normal(rounds)
    if isinstance(agent.reward_model, BernoulliReward):
        y = (y > 0).astype(float)
    agent.update(X, actions, y)
    return X, actions, y


def dense_mixture(X, y, noise_std):
    """Weights, means and covariances of the posterior, by the marginal density of all rewards."""
    log_weights, means, covs = [], [], []
    for weight, mean, cov in zip(*MIXTURE, strict=True):
        marginal = X @ cov @ X.T + noise_std**2 * np.eye(len(y))
        log_weights.append(np.log(weight) + multivariate_normal(X @ mean, marginal).logpdf(y))
        gain = cov @ X.T @ np.linalg.inv(marginal)
        means.append(mean + gain @ (y - X @ mean))
        covs.append(cov - gain @ X @ cov)
    weights = np.exp(np.array(log_weights) - max(log_weights))
    return weights / weights.sum(), np.array(means), np.array(covs)


def moments_of(weights, means, covs, scale=1.0):
    mean = weights @ means
    second = sum(
        w * (scale**2 * S + np.outer(m - mean, m - mean)) for w, m, S in zip(weights, means, covs, strict=True)
    )
    return mean, second


@pytest.mark.parametrize("exploration", [1.0, 0.3])
def test_every_actions_posterior_is_the_dense_mixture(exploration):
    agent = MixTS(problem(), seed=0, mixture=MIXTURE, exploration=exploration)
    X, actions, y = play(agent)
    mean, cov = agent.moments()
    for a in range(5):
        own = actions == a
        truth = MIXTURE if not own.any() else dense_mixture(X[own], y[own], 0.5)
        expected, spread = moments_of(*truth, exploration)
        np.testing.assert_allclose(mean[a], expected, atol=1e-9)
        np.testing.assert_allclose(cov[2 * a : 2 * a + 2, 2 * a : 2 * a + 2], spread, atol=1e-9)
    blocks = cov.reshape(5, 2, 5, 2)
    assert (blocks[0, :, 1] == 0).all()


@pytest.mark.parametrize("features", ["disjoint", "shared"])
def test_the_bound_of_a_mixture_is_a_quantile_of_the_dense_mixture(features):
    """The fifth action is unplayed where every action has a parameter of its own."""
    rng, scale = np.random.default_rng(2), 2.0
    agent = MixUCB(problem(features=features), seed=0, mixture=MIXTURE, exploration=scale)
    shared = features == "shared"
    X = rng.uniform(-1, 1, (12, 5, 2) if shared else (12, 2))
    actions, y = np.arange(12) % 4, rng.standard_normal(12)
    agent.update(X, actions, y)
    for _ in range(20):
        x = rng.uniform(-1, 1, agent.problem.context_shape)
        bounds = []
        for a in range(5):
            own = np.ones(12, dtype=bool) if shared else actions == a
            rows = X[np.arange(12), actions] if shared else X
            weights, means, covs = dense_mixture(rows[own], y[own], 0.5) if own.any() else MIXTURE
            phi = x[a] if shared else x
            mean, std = means @ phi, np.sqrt(np.einsum("d,cde,e->c", phi, covs, phi))

            def excess(point, weights=weights, mean=mean, std=std):
                return weights @ norm.sf((point - mean) / std) - norm.sf(scale)

            bounds.append(brentq(excess, (mean - 9 * std).min(), (mean + 9 * std).max(), xtol=1e-12))
        assert agent.act(x) == np.argmax(bounds)


def test_the_shared_parameters_posterior_is_the_dense_mixture():
    agent = MixTS(problem(features="shared"), seed=0, mixture=MIXTURE)
    rng = np.random.default_rng(1)
    phi, actions, y = rng.uniform(-1, 1, (20, 5, 2)), rng.integers(5, size=20), rng.standard_normal(20)
    agent.update(phi, actions, y)
    expected = moments_of(*dense_mixture(phi[np.arange(20), actions], y, 0.5))
    for found, truth in zip(agent.moments(), expected, strict=True):
        np.testing.assert_allclose(found, truth, atol=1e-9)
    greedy = agent.predict(phi[0], deterministic=True)[0]
    assert greedy == (phi[0] @ expected[0]).argmax()


def test_evidence_of_other_rewards_weighs_components_as_a_quadrature_does():
    """One dimension, Bernoulli rewards: the quadratic evidence, integrated on a grid."""
    mixture = Mixture(np.array([0.7, 0.3]), np.array([[-1.0], [2.0]]), np.array([[[0.3]], [[0.5]]]))
    posterior = MixturePosterior(mixture, 3, BernoulliReward())
    rng = np.random.default_rng(0)
    for _ in range(12):
        posterior.update(rng.uniform(-2, 2, 1), 1, float(rng.random() < 0.7))
    (G,), (h,) = posterior._glm.evidence()
    grid = np.linspace(-10, 10, 20_001)
    density = sum(
        w * np.exp(-0.5 * (grid - m[0]) ** 2 / S[0, 0]) / np.sqrt(S[0, 0]) for w, m, S in zip(*mixture, strict=True)
    )
    density = density * np.exp(-0.5 * G[0, 0] * grid**2 + h[0] * grid)
    density /= density.sum()
    mean, cov = posterior.moments()
    np.testing.assert_allclose(mean[1, 0], density @ grid, atol=1e-8)
    np.testing.assert_allclose(cov[1, 1], density @ (grid - mean[1, 0]) ** 2, atol=1e-8)


AGENTS = {
    "MixTS": lambda: MixTS(problem(), seed=0, mixture=MIXTURE, exploration=0.3),
    "MixTS shared": lambda: MixTS(problem(features="shared"), seed=0, mixture=MIXTURE, exploration=0.7),
    "MixTS Bernoulli": lambda: MixTS(problem(reward=BernoulliReward()), seed=0, mixture=MIXTURE),
    "MixTS many": lambda: MixTS(problem(num_actions=30), seed=0, mixture=MIXTURE),
    "TunedTS Bernoulli": lambda: TunedTS(problem(reward=BernoulliReward()), seed=0),
    "LaplaceDPS": lambda: LaplaceDPS(problem(num_actions=12, prior=gaussian_ddpm(2)), seed=0),
    "LaplaceDPS shared": lambda: LaplaceDPS(problem(prior=gaussian_ddpm(), features="shared"), seed=0),
    "LaplaceDPS Bernoulli": lambda: LaplaceDPS(
        problem(prior=gaussian_ddpm(2), reward=BernoulliReward()), seed=0, exploration=0.5
    ),
}


def test_rewards_far_from_every_component_leave_finite_beliefs():
    agent = MixTS(problem(), mixture=MIXTURE, seed=0)
    agent.update([1.0, 0.5], 0, 1e50)
    agent.update([100.0, 50.0], 0, 0.0)  # 1e52, and 1e50 standard deviations or more, from its expectation
    assert all(np.isfinite(part).all() for part in agent.marginals([1.0, 0.5]))
    assert agent.act([1.0, 0.5]) in range(5)


def alike(first, second):
    """Whether two samples of actions agree: chi-square, a false alarm in a million; rare actions are pooled."""
    counts = np.stack([np.bincount(sample, minlength=30) for sample in (first, second)])
    rare = counts.sum(axis=0) < 20
    table = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    table = table[:, table.sum(axis=0) > 0]
    return table.shape[1] == 1 or chi2_contingency(table).pvalue > 1e-6


@pytest.mark.parametrize("name", AGENTS)
def test_marginals_are_those_of_the_dense_moments(name):
    agent = AGENTS[name]()
    if agent.problem.features == "shared":
        x = np.random.default_rng(3).uniform(-1, 1, agent.problem.context_shape)
        agent.update(np.repeat(x[None], 8, axis=0), [0, 1] * 4, np.arange(8) / 8)
    else:
        x = play(agent)[0][0]
    mean, cov = agent.moments()
    if mean.ndim == 1:
        expected = x @ mean, np.sqrt(np.einsum("kd,de,ke->k", x, cov, x))
    else:
        K, d = mean.shape
        expected = mean @ x, np.sqrt(np.einsum("d,kdke,e->k", x, cov.reshape(K, d, K, d), x))
    for got, truth in zip(agent.marginals(x), expected, strict=True):
        np.testing.assert_allclose(got, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", AGENTS)
def test_the_action_is_the_best_under_one_draw_of_all_parameters(name):
    """Played or not: the distribution of 2 000 actions of a batch, and of 1 000 single ones, against draws' best."""
    agent = AGENTS[name]()
    K, draw = agent.problem.num_actions, agent.sample_parameters
    if agent.problem.features == "shared":
        contexts = [np.random.default_rng(3).uniform(-1, 1, (K, 2))]
        agent.update(np.repeat(contexts, 8, axis=0), [0, 1] * 4, np.arange(8) / 8)
    else:
        contexts = [np.array([0.6, 0.8]), np.array([-0.6, -0.8])]
        play(agent, rounds=5)
    draws = [draw() for _ in range(2_000)]
    for x in contexts:
        best = np.array([(theta @ x if x.ndim == 1 else x @ theta).argmax() for theta in draws])
        assert len(np.unique(best)) > 2
        assert alike(agent.act(np.repeat(x[None], 2_000, axis=0)), best)
        assert alike(np.array([agent.act(x) for _ in range(1_000)]), best)


def test_unplayed_actions_of_many_components_are_the_best_of_all_their_draws():
    """10^6 unplayed actions: the largest score of a played one that it beats, against the maximum's distribution."""
    K, x = 10**6, np.array([1.0, 0.5])
    agent = MixTS(problem(num_actions=K), seed=0, mixture=MIXTURE, noise_std=1e-6)
    agent.update(x, 0, 4.6)  # so that action 0 is known in the direction x
    won = (agent.act(np.repeat(x[None], 4_000, axis=0)) == 0).mean()
    # P(all others below 4.6) = (sum_c w_c Phi_c)^(K - 1)
    below = sum(w * norm.sf((4.6 - x @ m) / np.sqrt(x @ S @ x)) for w, m, S in zip(*MIXTURE, strict=True))
    truth = (1 - below) ** (K - 1)
    assert 0.05 < truth < 0.95
    assert abs(won - truth) < 4.5 * np.sqrt(truth * (1 - truth) / 4_000)


@pytest.mark.parametrize(("other", "reward"), [("LinTS", None), ("GLM-TS", BernoulliReward())])
@pytest.mark.parametrize("features", ["disjoint", "shared"])
def test_tuned_ts_is_thompson_sampling_with_the_fitted_prior(other, reward, features):
    bandit = problem(reward=reward, features=features)
    prior = {"prior_mean": PAST.mean(axis=0), "prior_cov": np.cov(PAST, rowvar=False)}
    tuned = make_agent("TunedTS", bandit, seed=3, exploration=0.7)
    twin = make_agent(other, bandit, seed=3, exploration=0.7, **prior)
    rng = np.random.default_rng(0)
    for _ in range(40):
        context = rng.uniform(-1, 1, bandit.context_shape)
        action = tuned.act(context)
        assert action == twin.act(context)
        for agent in (tuned, twin):
            agent.update(context, action, float(context.flat[0] > 0))


def test_without_past_parameters_draws_of_the_prior_stand_for_them():
    bandit = problem(past=None)
    mean, cov = TunedTS(bandit, seed=0).moments()
    draws = prior_draws(bandit.prior)
    chain = bandit.prior.two_level(2)  # the draws are independent, nothing is shared
    assert (np.abs(draws.mean(axis=0) - chain.mean) / np.sqrt(np.diag(chain.action_cov) / 10_000)).max() < 4.5
    assert np.abs(draws.var(axis=0) / np.diag(chain.action_cov) - 1).max() < 4.5 * np.sqrt(2 / 10_000)
    np.testing.assert_allclose(mean[4], draws.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(cov[:2, :2], np.cov(draws, rowvar=False), atol=1e-12)
    assert len(MixTS(bandit, seed=0).mixture.weights) == 1  # and the linear chain's marginal is normal


def test_a_mixture_is_found_with_its_number_of_components():
    rng = np.random.default_rng(1)
    labels = rng.choice(3, 3_000, p=MIXTURE.weights)
    means, roots = 3 * MIXTURE.means, np.linalg.cholesky(MIXTURE.covs + 0.05 * np.eye(2))
    theta = means[labels] + (roots[labels] @ rng.standard_normal((3_000, 2, 1)))[..., 0]
    found = fit_mixture(theta)
    order = found.weights.argsort()[::-1]
    np.testing.assert_allclose(found.weights[order], np.bincount(labels) / 3_000, atol=0.01)
    for c in range(3):
        own = theta[labels == c]
        np.testing.assert_allclose(found.means[order[c]], own.mean(axis=0), atol=0.03)
        np.testing.assert_allclose(found.covs[order[c]], np.cov(own, rowvar=False), atol=0.03)


def test_one_component_is_the_normal_law_and_few_vectors_have_a_density():
    one = fit_mixture(PAST, 1)
    np.testing.assert_allclose(one.means[0], PAST.mean(axis=0), atol=1e-12)
    np.testing.assert_allclose(one.covs[0], np.cov(PAST, rowvar=False, ddof=0), atol=2e-4)
    np.testing.assert_allclose(one.moments()[1], one.covs[0], atol=1e-15)
    repeated = fit_mixture(np.repeat(np.arange(4.0)[:, None], 5, axis=0), 4)  # clusters without spread
    assert sorted(repeated.means[:, 0].round(6)) == [0, 1, 2, 3]
    assert (np.linalg.eigvalsh(repeated.covs) > 0).all()
    assert len(fit_mixture([[0.0, 1.0], [1.0, 3.0]]).weights) <= 2
    np.testing.assert_array_equal(fit_mixture(PAST, 4).means, fit_mixture(PAST, 4).means)


@pytest.mark.parametrize(
    "units",
    [np.diag([1000.0, 1.0]), np.diag([1.0, 1e9]), np.array([[1000.0, 1000.0], [1000.0, 1001.0]])],
    ids=["columns", "small columns", "oblique"],
)
def test_the_units_of_the_parameters_do_not_widen_the_prior(units):
    """In every direction the prior of three clusters has the parameters' deviation to a thousandth."""
    rng = np.random.default_rng(0)
    theta = (rng.standard_normal((600, 2)) + 6.0 * rng.integers(3, size=(600, 1))) @ units.T
    for found in (fit_mixture(theta), fit_mixture(theta, 1), MixTS(problem(past=theta), seed=0).mixture):
        ratios = np.linalg.eigvals(np.linalg.solve(np.cov(theta.T, bias=True), found.moments()[1])).real
        np.testing.assert_allclose(np.sqrt(ratios), 1.0, atol=1e-3)
    plain = fit_mixture(theta @ np.linalg.inv(units).T, 3)
    same = fit_mixture(theta, 3)
    np.testing.assert_allclose(np.sort(same.weights), np.sort(plain.weights), atol=1e-3)


def test_a_column_that_does_not_vary_has_a_density_all_the_same():
    theta = np.column_stack([np.random.default_rng(0).normal(0.0, 3.0, 50), np.full(50, 0.1)])
    one = fit_mixture(theta, 1)
    np.testing.assert_allclose(one.means[0, 1], 0.1, rtol=1e-12)
    np.testing.assert_allclose(one.covs[0, 1, 1], 1e-4 * theta[:, 0].var() / 2, rtol=1e-9)  # of the mean column
    np.testing.assert_allclose(one.covs[0, 0, 0], theta[:, 0].var() * 1.0001, rtol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([[1.0, 2.0]],), "parameters must be two vectors or more, got shape"),
        (([[1.0], [np.nan]],), "parameters must be finite"),
        (([[1.0, 2.0]] * 5,), r"parameters must differ, got 5 times \[1. 2.\]"),
        (([[1.0], [2.0]], 3), r"num_components must be an integer in 1\.\.2, got 3"),
        (([[1.0], [2.0]], 0), r"num_components must be an integer in 1\.\.2, got 0"),
    ],
)
def test_what_no_mixture_fits_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit_mixture(*arguments)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        (MIXTURE._replace(weights=np.array([0.5, 0.5, 0.5])), "mixture.weights must be positive and sum to 1"),
        (MIXTURE._replace(means=np.zeros((3, 3))), r"mixture.means must have shape \(3, 2\), got shape \(3, 3\)"),
        (MIXTURE._replace(covs=-MIXTURE.covs), r"mixture.covs\[0\] must be positive semi-definite"),
        ("three", "mixture must be a dts_gym Mixture, got 'three'"),
    ],
)
def test_what_is_no_mixture_is_refused(mixture, message):
    with pytest.raises(ValueError, match=message):
        MixTS(problem(), mixture=mixture)


def laplace_law(G, h, depth=6):
    """Mean and covariance of LaplaceDPS's draw of theta, the chain of N(0, I) data being an autoregression."""
    bars = np.concatenate([[1.0], noise_schedule(depth)])
    G0, h0 = SCALE.T @ G @ SCALE, SCALE.T @ (h - G @ OFFSET)
    cov = np.linalg.inv(np.eye(2) + G0 / bars[depth])
    mean = cov @ h0 / np.sqrt(bars[depth])
    for ell in range(depth - 1, -1, -1):
        alpha = bars[ell + 1] / bars[ell]
        own = np.linalg.inv(np.eye(2) / (1 - alpha) + G0 / bars[ell])
        slope = own * np.sqrt(alpha) / (1 - alpha)
        mean, cov = slope @ mean + own @ h0 / np.sqrt(bars[ell]), own + slope @ cov @ slope.T
    return OFFSET + SCALE @ mean, SCALE @ cov @ SCALE.T


@pytest.mark.parametrize(("depth", "exploration"), [(6, 1.0), (2, 0.4)])
def test_laplace_dps_has_the_law_of_its_rule_on_a_normal_chain(depth, exploration):
    """6 000 draws of an action without data, one with a single reward, one with many; |z| < 4.5 of 12 means and 12
    variances: a false alarm in 6 000 runs."""
    agent = LaplaceDPS(problem(num_actions=3, prior=gaussian_ddpm(depth)), seed=0, exploration=exploration)
    rng = np.random.default_rng(5)
    X = rng.uniform(-1, 1, (31, 2))
    actions = np.array([0] + [1] * 30)
    y = rng.standard_normal(31)
    agent.update(X, actions, y)
    draws = np.array([agent.sample_parameters() for _ in range(6_000)])
    for a in range(3):
        own = X[actions == a]
        mean, cov = laplace_law(own.T @ own / 0.25, y[actions == a] @ own / 0.25, depth)
        variance = exploration**2 * np.diag(cov)
        assert (np.abs(draws[:, a].mean(axis=0) - mean) / np.sqrt(variance / 6_000)).max() < 4.5
        assert (np.abs(draws[:, a].var(axis=0) / variance - 1) / np.sqrt(2 / 6_000)).max() < 4.5
    prior_mean, prior_cov = laplace_law(np.zeros((2, 2)), np.zeros(2), depth)
    np.testing.assert_allclose(prior_mean, OFFSET)
    np.testing.assert_allclose(prior_cov, SCALE @ SCALE.T)  # without data it is the prior
    # The moments are of 512 draws, 2 048 of an action without data.
    found_mean, found_cov = agent.moments()
    variance = np.diag(found_cov)
    assert (np.abs(found_mean - draws.mean(axis=0)).ravel() / np.sqrt(variance * (1 / 512 + 1 / 6_000))).max() < 4.5
    assert (np.abs(draws.reshape(6_000, 6).var(axis=0) / variance - 1)).max() < 4.5 * np.sqrt(2 / 512)


def test_with_much_data_laplace_dps_is_at_the_estimate_and_before_that_too_sure():
    X = np.random.default_rng(0).uniform(-1, 1, (50, 2))
    G, theta = X.T @ X, np.array([0.5, 2.0])
    mean, cov = laplace_law(1e6 * G, 1e6 * G @ theta)
    np.testing.assert_allclose(mean, theta, atol=1e-4)
    assert np.trace(cov) < 1e-6
    exact = np.linalg.inv(np.linalg.inv(SCALE @ SCALE.T) + 0.05 * G)
    # It counts the evidence on every level.
    assert (np.linalg.eigvalsh(exact - laplace_law(0.05 * G, np.zeros(2))[1]) > 0).all()


def test_a_pool_smaller_than_the_unplayed_actions_gives_each_draw_several():
    """One step from pure noise: a score hardly depends on the pool, and the maximum's distribution is known."""
    K, x = 10_000, np.array([1.0, 0.5])
    posterior = LaplacePosterior(gaussian_ddpm(1), K, GaussianReward(1e-6), pool_size=64)
    mean, std = x @ OFFSET, np.sqrt(x @ SCALE @ SCALE.T @ x)
    posterior.update(x, 7, mean + 4.0 * std)  # action 7 is known in the direction x
    won = (posterior.thompson(np.repeat(x[None], 4_000, axis=0), np.random.default_rng(0)) == 7).mean()
    truth = norm.cdf(4.0) ** (K - 1)
    assert abs(won - truth) < 4.5 * np.sqrt(truth * (1 - truth) / 4_000)


def test_laplace_dps_wants_a_denoising_diffusion_prior():
    with pytest.raises(ValueError, match=r"problem must have a denoising diffusion prior for LaplaceDPS: .*AffineLink"):
        make_agent("LaplaceDPS", problem())
    chain = gaussian_ddpm()
    with pytest.raises(ValueError, match=r"links\[0\] must begin where the one below ends, at 1.0"):
        LaplaceDPS(problem(prior=DiffusionPrior(chain.links[1:], chain.covariances[1:])))
    with pytest.raises(ValueError, match="prior must have a link or more"):
        LaplaceDPS(problem(prior=DiffusionPrior([], [np.eye(2)])))


@pytest.mark.parametrize(
    ("agent_id", "settings", "message"),
    [
        ("TunedTS", {"exploration": 0}, "exploration must be a positive finite number, got 0"),
        ("MixTS", {"num_components": 0}, "num_components must be an integer in"),
        ("MixTS", {"noise_std": -1}, "noise_std must be a positive finite number, got -1"),
        ("LaplaceDPS", {"pool_size": 0}, "pool_size must be an integer >= 1, got 0"),
    ],
)
def test_bad_settings_are_refused(agent_id, settings, message):
    with pytest.raises(ValueError, match=message):
        make_agent(agent_id, problem(prior=gaussian_ddpm()), **settings)
    with pytest.raises(ValueError, match="parameters must be two vectors or more"):
        make_agent("TunedTS", problem(past=PAST[:1]))


@pytest.mark.parametrize(
    ("agent_id", "settings"),
    [
        ("TunedTS", {"reward": "bernoulli", "features": "shared"}),
        ("MixTS", {"features": "shared"}),
        ("MixTS", {"reward": "poisson"}),
        ("LaplaceDPS", {"prior": gaussian_ddpm(3)}),
        ("LaplaceDPS", {"reward": "bernoulli", "features": "shared", "prior": gaussian_ddpm(3)}),
    ],
)
def test_agents_keep_the_contract(agent_id, settings):
    env = gym.make("SyntheticBandit-v0", shape="cross", num_actions=8, num_past=300, **settings)
    check_agent(functools.partial(make_agent, agent_id, exploration=0.8), env)


def test_a_saved_mixture_is_not_fitted_again(tmp_path, monkeypatch):
    agent = MixTS(problem(), seed=0, mixture=MIXTURE)
    play(agent)
    agent.save(tmp_path / "agent")
    monkeypatch.setattr("dts_gym.agents.learned_priors.fit_mixture", None)
    loaded = MixTS.load(tmp_path / "agent")
    np.testing.assert_array_equal(loaded.mixture.covs, MIXTURE.covs)
    contexts = np.random.default_rng(0).uniform(-1, 1, (30, 2))
    np.testing.assert_array_equal(loaded.act(contexts), agent.act(contexts))


@pytest.mark.slow
def test_a_prior_with_the_truths_shape_pays():
    """20 paired instances on four corners: a mixture prior against the Gaussian one, both exact."""
    from dts_gym import compare

    settings = {"shape": "corners", "features": "shared", "feature_law": "ball", "num_actions": 100}
    result = compare("SyntheticBandit-v0", ["TunedTS", "MixTS"], seeds=20, num_rounds=200, env_settings=settings)
    assert result.final_regret("MixTS").mean() < result.final_regret("TunedTS").mean()
