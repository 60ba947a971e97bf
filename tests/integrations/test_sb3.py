"""stable-baselines3 beside this package: its checks and tools accept our classes, ours accept its models."""

import warnings

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import make_agent
from dts_gym.agents import DiffusionTS
from dts_gym.harness.experiment import AgentSpec

pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

import torch
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.callbacks import CheckpointCallback, EvalCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from dts_gym.integrations.sb3 import AgentModel, RegretCallback, SB3Policy

torch.set_num_threads(1)  # networks this small are slower on many
D = "DiffusionBandit-v0"
SMALL = {"num_actions": 5, "dim": 3, "horizon": 40, "reward": "bernoulli"}
PINNED = {**SMALL, "instance_seed": 3}
ALGORITHMS = {"PPO": (PPO, {"n_steps": 20, "batch_size": 20}), "A2C": (A2C, {}), "DQN": (DQN, {"learning_starts": 10})}


def trained(name, env, steps=40, callback=None, **settings):
    cls, own = ALGORITHMS[name]
    return cls("MlpPolicy", env, gamma=0.0, seed=0, device="cpu", **own, **settings).learn(steps, callback=callback)


@pytest.fixture(scope="module")
def ratings(tmp_path_factory):
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("ratings")
    stars = np.clip(3 + rng.standard_normal((40, 3)) @ rng.standard_normal((3, 30)), 0.5, 5)
    rows = [f"{u}\t{m}\t{stars[u, m]:.2f}\t0\n" for u in range(40) for m in range(30)]
    (folder / "u.data").write_text("".join(rows))
    return folder


@pytest.mark.parametrize("env_id", dts_gym.env_ids())
def test_sb3s_checks_pass_on_every_environment(env_id, ratings, monkeypatch, tmp_path):
    monkeypatch.setenv("DTS_GYM_DATA", str(tmp_path))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*unconventional shape")  # (K, d): a row of features an action
        own = {
            "CatalogueBandit-v0": {"num_live": 5},
            "ClassificationBandit-v0": {"X": np.eye(6), "y": np.arange(6) % 3},
            "LoggedBandit-v0": {"log": dts_gym.offpolicy.BanditLog(np.eye(4), np.arange(4) % 3, np.ones(4))},
            "MovieLensBandit-v0": {"num_actions": 5, "data": ratings},
        }
        check_env(gym.make(env_id, **own.get(env_id, {"num_actions": 5})))


@pytest.mark.parametrize("env_id", [D, "SharedDiffusionBandit-v0"])
@pytest.mark.parametrize("num_envs", [1, 3])
def test_evaluate_policy_takes_an_agent_and_teaches_it_nothing(env_id, num_envs):
    single = gym.make(env_id, **PINNED)
    agent, twin = (make_agent("dTS", single, seed=0) for _ in range(2))
    for one in (agent, twin):
        dts_gym.run(single, one, 40, seed=1)
    envs = make_vec_env(env_id, n_envs=num_envs, seed=5, env_kwargs=PINNED)
    returns, lengths = evaluate_policy(agent, envs, n_eval_episodes=num_envs, return_episode_rewards=True)
    assert lengths == [40] * num_envs
    for i in range(num_envs):  # by hand, greedily
        total, (context, _) = 0.0, single.reset(seed=5 + i)
        for _ in range(40):
            context, reward, *_ = single.step(twin.predict(context, deterministic=True)[0])
            total += reward
        assert returns[i] == total
    assert agent.num_updates == 40
    assert [agent.act(context) for _ in range(20)] == [twin.act(context) for _ in range(20)]


def test_an_agent_under_sb3s_loop_learns_as_in_a_run():
    env = gym.make(D, **PINNED)
    counted = RegretCallback()
    model = AgentModel(make_agent("dTS", env, seed=0), env, seed=7)
    assert model.learn(40, callback=counted) is model
    alone = make_agent("dTS", env, seed=0)
    np.testing.assert_allclose(counted.regret, dts_gym.run(env, alone, 40, seed=7).regret, rtol=1e-12)
    context = env.reset(seed=1)[0]
    assert [model.agent.act(context) for _ in range(20)] == [alone.act(context) for _ in range(20)]
    assert [float(info["r"]) for info in model.ep_info_buffer] != []


