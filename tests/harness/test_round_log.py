"""Rounds written as they are played: what is read is what was played, also after a kill."""

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym.harness import round_log
from dts_gym.utils.archives import read_archive


def rounds_of(folder):
    blocks = [read_archive(path) for path in sorted(folder.glob("rounds-*.npz"))]
    names = blocks[0][0]
    return {name: np.concatenate([arrays[name] for arrays, _ in blocks]) for name in names}, blocks[0][1]


def test_a_run_with_a_log_is_the_run_without(tmp_path, monkeypatch):
    monkeypatch.setattr(round_log, "_BLOCK_ROUNDS", 8)
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=3, horizon=20)
    plain = dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=0), 20, seed=1)
    logged = dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=0), 20, seed=1, log=tmp_path / "log")
    np.testing.assert_array_equal(plain.actions, logged.actions)
    np.testing.assert_array_equal(plain.regret, logged.regret)
    assert len(list((tmp_path / "log").glob("*"))) == 3
    arrays, settings = rounds_of(tmp_path / "log")
    np.testing.assert_array_equal(arrays["actions"], logged.actions)
    np.testing.assert_array_equal(arrays["rewards"], logged.rewards)
    assert arrays["contexts"].shape == (20, 3)
    assert ((arrays["propensities"] > 0) & (arrays["propensities"] <= 1)).all()
    assert arrays["propensities"][0] == pytest.approx(1 / 6)
    assert settings["num_actions"] == 6
    assert settings["reward"]["name"] == "gaussian"


def test_what_was_written_before_an_exception_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(round_log, "_BLOCK_ROUNDS", 4)
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=3, horizon=20)

    def stop(_round):
        if _round.number == 10:
            assert len(list((tmp_path / "log").glob("rounds-*.npz"))) == 2  # whole blocks can be read meanwhile
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        dts_gym.run(env, dts_gym.make_agent("LinUCB", env, seed=0), 20, seed=1, callback=stop, log=tmp_path / "log")
    assert len(rounds_of(tmp_path / "log")[0]["actions"]) == 10


def test_masks_are_kept_and_strangers_agents_have_no_probabilities(tmp_path):
    class Masked(gym.Wrapper):
        def reset(self, **keywords):
            context, info = self.env.reset(**keywords)
            return context, {**info, "action_mask": np.array([1, 0, 1, 1, 0, 1], dtype=np.int8)}

    class First:
        num_updates = 0

        def act(self, context, mask=None):
            return 0

        def update(self, context, action, reward):
            pass

    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=3, horizon=20)
    dts_gym.run(Masked(env), dts_gym.make_agent("LinTS", env, seed=0), 1, seed=1, log=tmp_path / "masked")
    arrays, _ = rounds_of(tmp_path / "masked")
    np.testing.assert_array_equal(arrays["masks"], [[True, False, True, True, False, True]])
    assert arrays["propensities"][0] == pytest.approx(0.25)
    dts_gym.run(env, First(), 3, seed=1, log=tmp_path / "first")
    assert "propensities" not in rounds_of(tmp_path / "first")[0]


def test_a_folder_with_files_and_vector_environments_are_refused(tmp_path):
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=3, horizon=20)
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(ValueError, match="log must be a new or empty folder"):
        dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=0), 3, log=tmp_path)
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=2, num_actions=6, dim=3)
    with pytest.raises(ValueError, match="log must be left out on a vector environment"):
        dts_gym.run(envs, dts_gym.make_agent("dTS", envs, seed=0), 3, log=tmp_path / "new")


def test_the_folder_is_a_log_for_off_policy_estimates(tmp_path, monkeypatch):
    monkeypatch.setattr(round_log, "_BLOCK_ROUNDS", 8)
    masks = iter([None] * 9 + [np.array([1, 1, 0, 1, 1, 1], dtype=np.int8)] * 20)

    class Sometimes(gym.Wrapper):
        def step(self, action):
            context, reward, terminated, truncated, info = self.env.step(action)
            mask = next(masks)
            return context, reward, terminated, truncated, info if mask is None else {**info, "action_mask": mask}

    env = Sometimes(gym.make("DiffusionBandit-v0", num_actions=6, dim=3, horizon=20))
    result = dts_gym.run(env, dts_gym.make_agent("LinTS", env, seed=0), 20, seed=1, log=tmp_path / "log")
    log = dts_gym.offpolicy.BanditLog.load(tmp_path / "log")
    np.testing.assert_array_equal(log.actions, result.actions)
    assert log.adapted
    dts_gym.run(env, dts_gym.make_agent("Random", env, seed=0), 5, seed=1, log=tmp_path / "random")
    assert dts_gym.offpolicy.BanditLog.load(tmp_path / "random").adapted is False
    assert log.num_actions == 6
    np.testing.assert_array_equal(log.masks[:, 2], np.arange(20) < 10)
