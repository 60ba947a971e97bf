"""An intercept is a context that ends in 1."""

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, BernoulliReward, GaussianReward, make_agent, random_linear_prior
from dts_gym.checks.agent_checks import check_agent


def problems(features, reward):
    """A problem of three numbers, and the same with a fourth."""
    return [BanditProblem(5, d, random_linear_prior(d, 1), reward, features) for d in (3, 4)]


def with_one(contexts):
    return np.concatenate([contexts, np.ones((*contexts.shape[:-1], 1))], axis=-1)


@pytest.mark.parametrize("features", ["disjoint", "shared"])
@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB", "EpsilonGreedy", "GLM-TS", "UCB-GLM"])
def test_it_is_the_agent_of_one_number_more(agent_id, features, tmp_path):
    reward = BernoulliReward() if "GLM" in agent_id else GaussianReward(0.5)
    narrow, wide = problems(features, reward)
    settings = {"prior_mean": [0.1, 0.2, 0.3, 2.0], "prior_cov": np.diag([1.0, 0.5, 1.0, 4.0])}
    agent = make_agent(agent_id, narrow, seed=0, intercept=True, **settings)
    twin = make_agent(agent_id, wide, seed=0, **settings)
    rng = np.random.default_rng(0)
    contexts = rng.uniform(-1, 1, (40, *narrow.context_shape))
    for x in contexts[:20]:
        action = agent.act(x)
        assert action == twin.act(with_one(x))
        reward = float(rng.integers(2))
        agent.update(x, action, reward)
        twin.update(with_one(x), action, reward)
    agent.save(tmp_path / "agent")
    loaded = type(agent).load(tmp_path / "agent")
    np.testing.assert_array_equal(agent.mean_reward(contexts), twin.mean_reward(with_one(contexts)))
    np.testing.assert_array_equal(agent.predict(contexts, deterministic=True)[0],
                                  twin.predict(with_one(contexts), deterministic=True)[0])  # fmt: skip
    actions = twin.act(with_one(contexts)).tolist()
    assert agent.act(contexts).tolist() == actions
    assert loaded.act(contexts).tolist() == actions
    assert agent.spawn(1)[0].mean_reward(contexts[0]).shape == (5,)


def test_it_learns_a_level_that_contexts_do_not_explain():
    agent = make_agent("LinTS", problems("disjoint", GaussianReward(0.1))[0], seed=0, intercept=True)
    x = np.random.default_rng(0).uniform(-1, 1, (200, 3))
    agent.update(x, np.zeros(200, dtype=int), x @ [1.0, -1.0, 0.5] + 3.0)
    assert agent.mean_reward(np.zeros(3))[0] == pytest.approx(3.0, abs=0.01)
    assert agent.sample_parameters().shape == (5, 4)


def test_a_run_and_the_contract():
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=2)
    check_agent(lambda env, *, seed: make_agent("LinTS", env, seed=seed, intercept=True), env)
    result = dts_gym.compare("DiffusionBandit-v0", ["LinUCB:intercept=True"], seeds=1, num_rounds=5)
    assert result.labels == ["LinUCB (intercept True)"]


def test_bad_settings():
    problem = problems("disjoint", GaussianReward())[0]
    with pytest.raises(ValueError, match="intercept must be True or False, got 1"):
        make_agent("LinTS", problem, intercept=1)
    with pytest.raises(ValueError, match=r"prior_mean must have shape \(4,\), got shape \(3,\)"):
        make_agent("LinTS", problem, intercept=True, prior_mean=[0.0] * 3)
    with pytest.raises(ValueError, match=r"settings of dTS must be among .*, got 'intercept'"):
        make_agent("dTS", problem, intercept=True)
