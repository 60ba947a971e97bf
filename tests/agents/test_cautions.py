"""Warnings of first rewards: contexts of zeros, rewards far from the prior; none on the package's own environments."""

import copy
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import dts_gym
from dts_gym import BanditProblem, BernoulliReward, GaussianReward, PoissonReward, make_agent, random_linear_prior
from dts_gym.agents import Agent

INDEPENDENT = ["LinTS", "LinUCB", "GLM-TS", "UCB-GLM", "EpsilonGreedy"]


class Stateless(gym.Env):
    """A bandit without contexts, as others write it: an observation of one zero, arms of some ten."""

    observation_space, action_space = Box(0, 1, (1,), np.float32), Discrete(5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 8.0 + action + self.np_random.standard_normal(), False, False, {}


def told(function):
    """The texts of the UserWarnings that a function gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


def bandit(reward=None, std=1.0, num_actions=4):
    return BanditProblem(num_actions, 2, random_linear_prior(2, 1, stds=std), reward or GaussianReward())


def learn(agent, rewards, context=(0.6, -0.8)):
    for t, reward in enumerate(rewards):
        agent.update(context, t % agent.problem.num_actions, reward)


@pytest.mark.parametrize("agent_id", INDEPENDENT)
def test_contexts_of_zeros_are_warned_of_once_and_the_remedy_works(agent_id):
    env = Stateless()
    texts = told(lambda: dts_gym.run(env, make_agent(agent_id, env, seed=0, noise_std=1.0), 60, seed=0))
    assert len(texts) == 1
    assert "contexts so far are zeros" in texts[0]
    assert "intercept=True" in texts[0]
    remedy = make_agent(agent_id, env, seed=0, noise_std=1.0, intercept=True, prior_cov=100 * np.eye(2))
    found = []
    assert told(lambda: found.append(dts_gym.run(env, remedy, 60, seed=0))) == []
    assert found[0].rewards[20:].mean() > 11.0  # of 12; uniform play has 10


@pytest.mark.parametrize("agent_id", [*INDEPENDENT, "dTS", "dUCB", "MarginalLinTS", "TunedTS", "MixTS", "JointTS"])
@pytest.mark.parametrize("batch", [False, True])
def test_rewards_far_from_the_prior_are_warned_of_once(agent_id, batch):
    rng = np.random.default_rng(0)
    for offset, count in ((100.0, 1), (0.0, 0)):
        agent, rewards = make_agent(agent_id, bandit(), seed=0), offset + rng.standard_normal(60)
        if batch:
            X, actions = rng.standard_normal((60, 2)), rng.integers(4, size=60)
            texts = told(lambda: agent.update(X, actions, rewards))  # noqa: B023
        else:
            texts = told(lambda: learn(agent, rewards))  # noqa: B023
        assert len(texts) == count
        assert all("more than 5 standard deviations" in text and "prior_cov=" in text for text in texts)


def test_rewards_that_are_small_against_the_noise_are_warned_of():
    agent = make_agent("LinTS", bandit(GaussianReward(1.0)), seed=0)
    texts = told(lambda: learn(agent, 0.01 * np.random.default_rng(0).standard_normal(60)))
    assert len(texts) == 1
    assert "noise_std=" in texts[0]


def test_counts_far_from_the_prior_are_warned_of_and_binary_rewards_never():
    assert len(told(lambda: learn(make_agent("GLM-TS", bandit(PoissonReward()), seed=0), [50_000] * 30))) == 1
    assert told(lambda: learn(make_agent("GLM-TS", bandit(PoissonReward()), seed=0), [3, 0, 7] * 10)) == []
    assert told(lambda: learn(make_agent("GLM-TS", bandit(BernoulliReward()), seed=0), [1] * 30)) == []


def test_the_line_that_taught_the_agent_is_named():
    agent = make_agent("LinTS", bandit(), seed=0)
    with pytest.warns(UserWarning, match="more than 5") as caught:
        agent.update(np.ones((20, 2)), np.zeros(20, dtype=int), np.full(20, 500.0))
    assert caught[0].filename == __file__


def test_an_agent_warns_once_in_its_life_and_saved_ones_say_nothing(tmp_path):
    agent = make_agent("LinTS", bandit(), seed=0)
    learn(agent, np.full(5, 500.0))
    agent.save(tmp_path / "a")
    for other in (pickle.loads(pickle.dumps(agent)), copy.deepcopy(agent)):
        assert len(told(lambda: learn(other, np.full(40, 500.0)))) == 1  # noqa: B023
        other.reset(1)
        assert told(lambda: learn(other, np.full(40, 500.0))) == []  # noqa: B023
    loaded = Agent.load(tmp_path / "a")  # what it learned first is not known any more
    assert told(lambda: learn(loaded, np.full(40, 500.0))) == []


def test_a_refused_batch_is_not_looked_at():
    agent = make_agent("GLM-TS", bandit(PoissonReward()), seed=0)
    with pytest.raises(ValueError, match="reward"):
        agent.update(np.ones((2, 2)), [0, 1], [3.0, -1.0])
    assert told(lambda: learn(agent, [3, 0, 7] * 10)) == []


@pytest.mark.parametrize(
    ("env_id", "settings"),
    [
        ("DiffusionBandit-v0", {"num_actions": 20}),
        ("DiffusionBandit-v0", {"num_actions": 20, "link": "mlp"}),
        ("DiffusionBandit-v0", {"num_actions": 20, "depth": 4}),
        ("DiffusionBandit-v0", {"num_actions": 20, "noise_std": 0.1}),
        ("DiffusionBandit-v0", {"num_actions": 20, "reward": "poisson"}),
        ("DiffusionBandit-v0", {"num_actions": 20, "reward": "bernoulli"}),
        ("SharedDiffusionBandit-v0", {}),
        ("SharedDiffusionBandit-v0", {"link": "mlp"}),
        ("SyntheticBandit-v0", {"shape": "moons"}),
        ("SyntheticBandit-v0", {"shape": "swiss-roll"}),
    ],
)
def test_the_packages_own_environments_give_no_warning(env_id, settings):
    for agent_id in ("dTS", "dUCB", "LinTS", "LinUCB", "EpsilonGreedy", "TunedTS", "GLM-TS"):
        for seed in range(3):
            env = gym.make(env_id, **settings)
            believed = {"noise_std": 1.0} if agent_id.startswith("Lin") and "reward" in settings else {}
            agent = make_agent(agent_id, env, seed=seed, **believed)
            assert told(lambda: dts_gym.run(env, agent, 30, seed=seed)) == []  # noqa: B023