@pytest.mark.parametrize(
    ("settings", "forget", "updates"), [(SMALL, None, 10), (PINNED, None, 90), (SMALL, False, 90), (PINNED, True, 10)]
)
def test_an_agent_forgets_where_an_instance_ends(settings, forget, updates):
    env = gym.make(D, **settings)
    model = AgentModel(make_agent("LinTS", env, seed=0, noise_std=1.0), env, seed=0, forget=forget).learn(90)
    assert model.agent.num_updates == updates
    again = AgentModel(make_agent("LinTS", env, seed=0, noise_std=1.0), env, seed=0, forget=forget).learn(90)
    context = env.reset(seed=1)[0]
    assert [model.agent.act(context) for _ in range(20)] == [again.agent.act(context) for _ in range(20)]


def test_what_was_learned_of_an_instance_stays_until_the_next_begins():
    env = gym.make(D, **SMALL)
    model = AgentModel(make_agent("LinTS", env, seed=0, noise_std=1.0), env, seed=0).learn(40)
    assert model.agent.num_updates == 40
    assert model.learn(10, reset_num_timesteps=False).agent.num_updates == 10
    assert model.learn(10, reset_num_timesteps=False).agent.num_updates == 20
    assert model.learn(10).agent.num_updates == 10  # SB3 resets the environment: another instance
    stopped = model.learn(80, callback=StopTrainingOnMaxEpisodes(1))
    assert (stopped.num_timesteps, stopped.agent.num_updates) == (40, 40)
    assert stopped.learn(10, reset_num_timesteps=False).agent.num_updates == 10


def test_sb3s_callbacks_evaluate_save_and_stop(tmp_path):
    envs = make_vec_env(D, n_envs=2, seed=1, env_kwargs=PINNED)
    agent, counted = make_agent("dTS", envs, seed=0), RegretCallback()
    evaluation = EvalCallback(
        make_vec_env(D, env_kwargs=PINNED), eval_freq=10, best_model_save_path=str(tmp_path), verbose=0
    )
    callbacks = [counted, evaluation, CheckpointCallback(30, str(tmp_path)), StopTrainingOnMaxEpisodes(2)]
    model = AgentModel(agent, envs, tensorboard_log=None, seed=0).learn(10_000, callback=callbacks, log_interval=10)
    assert model.num_timesteps == agent.num_updates == len(counted.regret) == 160  # two episodes in each
    assert evaluation.best_mean_reward > 0
    assert DiffusionTS.load(tmp_path / "best_model.npz").num_updates > 0
    assert DiffusionTS.load(tmp_path / "rl_model_120_steps.zip").num_updates == 120
    with pytest.raises(ValueError, match="load it by its class"):
        AgentModel.load(tmp_path / "best_model.npz")


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("settings", [PINNED, SMALL], ids=["pinned", "fresh"])
def test_a_trained_model_plays_its_greedy_actions_in_a_run(name, settings):
    env = gym.make(D, **settings)
    model = trained(name, env)
    result = dts_gym.run(env, SB3Policy(model), 40, seed=2)
    context, _ = env.reset(seed=2)
    for action in result.actions:
        assert action == model.predict(context, deterministic=True)[0]
        context, *_ = env.step(action)
    again = dts_gym.run(env, SB3Policy(model), 40, seed=2)
    np.testing.assert_array_equal(result.regret, again.regret)


def test_one_adapter_takes_models_and_agents_alike():
    env = gym.make(D, **{**PINNED, "horizon": 500})
    agent = make_agent("dTS", env, seed=0)
    dts_gym.run(env, agent, 500, seed=1)
    fixed = dts_gym.run(env, SB3Policy(agent), 200, seed=9)
    assert agent.num_updates == 500
    context, _ = env.reset(seed=9)
    for action in fixed.actions:
        assert action == agent.predict(context, deterministic=True)[0]
        context, *_ = env.step(action)


