"""Actions that share one parameter: posteriors against ridge regression and quadrature, agents, features, regret."""

import functools

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import compare, make_agent
from dts_gym.checks.agent_checks import check_agent
from dts_gym.diagnostics.energy import energy_score
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.two_level import TwoLevelPrior

AGENTS = ["dTS", "dUCB", "LinTS", "LinUCB", "EpsilonGreedy", "Random", "Oracle"]


def play(agent, env, rounds, seed=0):
    observation, _ = env.reset(seed=seed)
    rows, rewards = [], []
    for _ in range(rounds):
        action = agent.act(observation)
        following, reward, *_ = env.step(action)
        agent.update(observation, action, reward)
        rows.append(observation[action].astype(np.float64))
        rewards.append(reward)
        observation = following
    return np.array(rows), np.array(rewards)


@pytest.mark.parametrize("branch", [0, 1, 2])
def test_the_posterior_is_that_of_regression_under_the_chains_marginal(branch):
    env = gym.make("SharedDiffusionBandit-v0", num_actions=6, dim=3, noise_std=0.5)
    prior = env.unwrapped.problem.prior
    agent = make_agent("dTS", env, seed=0, branch=branch)
    X, y = play(agent, env, 40)
    cov = np.zeros((3, 3))
    for ell in (2, 1, 0):  # the chain's marginal, from the top down
        W = prior.weights[ell] if ell < 2 else np.zeros((3, 3))
        cov = W @ cov @ W.T + prior.covariances[ell]
    precision = np.linalg.inv(cov) + X.T @ X / 0.25
    mean = np.linalg.solve(precision, X.T @ y / 0.25)
    found_mean, found_cov = agent.moments()
    np.testing.assert_allclose(found_mean, mean, atol=1e-10)
    np.testing.assert_allclose(found_cov, np.linalg.inv(precision), atol=1e-10)
    assert agent.sample_parameters().shape == (3,)


@pytest.mark.parametrize("agent_id", ["LinTS", "GLM-TS"])
def test_the_action_is_the_best_under_one_draw(agent_id):
    """The share of each action against the argmax over `sample_parameters`: total variation of 3 000 draws each."""
    env = gym.make("SharedDiffusionBandit-v0", num_actions=4, dim=2)
    agent = make_agent(agent_id, env, seed=0)
    play(agent, env, 10)
    features = np.random.default_rng(1).uniform(-1, 1, (4, 2))
    acted = np.bincount(agent.act(np.broadcast_to(features, (3_000, 4, 2))), minlength=4)
    drawn = np.bincount([int((features @ agent.sample_parameters()).argmax()) for _ in range(3_000)], minlength=4)
    seen = acted + drawn > 0
    statistic = ((acted - drawn)[seen] ** 2 / (acted + drawn)[seen]).sum()
    assert statistic < 30.7  # chi-square with 3 degrees of freedom: a false alarm in a million


def test_upper_confidence_is_the_mean_and_the_standard_deviation():
    env = gym.make("SharedDiffusionBandit-v0", num_actions=30, dim=3)
    agent = make_agent("LinUCB", env, seed=0, exploration=0.7)
    play(agent, env, 15)
    mean, cov = agent._posterior.moments()  # at exploration 1
    rng, by_mean = np.random.default_rng(2), 0
    for _ in range(40):
        features = rng.uniform(-1, 1, (30, 3))
        bounds = [x @ mean + 0.7 * np.sqrt(x @ cov @ x) for x in features]
        assert agent.act(features) == int(np.argmax(bounds))
        assert agent.predict(features, deterministic=True)[0] == int((features @ mean).argmax())
        by_mean += int(np.argmax(bounds)) == int((features @ mean).argmax())
    assert 0 < by_mean < 35  # so that the mean alone would not do


@pytest.mark.parametrize("agent_id", AGENTS)
def test_agents_keep_the_contract(agent_id):
    check_agent(agent_id, gym.make("SharedDiffusionBandit-v0", num_actions=6, dim=2))


@pytest.mark.parametrize(
    ("agent_id", "reward"), [("dTS", "bernoulli"), ("GLM-TS", "poisson"), ("UCB-GLM", "bernoulli")]
)
def test_agents_of_other_rewards_keep_the_contract(agent_id, reward):
    check_agent(agent_id, gym.make("SharedDiffusionBandit-v0", num_actions=6, dim=2, reward=reward))


@pytest.mark.slow
def test_particles_keep_the_contract():
    env = gym.make("SharedDiffusionBandit-v0", num_actions=6, dim=2, link="mlp")
    check_agent(functools.partial(make_agent, "dTS", num_particles=4), env)


def test_particles_agree_with_importance_draws_of_the_prior():
    env = gym.make("SharedDiffusionBandit-v0", num_actions=6, dim=2, link="mlp", noise_std=2.0)
    agent, rng = make_agent("dTS", env, seed=0, num_particles=64), np.random.default_rng(0)
    X, y = play(agent, env, 6)
    theta = np.concatenate([env.unwrapped.problem.prior.sample(rng, 1) for _ in range(60_000)])
    log_weight = -0.5 * ((y - theta @ X.T) ** 2).sum(axis=1) / 4.0
    weight = np.exp(log_weight - log_weight.max())
    assert weight.sum() ** 2 / (weight**2).sum() > 1_000
    truth = theta[rng.choice(len(theta), 1_500, p=weight / weight.sum(), replace=False)]
    drawn = np.array([agent.sample_parameters() for _ in range(800)])
    assert energy_score(drawn, truth, rng).z_score < 4.5


@pytest.mark.parametrize("agent_id", ["HierTS", "MarginalLinTS", "JointTS"])
def test_agents_of_one_parameter_an_action_say_so(agent_id):
    env = gym.make("SharedDiffusionBandit-v0", num_actions=4)
    with pytest.raises(ValueError, match=f"problem must have disjoint features for {agent_id}, got 'shared' ones"):
        make_agent(agent_id, env)


def test_features_are_drawn_anew_or_once_on_the_cube_or_in_the_ball():
    env = gym.make("SharedDiffusionBandit-v0", num_actions=2_000, dim=3, feature_law="ball", fixed_features=True)
    first, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.step(0)[0], first)
    norms = np.linalg.norm(first, axis=1)
    assert norms.max() <= 1
    assert abs((norms**3).mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / 2_000)  # uniform in the ball
    assert (env.reset(seed=1)[0] != first).any()
    plain = gym.make("SharedDiffusionBandit-v0", num_actions=50)
    first, _ = plain.reset(seed=0)
    assert (plain.step(0)[0] != first).all()
    with pytest.raises(ValueError, match=r"feature_law must be one of .* got 'simplex'"):
        gym.make("SharedDiffusionBandit-v0", feature_law="simplex")


def test_an_engine_of_many_actions_is_refused():
    prior = TwoLevelPrior(np.zeros(2), np.zeros((2, 2)), np.eye(2))
    with pytest.raises(ValueError, match="engine must be of one action, got 3"):
        SharedParameterPosterior(TwoLevelPosterior(prior, 3, 1.0))


@pytest.mark.slow
def test_regret_does_not_grow_with_the_number_of_actions():
    """20 paired instances: 50 times the actions, less than twice the regret (with a parameter an action: 20 times)."""
    regret = {}
    for K in (100, 5_000):
        result = compare(
            "SharedDiffusionBandit-v0", ["dTS"], seeds=20, num_rounds=1_000, env_settings={"num_actions": K}
        )
        regret[K] = result.final_regret("dTS").mean()
    assert regret[5_000] < 2 * regret[100]
