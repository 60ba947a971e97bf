"""Chains with levels of their own below the branch: against dense posteriors, quadrature, the prior, slice sampling."""

import functools

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import chi2

from dts_gym import make_agent
from dts_gym.checks.agent_checks import check_agent
from dts_gym.diagnostics.energy import energy_score
from dts_gym.posteriors.chain.branched_posterior import BranchedPosterior
from dts_gym.posteriors.evidence import through_noise
from dts_gym.posteriors.mcmc.slice_sampling import slice_sample
from dts_gym.priors.chains import DiffusionPrior
from dts_gym.priors.random_priors import random_mlp_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward
from truth import random_chain, random_cov


def linear_problem(branch, depth=3, K=4, d=2, singular=False):
    rng = np.random.default_rng(branch)
    covs = [random_cov(rng, d, 0.2) for _ in range(depth + 1)]
    if singular:
        covs[0], covs[1] = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    return BanditProblem(K, d, random_chain(rng, depth, branch, d, covs), GaussianReward(0.7))


def tanh_prior(d, depth, branch, seed=7):
    prior = random_mlp_prior(d, depth, hidden=6, activation="tanh", seed=seed)
    return DiffusionPrior(prior.links, [np.eye(d)] * (depth + 1), branch)


def feed(posteriors, rng, d, played, rounds, shift=1.0):
    for _ in range(rounds):
        x, a, y = rng.uniform(-1, 1, d), int(rng.integers(played)), float(rng.standard_normal() + shift)
        for posterior in posteriors:
            posterior.update(x, a, y)


@pytest.mark.parametrize("singular", [False, True])
@pytest.mark.parametrize("settings", [{}, {"surrogate": "statistical"}, {"approximation": "linearised"}])
@pytest.mark.parametrize("branch", [1, 2, 3])
def test_linear_chains_have_the_dense_posterior(branch, settings, singular):
    """1 500 draws, 8 means and 8 variances of four actions (one unplayed) with |z| < 4.5."""
    problem = linear_problem(branch, singular=singular)
    truth = make_agent("JointTS", problem, seed=0)
    agent = make_agent("dTS", problem, seed=1, **({"approximation": "particles"} | settings))
    feed([truth, agent], np.random.default_rng(3), 2, 3, 12)
    mean, cov = truth.moments()
    drawn = np.stack([agent.sample_parameters().ravel() for _ in range(1_500)])
    assert agent.diagnostics["effective_sample_size"] == pytest.approx(1.0, abs=1e-9)
    variance = np.diag(cov)
    assert (np.abs(drawn.mean(axis=0) - mean.ravel()) / np.sqrt(variance / 1_500)).max() < 4.5
    second = ((drawn - mean.ravel()) ** 2).mean(axis=0)
    assert (np.abs(second - variance) / (variance * np.sqrt(2 / 1_500))).max() < 4.5
    cross = np.abs(np.cov(drawn.T) - cov) / np.sqrt((np.outer(variance, variance) + cov**2) / 1_500)
    assert cross.max() < 4.5
    found_mean, found_cov = agent.moments()
    assert (np.abs(found_mean - mean).ravel() / np.sqrt(variance)).max() < 0.35  # 128 draws of the shared part
    assert (np.abs(found_cov - cov) / np.sqrt(np.outer(variance, variance))).max() < 0.45


@pytest.mark.parametrize("settings", [{}, {"num_particles": 1}, {"surrogate": "deck"}])
@pytest.mark.parametrize("branch", [1, 2])
def test_without_data_it_is_the_prior(branch, settings):
    """3 000 draws on each side of three actions: means and second moments, |z| < 4.5."""
    prior, rng = random_mlp_prior(2, 2, hidden=6, seed=3, branch=branch), np.random.default_rng(branch)
    posterior = BranchedPosterior(prior, 3, GaussianReward(1.0), branch=branch, **settings)
    drawn = np.stack([posterior.sample_parameters(rng).ravel() for _ in range(3_000)])
    truth = np.stack([prior.sample(rng, 3).ravel() for _ in range(3_000)])
    features = [
        np.concatenate([v, (v[:, :, None] * v[:, None, :]).reshape(len(v), -1)], axis=1) for v in (drawn, truth)
    ]
    error = np.sqrt((features[0].var(axis=0) + features[1].var(axis=0)) / 3_000)
    assert (np.abs(features[0].mean(axis=0) - features[1].mean(axis=0)) / error).max() < 4.5


