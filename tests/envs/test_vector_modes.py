"""Native vector environments in every autoreset mode, number for number as Gymnasium's own, and under its wrappers."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import dts_gym  # noqa: F401 - registers the environments

N, K, SMALL = 3, 4, {"num_actions": 4, "dim": 2, "horizon": 5}
REWARDS = ["gaussian", "poisson"]


def stepped(envs, mode, rounds=14, seed=7):
    """What a loop over the environments sees, a list for each step."""
    rng = np.random.default_rng(0)
    seen = [envs.reset(seed=seed)[0]]
    for t in range(rounds):
        contexts, rewards, _, truncated, _ = envs.step(rng.integers(K, size=N))
        seen += [contexts, rewards, truncated]
        if mode is AutoresetMode.DISABLED and truncated.any():
            seen.append(envs.reset(options={"reset_mask": truncated})[0])
        if t == 2 and mode is not AutoresetMode.SAME_STEP:  # from here on episodes end at different steps
            seen.append(envs.reset(options={"reset_mask": np.array([True, False, False])})[0])
    return seen


@pytest.mark.parametrize("reward", REWARDS)
@pytest.mark.parametrize("env_id", ["DiffusionBandit-v0", "SharedDiffusionBandit-v0"])
@pytest.mark.parametrize("mode", list(AutoresetMode), ids=str)
def test_every_mode_equals_gymnasiums_own(env_id, mode, reward):
    settings = SMALL | {"reward": reward}
    native = gym.make_vec(env_id, num_envs=N, autoreset_mode=mode.value, **settings)
    own = SyncVectorEnv([lambda: gym.make(env_id, **settings)] * N, autoreset_mode=mode)
    assert native.metadata["autoreset_mode"] is mode
    for one, other in zip(stepped(native, mode), stepped(own, mode), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=str)
def test_episodes_end_after_max_episode_steps(mode):
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=2, max_episode_steps=3, autoreset_mode=mode)
    envs.reset(seed=0)
    ended = [envs.step([0, 1])[3].tolist() for _ in range(3)]
    assert ended == [[False, False], [False, False], [True, True]]
    assert gym.make_vec("DiffusionBandit-v0", num_envs=2, max_episode_steps=-1).unwrapped.problem.horizon == 5000
    for wrong in (0, 1.5, True, "3"):
        with pytest.raises(ValueError, match="max_episode_steps must be an integer"):
            gym.make_vec("DiffusionBandit-v0", num_envs=2, max_episode_steps=wrong)
    with pytest.raises(ValueError, match="autoreset_mode must be one of"):
        gym.make_vec("DiffusionBandit-v0", num_envs=2, autoreset_mode="never")


def test_an_ended_episode_waits_for_its_reset_where_none_is_automatic():
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=2, max_episode_steps=1, autoreset_mode="Disabled")
    envs.reset(seed=0)
    envs.step([0, 0])
    with pytest.raises(gym.error.ResetNeeded, match="reset_mask"):
        envs.step([0, 0])
    envs.reset(options={"reset_mask": np.array([True, True])})
    assert envs.step([0, 0])[3].all()


@pytest.mark.parametrize("mode", ["SameStep", "NextStep", "Disabled"])
def test_a_plain_loop_finds_the_regret_of_an_episodes_last_step(mode):
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=N, autoreset_mode=mode, **SMALL)
    envs.reset(seed=0)
    for _ in range(5):
        _, _, _, truncated, infos = envs.step([1] * N)
        assert infos["regret"].shape == (N,)
        assert infos["_regret"].all()
    assert truncated.all()


def test_the_step_that_begins_an_episode_reports_no_regret():
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=N, autoreset_mode="NextStep", **SMALL)
    envs.reset(seed=0)
    told = [envs.step([1] * N)[4]["_regret"].all() for _ in range(12)]
    assert told == [True] * 5 + [False] + [True] * 5 + [False]


def test_gymnasiums_statistics_of_episodes_accept_it():
    envs = gym.make_vec("DiffusionBandit-v0", num_envs=N, autoreset_mode="NextStep", **SMALL)
    envs = gym.wrappers.vector.RecordEpisodeStatistics(envs)
    envs.reset(seed=0)
    total = np.zeros(N)
    for _ in range(5):
        _, rewards, _, _, infos = envs.step([1] * N)
        total += rewards
    np.testing.assert_allclose(infos["episode"]["r"], total, rtol=1e-6)
    assert infos["episode"]["l"].tolist() == [5] * N
