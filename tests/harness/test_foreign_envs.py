"""Agents on environments that do not use this package: the problem comes from the spaces."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

import dts_gym
from dts_gym import BernoulliReward, GaussianReward, make_agent, random_linear_prior
from dts_gym.harness.experiment import AgentSpec
from dts_gym.problem.problem import problem_of
from dts_gym.problem.spaces import problem_from_spaces

BOX = Box(-1, 1, (3,), np.float32)
PRIOR = random_linear_prior(3, 2)


class Plain(gym.Env):
    """A linear bandit as somebody else would write it."""

    def __init__(self, shape=(3,), num_actions=4, length=None, told=False):
        self.observation_space, self.action_space = Box(-1, 1, shape, np.float32), Discrete(num_actions)
        parameters = np.random.default_rng(5).standard_normal(shape[-1:] if len(shape) == 2 else (num_actions, *shape))
        self.parameters, self.length, self.told = parameters, length, told

    def _next(self):
        self.context = self.np_random.uniform(-1, 1, self.observation_space.shape).astype(np.float32)
        return self.context

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.round, self.ended = 0, False
        return self._next(), {}

    def step(self, action):
        assert not self.ended, "a reset is due"
        means = self.context @ self.parameters if self.parameters.ndim == 1 else self.parameters @ self.context
        info = {"regret": means.max() - means[action]} if self.told else {}
        reward = means[action] + 0.1 * self.np_random.standard_normal()
        self.round += 1
        self.ended = self.round == self.length
        return self._next(), reward, self.ended, False, info


@pytest.mark.parametrize("shape", [(3,), (4, 3)])
@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB", "EpsilonGreedy", "GLM-TS", "UCB-GLM", "dTS", "TunedTS"])
def test_agents_learn_an_environment_that_tells_nothing(agent_id, shape):
    env = Plain(shape)
    agent = make_agent(agent_id, env, seed=0, noise_std=0.1, prior=PRIOR if "T" in agent_id[:2] else None)
    result = dts_gym.run(env, agent, 200, seed=1)
    uniform = dts_gym.run(env, make_agent("Random", env, seed=0), 200, seed=1)
    assert result.rewards[100:].mean() > uniform.rewards[100:].mean() + 0.5
    assert np.isnan(result.regret).all()
    assert result.regret.shape == (200,)


def test_what_is_learned_is_what_the_problem_itself_would_teach():
    env = Plain()
    problem = dts_gym.BanditProblem(4, 3, PRIOR, GaussianReward(0.1))
    made = make_agent("dTS", env, seed=2, noise_std=0.1, prior=PRIOR), make_agent("dTS", problem, seed=2)
    first, second = (dts_gym.run(env, agent, 50, seed=3).actions for agent in made)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("length", [1, 7])
def test_a_run_goes_on_over_episodes_where_these_are_no_instances(length):
    env = Plain(length=length)
    result = dts_gym.run(env, make_agent("LinTS", env, seed=0, noise_std=0.1), 300, seed=1)
    assert result.rewards[150:].mean() > 0.5
    again = dts_gym.run(env, make_agent("LinTS", env, seed=0, noise_std=0.1), 300, seed=1)
    np.testing.assert_array_equal(result.rewards, again.rewards)


def test_regret_is_kept_where_it_is_told_and_must_be_told_throughout():
    env = Plain(told=True)
    agent = make_agent("LinTS", env, seed=0, noise_std=0.1)
    result = dts_gym.run(env, agent, 50, seed=1)
    assert (np.diff(result.regret) >= 0).all()
    assert result.regret[-1] > 0

    class Moody(Plain):
        def step(self, action):
            self.told = self.round % 2 == 0
            return super().step(action)

    for rounds in (4, 5):
        agent.reset(0)
        with pytest.raises(ValueError, match="env must report 'regret' in the info of every step or of none"):
            dts_gym.run(Moody(), agent, rounds, seed=1)


def test_comparisons_need_regret():
    gym.register("Plain-v0", Plain)
    try:
        agents = ["Random", AgentSpec("LinTS", {"noise_std": 0.1})]
        result = dts_gym.compare("Plain-v0", agents, seeds=2, num_rounds=100, env_settings={"told": True})
        assert result.final_regret("LinTS (noise_std 0.1)").mean() < result.final_regret("Random").mean()
        with pytest.raises(ValueError, match="Plain-v0 must report 'regret' in the info of a step"):
            dts_gym.compare("Plain-v0", agents, seeds=2, num_rounds=100)
    finally:
        del gym.registry["Plain-v0"]


@pytest.mark.parametrize(
    "agent_id", ["dTS", "dUCB", "HierTS", "MarginalLinTS", "JointTS", "TunedTS", "MixTS", "LaplaceDPS"]
)
def test_agents_that_need_a_prior_say_so(agent_id):
    with pytest.raises(ValueError, match="prior must be given: the environment has none, and the agent asks for its"):
        make_agent(agent_id, Plain(), noise_std=1.0)


@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB", "GLM-TS", "UCB-GLM"])
def test_agents_that_need_the_law_of_rewards_say_so(agent_id):
    with pytest.raises(ValueError, match="noise_std must be given"):
        make_agent(agent_id, Plain())


def test_every_agent_can_be_made_with_what_it_needs_saved_and_loaded(tmp_path):
    for agent_id in set(dts_gym.agent_ids()) - {"Oracle", "LaplaceDPS", "meTS", "SB3"}:
        agent = make_agent(agent_id, Plain(), seed=0, noise_std=1.0, prior=PRIOR)
        assert isinstance(agent.problem.reward_model, GaussianReward)
    for agent_id, settings in (("Random", {}), ("EpsilonGreedy", {}), ("LinTS", {"noise_std": 1.0})):
        agent = make_agent(agent_id, Plain(), seed=0, **settings)
        agent.update(np.ones(3), 1, 0.5)
        agent.save(tmp_path / "agent.npz")
        loaded = type(agent).load(tmp_path / "agent.npz")
        assert [loaded.act(np.ones(3)) for _ in range(9)] == [agent.act(np.ones(3)) for _ in range(9)]
        with pytest.raises(ValueError, match="prior must be given"):
            _ = loaded.problem.prior.depth


def test_the_law_of_rewards_can_be_named():
    assert make_agent("GLM-TS", Plain(), reward="bernoulli").reward_model.name == "bernoulli"
    assert make_agent("LinTS", Plain(), reward="bernoulli", noise_std=0.5).reward_model.noise_std == 0.5
    assert make_agent("GLM-TS", Plain(), reward=BernoulliReward()).reward_model.name == "bernoulli"
    assert make_agent("LinTS", Plain(), reward="gaussian", noise_std=0.5).reward_model.noise_std == 0.5


def test_vector_environments_of_others_count_too():
    foreign = gym.vector.SyncVectorEnv([Plain] * 2)
    assert problem_of(foreign) is None
    agent = make_agent("LinTS", foreign, seed=0, noise_std=0.1)
    assert dts_gym.run(foreign, agent, 20, seed=0).rewards.shape == (2, 20)
    ours = gym.make_vec("DiffusionBandit-v0", num_envs=2, vectorization_mode="sync", num_actions=7)
    assert make_agent("dTS", ours, seed=0).problem is problem_of(ours)
    assert problem_of(ours).num_actions == 7


class Spaces:
    def __init__(self, actions, observations):
        self.action_space, self.observation_space = actions, observations


@pytest.mark.parametrize(
    ("env", "told", "message"),
    [
        (Spaces(MultiDiscrete([2, 2]), BOX), {}, "Discrete action space that starts at 0, got Multi"),
        (Spaces(Discrete(3, start=1), BOX), {}, r"starts at 0, got Discrete\(3, start=1\)"),
        (Spaces(Discrete(3), Discrete(5)), {}, r"Box observations of shape \(d,\) or \(3, d\), got Discrete\(5\)"),
        (Spaces(Discrete(3), Box(0, 1, (3, 4, 5))), {}, "FlattenObservation"),
        (Spaces(Discrete(3), Box(0, 1, ())), {}, "must have Box observations"),
        (Spaces(Discrete(3), Box(0, 1, (4, 5))), {}, r"a row for each of its 3 actions, \(3, d\), got shape \(4, 5\)"),
        (Spaces(Discrete(3), BOX), {"prior": random_linear_prior(2, 1)}, "prior must have dim 3, got a prior of dim 2"),
        (Spaces(Discrete(3), BOX), {"prior": 3}, "prior must be a dts_gym Prior or a file"),
        (Spaces(Discrete(3), BOX), {"reward": "gamma"}, "reward must be one of"),
        (Spaces(Discrete(3), BOX), {"reward": "gaussian"}, "noise_std must be given with Gaussian rewards"),
        (Spaces(Discrete(3), BOX), {"noise_std": -1.0}, "noise_std must be a positive finite number, got -1"),
        (Spaces(Discrete(3), BOX), {"noise_std": 1.0, "reward": "poisson"}, r"must be left out with rewards PoissonR"),
    ],
)
def test_spaces_that_make_no_bandit_are_refused(env, told, message):
    with pytest.raises(ValueError, match=message):
        problem_from_spaces(env, **told)


def test_a_told_problem_is_not_told_twice():
    env = gym.make("DiffusionBandit-v0", num_actions=3)
    for told in ({"prior": PRIOR}, {"reward": "gaussian"}):
        with pytest.raises(ValueError, match=f"{next(iter(told))} must be left out where the environment has"):
            make_agent("LinTS", env, **told)
    with pytest.raises(ValueError, match="settings of LinTS must be among"):
        make_agent("LinTS", Plain(), noise_std=1.0, exploracion=2)


@pytest.mark.filterwarnings("ignore:.*share an object")  # of its infos
def test_a_package_of_somebody_else():
    """Its bandit has two states in one number: wrappers make a unit vector of it."""
    buffalo = pytest.importorskip("buffalo_gym", reason="buffalo-gym is not installed")
    assert buffalo
    one_hot = Box(0, 1, (2,), np.float32)
    rewards = {}
    for agent_id in ("LinTS", "Random"):
        env = gym.make("ContextualBandit-v0", max_episode_steps=500)
        env = gym.wrappers.TransformObservation(env, lambda state: np.eye(2, dtype=np.float32)[int(state[0])], one_hot)
        settings = {"prior_cov": 25 * np.eye(2)} if agent_id == "LinTS" else {}
        agent = make_agent(agent_id, env, seed=0, noise_std=1.0, **settings)
        np.random.seed(0)  # noqa: NPY002 - the package draws its states from it
        rewards[agent_id] = dts_gym.run(env, agent, 500, seed=4).rewards[100:].mean()
    assert rewards["LinTS"] > 9  # the best arm of either state pays 10, others at most 5
    assert rewards["Random"] < 5