def test_independent_chains_agree_with_quadrature_in_one_dimension():
    """Branch L, d = 1, L = 1, two actions: each action's posterior by brute force on a grid of psi."""
    prior, rng = tanh_prior(1, 1, 1, seed=3), np.random.default_rng(2)
    posterior = BranchedPosterior(prior, 3, GaussianReward(0.7), branch=1, num_particles=64)
    data = [(rng.uniform(-1, 1, 1), int(rng.integers(2)), float(rng.standard_normal())) for _ in range(8)]
    for x, a, y in data:
        posterior.update(x, a, y)
    psi = np.linspace(-8, 8, 4001)
    f = prior.links[0](psi[:, None])[:, 0]
    drawn = np.array([posterior.sample_parameters(rng)[:, 0] for _ in range(6_000)])
    found_mean, found_cov = posterior.moments()
    for action in range(3):
        G = sum(float(x[0]) ** 2 for x, a, _ in data if a == action) / 0.49
        h = sum(float(x[0]) * y for x, a, y in data if a == action) / 0.49
        gamma, beta = G / (1 + G), h / (1 + G)
        log_weight = -0.5 * psi**2 - 0.5 * gamma * f**2 + beta * f
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        mean = float(weight @ ((f + h) / (1 + G)))
        variance = float(weight @ ((f + h) / (1 + G)) ** 2) - mean**2 + 1 / (1 + G)
        assert abs(drawn[:, action].mean() - mean) / np.sqrt(variance / 6_000) < 4.5
        assert abs(drawn[:, action].var() / variance - 1) < 0.1
        assert abs(found_mean[action, 0] - mean) < 0.15 * np.sqrt(variance)
        assert abs(found_cov[action, action] / variance - 1) < 0.2
    assert np.abs(found_cov - np.diag(np.diag(found_cov))).max() == 0


def test_a_branch_between_is_near_slice_sampling_and_the_decks_rule_is_not():
    """Approximate: the shared part is filtered through the actions' surrogates."""
    prior, rng = tanh_prior(2, 2, 1), np.random.default_rng(4)
    model = GaussianReward(0.5)
    engines = {name: BranchedPosterior(prior, 3, model, branch=1, surrogate=name) for name in ("jacobian", "deck")}
    engines["deck"].num_particles = 1
    feed(engines.values(), rng, 2, 3, 12, shift=2.0)
    table = engines["jacobian"].table
    G, h = np.zeros((3, 2, 2)), np.zeros((3, 2))
    G[table.actions], h[table.actions] = table.evidence()
    truth = slice_sample(prior, *through_noise(G, h, np.eye(2)), rng, 10, thin=50, burn_in=500, chains=150, branch=1)
    assert truth.r_hat.max() < 1.05
    # f_1 to theta: the same exact step for both, so f_1 is compared, and the rule "deck" must be distinguished from it.
    distance = {}
    for name, engine in engines.items():
        values = np.stack(
            [engine.levels.values(rng, 1.0, from_clouds=False)[0][engine.table.actions.argsort()] for _ in range(800)]
        )
        distance[name] = energy_score(values.reshape(800, 6), truth.values.reshape(-1, 6), rng).distance
    assert distance["jacobian"] < 0.02
    assert distance["jacobian"] < 0.2 * distance["deck"]


@pytest.mark.parametrize("pool_size", [10_000, 3])
@pytest.mark.parametrize("branch", [1, 2])
def test_the_action_has_the_law_of_the_best_of_sampled_parameters(branch, pool_size):
    """Chi-square over 8 actions, 4 of them unplayed, from filters of each call's own; a false alarm in a million.

    With fewer draws of the prior than unplayed actions it is an approximation, but not one that shows here.
    """
    prior, rng = tanh_prior(2, 2, branch), np.random.default_rng(5)
    posterior = BranchedPosterior(prior, 8, GaussianReward(0.7), branch=branch, num_particles=8, pool_size=pool_size)
    feed([posterior], rng, 2, 4, 10)
    x = np.array([0.8, -0.4])
    counts = np.zeros((2, 8))
    for _ in range(2_000):
        counts[0, int(posterior.thompson(x, rng, 0.8))] += 1
        counts[1, int((posterior.sample_parameters(rng, 0.8) @ x).argmax())] += 1
    expected = counts.sum(axis=0) / 2
    used = expected > 0
    statistic = ((counts - expected)[:, used] ** 2 / expected[used]).sum()
    assert statistic < chi2.isf(1e-6, used.sum() - 1)


