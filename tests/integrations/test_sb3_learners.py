"""PPO, DQN and A2C by name: what they learn is what stable-baselines3 alone learns; lazy, refused without the extra."""

import gc
import subprocess
import sys
import threading

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import make_agent
from dts_gym.cli.entry import main
from dts_gym.harness.records import load_records
from dts_gym.utils.extras import OPTIONAL_AGENTS
from dts_gym.utils.seeding import seed_sequence

SMALL = {"num_actions": 4, "dim": 2, "horizon": 500}
QUICK = {"PPO": {"n_steps": 20, "batch_size": 10}, "DQN": {"learning_starts": 20}, "A2C": {}}


def made(name, env=None, seed=0):
    return make_agent(name, env or gym.make("DiffusionBandit-v0", **SMALL), seed=seed, **QUICK[name])


def test_nothing_loads_stable_baselines3_before_it_is_asked_for():
    code = (
        "import sys, dts_gym; dts_gym.AgentSpec('PPO'); dts_gym.agent_ids(); "
        "print([name for name in ('stable_baselines3', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", OPTIONAL_AGENTS)
def test_without_the_extra_one_line_says_how_to_install_it(name, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    monkeypatch.delitem(sys.modules, "dts_gym.integrations.sb3_learners", raising=False)
    assert main(["run", "--agents", "dTS", name, "--rounds", "3", "--seeds", "1"]) == 2
    error = capsys.readouterr().err
    assert "pip install -c constraints.txt -e '.[sb3]'" in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


class TestWithTheExtra:
    @pytest.fixture(autouse=True)
    def _sb3(self):
        pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")

    @pytest.mark.parametrize("name", OPTIONAL_AGENTS)
    def test_an_agent_learns_what_the_model_alone_learns(self, name):
        import stable_baselines3

        from dts_gym.integrations.sb3 import RegretCallback

        env, counted = gym.make("DiffusionBandit-v0", instance_seed=3, **SMALL), RegretCallback()
        start = int(seed_sequence(5, "agent").generate_state(1)[0])
        settings = {"gamma": 0.0, **QUICK[name]}
        model = getattr(stable_baselines3, name)("MlpPolicy", env, seed=start, device="cpu", **settings)
        model.env.seed(7)
        model.learn(120, callback=counted)
        result = dts_gym.run(env, made(name, env, seed=5), 120, seed=7)
        np.testing.assert_allclose(result.regret, counted.regret[:120], rtol=1e-12)

    def test_comparisons_count_every_interaction_and_records_name_the_settings(self, tmp_path):
        asked = {"seeds": 1, "num_rounds": 40, "env_settings": {**SMALL}}
        agents = ["dTS", "PPO", "PPO:n_steps=20,batch_size=10", "DQN:learning_starts=5", "A2C"]
        here = dts_gym.compare("DiffusionBandit-v0", agents, out=tmp_path / "a", backend="serial", **asked)
        assert here.labels == [
            "dTS", "PPO", "PPO (n_steps 20, batch_size 10)", "DQN (learning_starts 5)", "A2C"
        ]  # fmt: skip
        there = dts_gym.compare("DiffusionBandit-v0", agents, num_workers=2, **asked)
        held = load_records(tmp_path / "a")
        for label in here.labels:
            np.testing.assert_array_equal(here.regret(label), there.regret(label))
            np.testing.assert_array_equal(here.regret(label), held.regret(label))
        settings = [dict(spec.settings) for spec in held.experiment.agents]
        assert settings[1:3] == [
            {"gamma": 0.0, "n_steps": 250, "batch_size": 50},
            {"gamma": 0.0, "n_steps": 20, "batch_size": 10},
        ]
        assert settings[4] == {"gamma": 0.0}
        assert "stable_baselines3" in (tmp_path / "a" / "experiment.json").read_text()

    def test_a_run_that_goes_on_beyond_its_plan_learns_on(self):
        env = gym.make("DiffusionBandit-v0", **SMALL)
        agent = made("DQN", env)
        agent.begin_run(5)
        context, _ = env.reset(seed=0)
        for _ in range(12):
            action = agent.act(context)
            following, reward, *_ = env.step(action)
            agent.update(context, action, reward)
            context = following
        assert agent.num_updates == 12
        assert agent._model.num_timesteps >= 11

    @pytest.mark.parametrize("name", OPTIONAL_AGENTS)
    def test_threads_end_with_their_agents(self, name):
        before = threading.active_count()
        env = gym.make("DiffusionBandit-v0", **SMALL)
        for _ in range(3):
            agent = made(name, env)
            dts_gym.run(env, agent, 30, seed=0)
        agent.reset(1)
        dts_gym.run(env, agent, 30, seed=0)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("Thread")]
        del agent
        gc.collect()
        for thread in threads:
            thread.join(10)
        assert threading.active_count() <= before

    def test_misuse_is_refused_and_changes_nothing(self):
        env = gym.make("DiffusionBandit-v0", **SMALL)
        agent, twin = made("A2C", env), made("A2C", env)
        x, y = np.ones(2, np.float32) / 2, np.ones(2, np.float32) / 4
        for wrong in ("x", [0.5], [[0.5, 0.5]], [np.nan, 0.0]):
            with pytest.raises(ValueError, match=r"^context must"):
                agent.act(wrong)
        action = agent.act(x)
        with pytest.raises(ValueError, match="update must follow act"):
            agent.act(x)
        for one in ((x, (action + 1) % 4, 0.0), (y, action, 0.0)):
            with pytest.raises(ValueError, match="must be the one that A2C picked last"):
                agent.update(*one)
        with pytest.raises(ValueError, match="reward must be a finite number"):
            agent.update(x, action, np.nan)
        agent.update(x, action, 1.0)
        assert twin.act(x) == action
        twin.update(x, action, 1.0)
        assert twin.act(y) == agent.act(y)
        for settings, expected in (({"n_stepz": 3}, "did you mean n_steps"), ({"learning_rate": "x"}, "A2C must be")):
            with pytest.raises(ValueError, match=expected):
                make_agent("A2C", env, seed=0, **settings)
        with pytest.raises(ValueError, match="env must be an environment with Discrete actions"):
            make_agent("A2C", gym.make("Pendulum-v1"), seed=0)

    def test_the_processs_generators_are_left_alone(self):
        import random

        import torch

        def draws():
            return random.random(), np.random.random(), torch.rand(1).item()  # noqa: NPY002

        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
        before = draws()
        random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
        env = gym.make("DiffusionBandit-v0", **SMALL)
        dts_gym.run(env, made("DQN", env), 40, seed=0)
        assert draws() == before

    def test_a_vector_environment_has_a_model_for_each_instance(self):
        envs = gym.make_vec("DiffusionBandit-v0", num_envs=3, **SMALL)
        result = dts_gym.run(envs, made("A2C", envs), 20, seed=0)
        assert result.regret.shape == (3, 20)
        assert len({tuple(row) for row in result.actions.tolist()}) == 3

    def test_shared_features_and_strangers_are_played(self):
        env = gym.make("SharedDiffusionBandit-v0", **SMALL)
        assert dts_gym.run(env, made("A2C", env), 20, seed=0).regret.shape == (20,)
        cart = gym.make("CartPole-v1")
        assert dts_gym.run(cart, made("A2C", cart), 30, seed=0).rewards.shape == (30,)