def test_a_vector_environment_takes_a_model_too():
    envs = gym.make_vec(D, num_envs=3, **SMALL)
    model = trained("A2C", gym.make(D, **SMALL))
    together = dts_gym.run(envs, SB3Policy(model), 20, seed=4)
    for i in range(3):
        alone = dts_gym.run(gym.make(D, **SMALL), SB3Policy(model), 20, seed=4 + i)
        np.testing.assert_array_equal(together.actions[i], alone.actions)


def test_a_comparison_takes_a_model_from_its_file(tmp_path):
    env = gym.make(D, **PINNED)
    model = trained("A2C", env)
    model.save(tmp_path / "model")
    saved = {"model": str(tmp_path / "model.zip"), "algorithm": "A2C"}
    result = dts_gym.compare(
        D,
        ["dTS", AgentSpec("dts_gym.integrations.sb3:SB3", saved, "A2C")],
        seeds=2,
        num_rounds=30,
        env_settings=PINNED,
        out=tmp_path / "out",
    )
    for i, record in enumerate(result.runs["A2C"]):
        alone = dts_gym.run(env, SB3Policy(model), 30, seed=record.env_seed)
        np.testing.assert_array_equal(result.regret("A2C")[i], alone.regret)


def test_a_model_plays_environments_that_tell_no_problem(tmp_path):
    env = gym.make("CartPole-v1")
    model = trained("A2C", env)
    model.save(tmp_path / "model")
    made = make_agent(
        "dts_gym.integrations.sb3:SB3", env, seed=0, model=tmp_path / "model.zip", algorithm="stable_baselines3:A2C"
    )
    rewards = [dts_gym.run(env, policy, 30, seed=1).rewards for policy in (made, SB3Policy(model))]
    np.testing.assert_array_equal(*rewards)
    with pytest.raises(ValueError, match=r"settings of dts_gym\.integrations\.sb3:SB3 must be among"):
        make_agent("dts_gym.integrations.sb3:SB3", env, noise_std=1.0)


def test_a_model_trained_on_one_instance_learns_it():
    env = gym.make(D, **{**PINNED, "reward": "gaussian", "horizon": 2000})
    counted = RegretCallback()
    model = trained("A2C", env, 1000, counted, learning_rate=5e-3)
    after = dts_gym.run(env, SB3Policy(model), 1000, seed=99).regret[-1] / 1000
    uniform = dts_gym.run(env, make_agent("Random", env, seed=0), 1000, seed=99).regret[-1] / 1000
    assert after < 0.5 * uniform
    assert counted.regret[999] - counted.regret[699] < 0.7 * counted.regret[300]


def test_the_regret_of_training_is_that_of_every_interaction():
    seen = []

    class Seen(gym.Wrapper):
        def step(self, action):
            result = super().step(action)
            seen.append(result[4]["regret"])
            return result

    counted = RegretCallback()
    trained("PPO", Monitor(Seen(gym.make(D, **PINNED))), 60, counted)
    assert len(seen) == 60
    np.testing.assert_allclose(counted.regret, np.cumsum(seen))
    several = RegretCallback()
    trained("A2C", make_vec_env(D, n_envs=3, env_kwargs=SMALL), 60, several)
    assert several.regret.shape == (60,)
    with pytest.raises(ValueError, match="must report 'regret'"):
        trained("A2C", gym.make(D, **SMALL, regret_info=False), 5, RegretCallback())


