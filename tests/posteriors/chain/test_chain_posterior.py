"""Chains whose links are not affine, and linear ones through the same engine, against dense and quadrature truths."""

import functools

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import make_agent
from dts_gym.checks.agent_checks import check_agent
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import DiffusionPrior, LinearDiffusionPrior
from dts_gym.priors.links import Link, MLPLink
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, PoissonReward
from truth import random_cov


def linear_prior(seed, depth, dim=3):
    rng = np.random.default_rng(seed)
    covs = [random_cov(rng, dim) for _ in range(depth + 1)]
    return LinearDiffusionPrior(rng.uniform(-1, 1, (depth, dim, dim)), covs)


def history(rng, dim, num_actions, rounds):
    return [
        (rng.uniform(-1, 1, dim), int(rng.integers(num_actions)), float(rng.standard_normal())) for _ in range(rounds)
    ]


@pytest.mark.parametrize("surrogate", ["jacobian", "statistical"])
@pytest.mark.parametrize("num_particles", [1, 8])
@pytest.mark.parametrize("depth", [1, 3])
def test_linear_chains_have_equal_weights_and_the_exact_posterior_of_the_shared_part(surrogate, num_particles, depth):
    # 20 000 draws, 3 means and 3 variances with |z| < 4.5 in 8 cases: a false alarm in 3 000 runs.
    prior, rng = linear_prior(depth, depth), np.random.default_rng(0)
    model = GaussianReward(0.5)
    chain = ChainPosterior(prior, 5, model, num_particles=num_particles, surrogate=surrogate)
    # At branch 0 the collapsed chain's own part is Sigma_1 alone: both posteriors' shared part is f_1(psi_1).
    exact = TwoLevelPosterior(prior.two_level(0), 5, 0.5)
    for x, a, y in history(rng, 3, 4, 25):
        chain.update(x, a, y)
        exact.update(x, a, y)
    draws = chain._draw_shared((20_000,), rng, 1.0) @ chain.table.basis.T
    assert abs(chain.effective_sample_size - 1) < 1e-9
    mean, root = exact._shared_moments(1.0)
    mean, root = exact.table.basis @ mean, exact.table.basis @ root
    variance = (root**2).sum(axis=1)
    assert (np.abs(draws.mean(axis=0) - mean) / np.sqrt(variance / 20_000)).max() < 4.5
    assert (np.abs(draws.var(axis=0) / variance - 1) / np.sqrt(2 / 20_000)).max() < 4.5


@pytest.mark.parametrize("settings", [{}, {"num_particles": 1}, {"num_particles": 1, "surrogate": "deck"}])
def test_without_data_every_approximation_is_the_prior(settings):
    # 20 000 draws on each side; 5 means with |z| < 4.5.
    prior, rng = random_mlp_prior(5, 2, seed=1), np.random.default_rng(1)
    drawn = ChainPosterior(prior, 7, GaussianReward(1.0), **settings)
    first = drawn._draw_shared((20_000,), rng, 1.0) @ drawn.table.basis.T
    second = np.array([prior.links[0](prior.sample_chain(rng, 1)[1])[0] for _ in range(20_000)])
    spread = np.sqrt((first.var(axis=0) + second.var(axis=0)) / 20_000)
    assert (np.abs(first.mean(axis=0) - second.mean(axis=0)) / spread).max() < 4.5
    ratio = first.std(axis=0) / second.std(axis=0)
    assert np.abs(ratio - 1).max() < 0.06


def test_particles_agree_with_quadrature_in_one_dimension():
    """One action, d=1, L=1: the posterior of theta by brute force on a grid of psi."""
    prior, rng = random_mlp_prior(1, 1, hidden=6, activation="tanh", seed=3), np.random.default_rng(2)
    posterior = ChainPosterior(prior, 1, GaussianReward(0.7), num_particles=64)
    data = history(rng, 1, 1, 6)
    for x, a, y in data:
        posterior.update(x, a, y)
    psi = np.linspace(-8, 8, 4001)
    G = sum(float(x[0]) ** 2 for x, _, _ in data) / 0.49
    h = sum(float(x[0]) * y for x, _, y in data) / 0.49
    f = prior.links[0](psi[:, None])[:, 0]
    # theta given psi and the data is N((f + h) / (1 + G), 1 / (1 + G)); psi's weight is prior times evidence of f.
    gamma, beta = G / (1 + G), h / (1 + G)
    log_weight = -0.5 * psi**2 - 0.5 * gamma * f**2 + beta * f
    weight = np.exp(log_weight - log_weight.max())
    weight /= weight.sum()
    mean = float(weight @ ((f + h) / (1 + G)))
    variance = float(weight @ ((f + h) / (1 + G)) ** 2) - mean**2 + 1 / (1 + G)
    draws = np.array([posterior.sample_parameters(rng)[0, 0] for _ in range(8000)])
    assert abs(draws.mean() - mean) / np.sqrt(variance / 8000) < 4.5
    assert abs(draws.var() / variance - 1) < 0.1
    got_mean, got_cov = posterior.moments()
    assert abs(got_mean[0, 0] - mean) < 0.15 * np.sqrt(variance)
    assert abs(got_cov[0, 0] / variance - 1) < 0.25