def test_every_member_of_a_cloud_is_used_once_and_new_evidence_renews_it():
    prior, rng = tanh_prior(2, 2, 2), np.random.default_rng(6)
    posterior = BranchedPosterior(prior, 6, GaussianReward(0.7), branch=2, num_particles=8)
    feed([posterior], rng, 2, 3, 8)
    x = np.array([0.5, 0.5])
    posterior.thompson(x, rng, from_clouds=True)
    clouds, size = posterior.levels._clouds.copy(), posterior.levels._cloud_size
    assert size == 32
    assert (posterior.levels._left == size - 1).all()
    seen = [posterior.levels.values(rng, 1.0, from_clouds=True)[0] for _ in range(size - 1)]
    np.testing.assert_array_equal(posterior.levels._clouds, clouds)
    np.testing.assert_array_equal(np.sort(np.array(seen), axis=0), np.sort(clouds[:, :-1].transpose(1, 0, 2), axis=0))
    posterior.levels.values(rng, 1.0, from_clouds=True)
    assert (posterior.levels._clouds != clouds).any(axis=(1, 2)).all()
    before = posterior.levels._clouds.copy()
    action = int(posterior.table.actions[1])
    posterior.update(x, action, 5.0)
    posterior.thompson(x, rng, from_clouds=True)
    changed = (posterior.levels._clouds != before).any(axis=(1, 2))
    assert changed.tolist() == [slot == 1 for slot in range(len(posterior.table))]


@pytest.mark.parametrize(
    ("agent_id", "branch", "reward"),
    [
        ("dTS", 1, "gaussian"),
        ("dTS", 2, "gaussian"),
        pytest.param("dTS", 1, "bernoulli", marks=pytest.mark.slow),
        pytest.param("dTS", 2, "poisson", marks=pytest.mark.slow),
        pytest.param("dUCB", 1, "gaussian", marks=pytest.mark.slow),
        pytest.param("dUCB", 2, "bernoulli", marks=pytest.mark.slow),
    ],
)
def test_agents_keep_the_contract(agent_id, branch, reward):
    prior = tanh_prior(2, 2, branch)
    env = gym.make("DiffusionBandit-v0", num_actions=6, prior=prior, reward=reward)
    check_agent(functools.partial(make_agent, agent_id, num_particles=4), env)


@pytest.mark.parametrize("settings", [{"surrogate": "statistical"}, {"approximation": "deck"}])
@pytest.mark.parametrize("branch", [1, 2])
def test_expansions_follow_the_branch_without_tangents(branch, settings):
    """A certain action: its estimate tends to the observed share, whatever the surrogate."""
    env = gym.make("DiffusionBandit-v0", num_actions=3, prior=tanh_prior(1, 2, branch), reward="bernoulli")
    agent = make_agent("dTS", env, seed=0, **settings)
    rewards = (np.random.default_rng(0).random(150) < 0.8).astype(float)
    for y in rewards:
        agent.update(np.ones(1), 1, y)
    estimate = 1 / (1 + np.exp(-agent.moments()[0][1, 0]))
    assert abs(estimate - rewards.mean()) < 0.03


def test_ten_million_actions_cost_what_the_pool_costs():
    prior = tanh_prior(3, 2, 2)
    problem = BanditProblem(10_000_000, 3, prior, GaussianReward(1.0))
    agent = make_agent("dTS", problem, seed=0, num_particles=4, pool_size=500)
    rng = np.random.default_rng(0)
    for _ in range(5):
        x = rng.uniform(-1, 1, 3)
        agent.update(x, agent.act(x), 1.0)
    assert sum(array.nbytes for array in agent._state().values()) < 1e5
    with pytest.raises(ValueError, match="pool_size must be an integer >= 1, got 0"):
        make_agent("dTS", problem, pool_size=0)


