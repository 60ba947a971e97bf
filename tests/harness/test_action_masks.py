"""Environments that allow some actions only, as ``info["action_mask"]``: runs obey it, whatever the door."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import dts_gym
from dts_gym import GaussianReward, make_agent

K, DIM = 5, 3


class Masked(gym.Env):
    """A bandit that allows the actions whose turn it is, and refuses others; regret counts the allowed ones."""

    observation_space, action_space = Box(-1, 1, (DIM,), np.float32), Discrete(K)

    def __init__(self, dtype=np.int8, length=None, always=True):
        self.dtype, self.length, self.always = dtype, length, always

    def _next(self):
        self.context = self.np_random.uniform(-1, 1, DIM).astype(np.float32)
        free = not self.always and self.round % 2 == 1
        self.mask = np.ones(K, self.dtype) if free else (self.np_random.random(K) < 0.4).astype(self.dtype)
        self.mask[self.np_random.integers(K)] = 1
        return self.context, {} if free else {"action_mask": self.mask}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.round = 0
        return self._next()

    def step(self, action):
        assert self.mask[action], "an action that the mask forbids"
        self.round += 1
        context, info = self._next()
        return context, float(action), False, self.round == self.length, info | {"regret": 0.0}


gym.register("MaskedForTest-v0", entry_point=Masked)


class Maskless:
    """A learner whose `act` accepts no mask."""

    num_updates = 0

    def act(self, context):
        return 0

    def update(self, context, action, reward):
        return None


@pytest.mark.parametrize("settings", [{}, {"dtype": bool}, {"length": 1}, {"always": False}], ids=str)
@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB", "EpsilonGreedy", "Random"])
def test_a_run_picks_allowed_actions_alone(agent_id, settings):
    env = Masked(**settings)
    result = dts_gym.run(env, make_agent(agent_id, env, seed=0, noise_std=0.1), 60, seed=0)
    assert len(set(result.actions.tolist())) == K


@pytest.mark.parametrize("mode", list(gym.vector.AutoresetMode), ids=str)
@pytest.mark.parametrize("settings", [{}, {"always": False}], ids=str)
def test_runs_of_vector_environments_obey_each_instances_mask(settings, mode):
    envs = gym.vector.SyncVectorEnv([lambda: Masked(**settings)] * 3, autoreset_mode=mode)
    result = dts_gym.run(envs, make_agent("LinTS", envs, seed=0, noise_std=0.1), 40, seed=0)
    assert result.actions.shape == (3, 40)


def test_comparisons_obey_masks():
    agents = ["LinTS:noise_std=0.1", "LinUCB:noise_std=0.1"]
    compared = dts_gym.compare("MaskedForTest-v0", agents, seeds=2, num_rounds=30, backend="serial")
    assert len(compared.runs) == 2


def test_an_agent_that_accepts_no_mask_is_refused_where_there_is_one():
    with pytest.raises(ValueError, match=r"agent must accept a mask in act, because env reports info\['action_mask'\]"):
        dts_gym.run(Masked(), Maskless(), 10, seed=0)
    with pytest.raises(ValueError, match="agent must accept a mask"):
        dts_gym.run(gym.vector.SyncVectorEnv([Masked] * 2), [Maskless(), Maskless()], 10, seed=0)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB", "EpsilonGreedy", "Random", "GLM-TS"])
def test_predict_obeys_a_mask(agent_id, deterministic):
    agent = make_agent(agent_id, Masked(), seed=0, reward=GaussianReward(0.1))
    agent.update(np.eye(3)[[0] * 10], [0, 1, 2, 3, 4] * 2, [9.0, 8.0, 1.0, 1.0, 1.0] * 2)
    x, mask = np.eye(3)[0], np.array([0, 0, 1, 0, 1], dtype=np.int8)
    for given in (mask, mask.astype(bool)):
        assert agent.predict(x, deterministic=deterministic, mask=given)[0] in (2, 4)
    rows = np.array([[0, 1, 0, 0, 0], [0, 0, 0, 1, 0]], dtype=np.int8)
    assert agent.predict([x, x], deterministic=deterministic, mask=rows)[0].tolist() == [1, 3]
    for wrong in ([0, 1, 0, 0, 0], 2 * mask, 0 * mask, mask[:3], mask.astype(float)):
        with pytest.raises(ValueError, match="mask must"):
            agent.predict(x, deterministic=deterministic, mask=wrong)