@pytest.mark.parametrize(
    ("agent_id", "link", "reward"),
    [
        ("dTS", "linear", "bernoulli"),
        ("dTS", "mlp", "gaussian"),
        ("dUCB", "linear", "poisson"),
        pytest.param("dTS", "mlp", "bernoulli", marks=pytest.mark.slow),
        pytest.param("dTS", "mlp", "poisson", marks=pytest.mark.slow),
        pytest.param("dUCB", "mlp", "bernoulli", marks=pytest.mark.slow),
    ],
)
def test_agents_keep_the_contract_on_every_problem(agent_id, link, reward):
    env = gym.make("DiffusionBandit-v0", num_actions=8, dim=2, link=link, reward=reward)
    settings = {"num_particles": 4} if link == "mlp" else {}
    check_agent(functools.partial(make_agent, agent_id, **settings), env)


@pytest.mark.parametrize("settings", [{"approximation": "deck"}, {"surrogate": "statistical", "num_particles": 4}])
def test_approximations_keep_the_contract(settings):
    env = gym.make("DiffusionBandit-v0", num_actions=8, dim=2, link="mlp")
    check_agent(functools.partial(make_agent, "dTS", **settings), env)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"approximation": "exact"}, "approximation must be one of .* or None, got 'exact'"),
        ({"surrogate": "deck"}, "surrogate must be one of .* or None, got 'deck'"),
        ({"num_particles": 0}, "num_particles must be an integer >= 1, got 0"),
        (
            {"approximation": "deck", "num_particles": 8},
            "num_particles must be left out with approximation 'deck', got 8",
        ),
        ({"approximation": "deck", "surrogate": "jacobian"}, "surrogate must be left out with approximation 'deck'"),
        ({"num_steps": 5, "approximation": "particles"}, "num_steps must be left out with approximation 'particles'"),
        ({"expansion": "here"}, "expansion must be one of .*, got 'here'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    env = gym.make("DiffusionBandit-v0", num_actions=8, dim=2, link="mlp")
    with pytest.raises(ValueError, match=message):
        make_agent("dTS", env, **settings)


def test_the_effective_sample_size_is_told():
    env = gym.make("DiffusionBandit-v0", num_actions=8, link="mlp")
    agent = make_agent("dTS", env, seed=0)
    for _ in range(5):
        agent.update(np.ones(5), agent.act(np.ones(5)), 3.0)
    agent.act(np.ones(5))
    assert 1 / 32 <= agent.diagnostics["effective_sample_size"] <= 1
    gauges = make_agent("dTS", gym.make("DiffusionBandit-v0")).diagnostics
    assert gauges == {"prior_scale": 1.0, "prior_surprise": 0.0}


@pytest.mark.parametrize(("reward", "bad"), [("bernoulli", 0.5), ("bernoulli", 2), ("poisson", -1), ("poisson", 1.5)])
@pytest.mark.parametrize("agent_id", ["dTS", "GLM-TS", "EpsilonGreedy"])
def test_rewards_outside_the_family_are_refused(agent_id, reward, bad):
    agent = make_agent(agent_id, gym.make("DiffusionBandit-v0", num_actions=4, reward=reward), seed=0)
    with pytest.raises(ValueError, match=f"reward must be .*, got {bad}"):
        agent.update(np.ones(5), 1, bad)
    assert agent.num_updates == 0


def test_glm_agents_learn_bernoulli_rewards():
    """The estimate of an action's probability, after many rounds, is the observed share."""
    env = gym.make("DiffusionBandit-v0", num_actions=3, dim=1, depth=1, reward="bernoulli")
    x, rewards = np.ones(1), np.random.default_rng(0).random(400) < 0.8
    for agent_id in ("dTS", "GLM-TS", "UCB-GLM"):
        agent = make_agent(agent_id, env, seed=0)
        for y in rewards.astype(float):
            agent.update(x, 1, y)
        estimate = 1 / (1 + np.exp(-agent.moments()[0][1, 0]))
        assert abs(estimate - rewards.mean()) < 0.02
        spread = agent.moments()[1][1, 1] ** 0.5
        assert abs(spread / (1 / np.sqrt(400 * 0.8 * 0.2)) - 1) < 0.1
        assert agent.predict(x, deterministic=True)[0] == 1


def test_gaussian_belief_on_bernoulli_rewards_is_the_gaussian_posterior():
    env = gym.make("DiffusionBandit-v0", num_actions=4, reward="bernoulli")
    wrong = make_agent("dTS", env, seed=0, noise_std=1.0)
    plain = make_agent("dTS", gym.make("DiffusionBandit-v0", num_actions=4), seed=0)
    rng = np.random.default_rng(0)
    for _ in range(30):
        x, a, y = rng.uniform(-1, 1, 5), int(rng.integers(4)), float(rng.integers(2))
        wrong.update(x, a, y)
        plain.update(x, a, y)
    np.testing.assert_array_equal(wrong.moments()[0], plain.moments()[0])


def test_gaussian_rewards_through_the_glm_engine_give_the_exact_posterior():
    from dts_gym.posteriors.glm.glm_posterior import GLMPosterior

    prior, rng = random_linear_prior(4, 3, seed=2), np.random.default_rng(3)
    for branch in range(4):
        exact = TwoLevelPosterior(prior.two_level(branch), 6, 0.5)
        glm = GLMPosterior(prior.two_level(branch), 6, GaussianReward(0.5))
        for x, a, y in history(rng, 4, 5, 600):
            exact.update(x, a, y)
            glm.update(x, a, y)
        for one, other in zip(exact.moments(0.5), glm.moments(0.5), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.slow
def test_particles_beat_the_decks_rule_on_perceptrons():
    """5 paired instances; in the mean the deck's rule has nearly twice the regret of particles."""
    from dts_gym import compare

    result = compare(
        "DiffusionBandit-v0",
        ["dTS", "dTS:approximation=deck"],
        seeds=5,
        num_rounds=1500,
        env_settings={"link": "mlp"},
        redraw_prior=True,
        num_workers=2,
    )
    particles, deck = (result.final_regret(label) for label in result.labels)
    assert particles.mean() < 0.8 * deck.mean()


class Cliff(Link):
    """The identity, not a number beyond 30."""

    dim = 1

    def __call__(self, psi):
        return np.where(np.abs(psi) > 30.0, np.nan, psi)

    def jacobian(self, psi):
        return np.ones((*psi.shape, 1))


@pytest.mark.parametrize("branch", [0, 1])
def test_links_that_are_not_finite_are_refused_with_their_values(branch):
    """Where the evidence leads over the cliff, `act` says so, and the agent is as it was."""
    prior = DiffusionPrior([Cliff()], [1e-6 * np.eye(1), np.eye(1)], branch)
    problem = BanditProblem(2, 1, prior, GaussianReward(0.01))
    agent = make_agent("dTS", problem, seed=0, surrogate="statistical")
    for _ in range(4):
        agent.update([1.0], 0, 500.0)
    before = {name: array.copy() for name, array in agent._state().items()}
    with pytest.raises(ValueError, match=r"links\[0\] must return finite values, got \[nan\] at psi = \["):
        agent.act([1.0])
    assert agent.num_updates == 4
    for name, array in agent._state().items():
        np.testing.assert_array_equal(array, before[name])
    steep = MLPLink([[[1e200]], [[1e200]]])
    with pytest.raises(ValueError, match=r"links\[0\] must return finite values, got \[inf\] at psi"):
        make_agent("dTS", BanditProblem(2, 1, DiffusionPrior([steep], [np.eye(1)] * 2, branch), GaussianReward(1.0)))


@pytest.mark.parametrize("count", [20.0, 200.0])
@pytest.mark.parametrize("settings", [{}, {"branch": 1}, {"approximation": "particles"}, {"surrogate": "statistical"}])
def test_expansions_see_what_the_reward_says_of_the_latents(settings, count):
    """One Poisson count, an action's own noise narrow, the latent's broad: mean and spread by quadrature."""
    chain = LinearDiffusionPrior([np.eye(1)], [0.01 * np.eye(1), np.eye(1)])
    prior = DiffusionPrior(chain.links, chain.covariances) if "surrogate" in settings else chain
    agent = make_agent("dTS", BanditProblem(3, 1, prior, PoissonReward()), seed=0, **settings)
    agent.update([1.0], 0, count)
    grid = np.linspace(-5, 12, 20_001)
    log_density = count * grid - np.exp(grid) - 0.5 * grid**2 / 1.01
    weight = np.exp(log_density - log_density.max())
    weight /= weight.sum()
    mean = float(weight @ grid)
    std = float(np.sqrt(weight @ (grid - mean) ** 2))
    found_mean, found_cov = agent.moments()
    assert abs(found_mean[0, 0] - mean) < 0.4 * std
    assert abs(np.sqrt(found_cov[0, 0]) / std - 1) < 0.25


@pytest.mark.parametrize(
    "settings", [{"num_particles": 8}, {"approximation": "linearised"}, {"branch": 1}, {"branch": 2}]
)
def test_questions_between_logged_rounds_change_no_later_action(settings):
    env = gym.make("DiffusionBandit-v0", num_actions=8, dim=2, link="mlp")
    silent, asked = (make_agent("dTS", env, seed=0, **settings) for _ in range(2))
    rng = np.random.default_rng(0)
    for x, a, y in history(rng, 2, 8, 80):
        silent.update(x, a, 4 * y)
        asked.update(x, a, 4 * y)
        asked.predict(x, deterministic=True)
        asked.predict(x)
        asked.sample_parameters()
    for x in rng.uniform(-1, 1, (40, 2)):
        assert silent.act(x) == asked.act(x)


def test_a_bound_is_the_untempered_mean_and_a_number_of_untempered_deviations():
    prior = DiffusionPrior([MLPLink([[[1.0]], [[3.0]]])], [np.eye(1)] * 2)  # 3 relu(psi): its mean is half its spread
    agent = make_agent("dUCB", BanditProblem(4, 1, prior, GaussianReward(1.0)), seed=0, exploration=0.1)
    agent.update([1.0], 0, 0.2)
    mean, cov = agent._posterior.moments(1.0)
    bounds = mean[:, 0] + 0.1 * np.sqrt(np.diag(cov))
    assert bounds[0] != bounds[1]
    for _ in range(20):
        assert agent.act([1.0]) in np.flatnonzero(bounds == bounds.max())


# What is refused when a round is learned already: a predictor without bounds.
@pytest.mark.parametrize(
    ("agent_id", "reward", "context", "value"),
    [("dTS", "poisson", 1e40, 1e9), ("GLM-TS", "poisson", 1e40, 1e9), ("UCB-GLM", "poisson", 1e40, 1e9)],
)
def test_a_refused_batch_is_not_half_learned(agent_id, reward, context, value):
    env = gym.make("DiffusionBandit-v0", num_actions=4, dim=2, reward=reward)
    agent = make_agent(agent_id, env, seed=0)
    agent.update([1.0, 0.5], 0, 2.0)
    before = {name: array.copy() for name, array in agent._state().items()}
    for large in (1e200, context):  # the square of the first overflows: nothing of its batch is tried
        with pytest.raises(ValueError, match=r"finite|at most 1e"):
            agent.update([[1.0, 0.0], [large, 0.0], [large, 0.0]], [1, 2, 2], [1.0, value, value])
        assert agent.num_updates == 1
        for name, array in agent._state().items():
            np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("count", [1e6, 1e12, 2.0**53])
def test_counts_of_any_size_leave_a_proper_posterior(count):
    env = gym.make("DiffusionBandit-v0", num_actions=4, dim=2, reward="poisson")
    for agent_id in ("dTS", "GLM-TS"):
        agent = make_agent(agent_id, env, seed=0)
        agent.update([0.3, 0.7], 1, count)
        agent.update([1.0, 1.0], 2, count)
        mean, cov = agent.moments()
        assert np.isfinite(mean).all()
        assert np.linalg.eigvalsh(cov)[0] > -1e-12 * np.abs(cov).max()
        if count <= 1e6:
            assert [0.3, 0.7] @ mean[1] == pytest.approx(np.log(count), abs=0.01)