def test_a_kept_pool_is_a_sample_of_the_prior_and_every_round_deals_another_part():
    """5000 kept draws against 200 000 of the chain: means and second moments with |z| < 4.5; each dealt as often."""
    prior, N, scale = tanh_prior(2, 2, 2), 5000, 0.7
    posterior = BranchedPosterior(prior, 5000, GaussianReward(0.5), branch=2, pool="kept", pool_size=N)
    rng = np.random.default_rng(0)
    whole = posterior.levels.pool_values(N, None, rng, scale)
    tempered = DiffusionPrior(prior.links, [scale**2 * cov for cov in prior.covariances], 2)
    truth = prior.links[0](tempered.sample_chain(rng, 200_000)[1])  # f_1(psi_1)
    for power in (1, 2):
        off = (whole**power).mean(axis=0) - (truth**power).mean(axis=0)
        error = np.sqrt((truth**power).var(axis=0) * (1 / N + 1 / len(truth)))
        assert (np.abs(off) < 4.5 * error).all()
    assert len(np.unique(whole, axis=0)) == N  # distinct members
    order = np.lexsort(whole.T)
    again = posterior.levels.pool_values(N, None, rng, scale)
    np.testing.assert_array_equal(again[np.lexsort(again.T)], whole[order])  # drawn once
    assert not np.array_equal(again, whole)  # dealt anew
    # Each of 300 deals of 1000 holds a member with probability 1/5; neighbours go together, so members are 5 stretches.
    firsts = {tuple(row): i for i, row in enumerate(whole)}
    counts = np.zeros(N)
    for _ in range(300):
        counts[[firsts[tuple(row)] for row in posterior.levels.pool_values(1000, None, rng, scale)]] += 1
    assert np.abs(counts - 60).max() < 4.5 * np.sqrt(300 * 0.2 * 0.8)
    other = posterior.levels.pool_values(N, None, rng, 2 * scale)
    assert not set(map(tuple, other)) & set(firsts)  # of another scale


def test_an_agent_with_a_kept_pool_continues_bit_for_bit(tmp_path):
    problem = BanditProblem(20, 2, tanh_prior(2, 2, 2), GaussianReward(0.5))
    agent = make_agent("dTS", problem, seed=0, pool="kept", pool_size=100)
    rng = np.random.default_rng(0)
    contexts = rng.uniform(-1, 1, (30, 2))
    for x in contexts[:15]:
        agent.update(x, agent.act(x), float(rng.standard_normal()))
    agent.save(tmp_path / "agent")
    again = type(agent).load(tmp_path / "agent")
    assert [agent.act(x) for x in contexts] == [again.act(x) for x in contexts]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"pool": "stale"}, r"pool must be one of \('fresh', 'kept'\), got 'stale'"),
        ({"pool": "kept", "branch": 1}, r"pool must be one of \('fresh', 'kept'\), and 'fresh' below branch 2, got "),
    ],
)
def test_pools_that_do_not_fit_are_refused(settings, words):
    problem = BanditProblem(5, 2, tanh_prior(2, 2, 2), GaussianReward(0.5))
    with pytest.raises(ValueError, match=words):
        make_agent("dTS", problem, **settings)


@pytest.mark.parametrize("branch", [1, 3])
def test_moments_have_no_more_than_the_error_of_their_draws(branch):
    """Of 6 histories: 128 draws of the shared part err by at most 1 / sqrt(128) = .09 deviations, and not to one side.

    The mean of 6 x 8 errors, correlated within a history, has a deviation of .036 if these are one number each.
    """
    errors, ratios = [], []
    for seed in range(12):
        problem = linear_problem(branch)
        truth, agent = (
            make_agent("JointTS", problem, seed=0),
            make_agent("dTS", problem, seed=1, approximation="particles"),
        )
        feed([truth, agent], np.random.default_rng(seed), 2, 3, 12)
        (mean, cov), (found_mean, found_cov) = truth.moments(), agent.moments()
        errors.append((found_mean - mean).ravel() / np.sqrt(np.diag(cov)))
        ratios.append(np.diag(found_cov) / np.diag(cov))
    assert np.sqrt(np.mean(np.square(errors))) < 0.13
    assert abs(np.mean(errors)) < 4.5 * 0.036
    np.testing.assert_allclose(np.mean(ratios, axis=0), 1.0, atol=4.5 * np.sqrt(2 / (128 * 6)))