def test_what_makes_no_sense_is_refused(tmp_path):
    env = gym.make(D, **SMALL)
    agent = make_agent("dTS", env, seed=0)
    for arguments, settings, message in (
        ((3,), {}, "model must be a stable-baselines3 model"),
        ((agent,), {"algorithm": "PPO"}, "algorithm must be left out"),
        ((tmp_path / "x.zip",), {}, "algorithm must be the class"),
        ((tmp_path / "x.zip",), {"algorithm": "PPX"}, "with load, got 'PPX'"),
    ):
        with pytest.raises(ValueError, match=message):
            SB3Policy(*arguments, **settings)
    with pytest.raises(ValueError, match="model must be given"):
        make_agent("dts_gym.integrations.sb3:SB3", env)
    for wrong in ("dTS", SB3Policy(agent)):
        with pytest.raises(ValueError, match="agent must be an agent, as make_agent makes it"):
            AgentModel(wrong, env)
    with pytest.raises(FileNotFoundError, match=r"none at '\S*x\.zip'"):
        SB3Policy(tmp_path / "x.zip", algorithm="stable_baselines3:PPO")
    model = trained("A2C", env)
    model.save(tmp_path / "a2c")
    assert SB3Policy(tmp_path / "a2c", algorithm="A2C").num_updates == 0
    with pytest.raises(ValueError, match=r"the class that wrote '\S*a2c', got 'DQN'"):
        SB3Policy(tmp_path / "a2c", algorithm="DQN")
    with pytest.raises(ValueError, match="agent must be made for this env's 6 actions"):
        dts_gym.run(gym.make(D, **{**SMALL, "num_actions": 6}), SB3Policy(model), 5)
    with pytest.raises(ValueError, match="one instance, pinned by instance_seed, got 2 environments"):
        AgentModel(agent, make_vec_env(D, n_envs=2, env_kwargs=SMALL))
    seeds = iter((1, 2))
    apart = DummyVecEnv([lambda: gym.make(D, **SMALL, instance_seed=next(seeds))] * 2)
    with pytest.raises(ValueError, match="one instance, pinned by instance_seed, got 2 environments"):
        AgentModel(agent, apart)
    with pytest.raises(ValueError, match="agent must be made for this env's 6 actions"):
        AgentModel(agent, gym.make(D, **{**SMALL, "num_actions": 6}))


class Allowing(gym.Env):
    """A bandit of five actions that allows some in each round, by ``info["action_mask"]``, and refuses the others."""

    observation_space, action_space = gym.spaces.Box(-1, 1, (3,), np.float32), gym.spaces.Discrete(5)

    def __init__(self, length=None, always=True, dtype=np.int8):
        self.length, self.always, self.dtype, self.forbidden, self.told = length, always, dtype, 0, 0

    def _next(self):
        self.mask = self.np_random.permutation(5) < 2
        free = not self.always and self.round % 2 == 1
        self.mask |= free
        self.told += not free
        context = self.np_random.uniform(-1, 1, 3).astype(np.float32)
        return context, {} if free else {"action_mask": self.mask.astype(self.dtype)}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.round = 0
        return self._next()

    def step(self, action):
        self.forbidden += not self.mask[action]
        self.round += 1
        context, info = self._next()
        return context, float(action), False, self.round == self.length, info


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "in a VecEnv under Monitor"])
@pytest.mark.parametrize(
    "settings", [{}, {"dtype": bool}, {"length": 1}, {"length": 3}, {"length": 3, "always": False}], ids=str
)
@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB"])
def test_a_model_of_an_agent_plays_allowed_actions_alone(agent_id, settings, wrapped):
    env = Allowing(**settings)
    agent = make_agent(agent_id, env, seed=0, noise_std=0.1)
    model = AgentModel(agent, DummyVecEnv([lambda: Monitor(env)]) if wrapped else env, seed=0)
    model.learn(40).learn(20, reset_num_timesteps=False).learn(20)  # without a reset and with one
    assert agent.num_updates == 80
    assert env.forbidden == 0
    assert env.told > 20
    mask = np.array([0, 0, 1, 0, 0], dtype=np.int8)
    assert model.predict(np.zeros(3), mask=mask)[0] == 2


def test_a_model_of_an_agent_without_masks_is_refused_where_there_is_one():
    class Maskless(type(make_agent("Random", Allowing(), seed=0))):
        def act(self, context):
            return 0

    with pytest.raises(ValueError, match="agent must accept a mask in act"):
        AgentModel(Maskless(make_agent("Random", Allowing(), seed=0).problem), Allowing()).learn(3)
