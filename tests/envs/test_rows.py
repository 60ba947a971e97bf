"""Logs and classification problems as environments: Gymnasium's checks, what they pay, and runs on them."""

import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dts_gym
from dts_gym.offpolicy import BanditLog, replay

N, K, D = 80, 3, 2


def logged(masked=False, shared=False):
    rng = np.random.default_rng(0)
    actions = rng.integers(K, size=N)
    masks = None
    if masked:
        masks = rng.random((N, K)) < 0.6
        masks[np.arange(N), actions] = True
    x = rng.normal(size=(N, K, D) if shared else (N, D)).astype(np.float32)
    return BanditLog(x, actions, rng.normal(size=N), np.full(N, 1 / K), K, masks, reward=dts_gym.GaussianReward(0.5))


def examples():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=60)
    return {"X": np.eye(3)[y] + 0.3 * rng.normal(size=(60, 3)), "y": 5 + 2 * y}


MADE = {
    "log": ("LoggedBandit-v0", lambda: {"log": logged()}),
    "log, shuffled": ("LoggedBandit-v0", lambda: {"log": logged(), "shuffle": True, "horizon": 20}),
    "log with masks": ("LoggedBandit-v0", lambda: {"log": logged(masked=True)}),
    "log with shared features": ("LoggedBandit-v0", lambda: {"log": logged(shared=True)}),
    "examples": ("ClassificationBandit-v0", lambda: {**examples(), "horizon": 20, "label_noise": 0.2}),
    "digits": ("ClassificationBandit-v0", lambda: {"dim": 8, "horizon": 20}),
}


@pytest.mark.parametrize("name", MADE)
def test_gymnasiums_checks_pass_without_a_warning(name):
    if name == "digits":
        pytest.importorskip("sklearn")
    env_id, settings = MADE[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gym.make(env_id, **settings()).unwrapped)


@pytest.mark.parametrize("name", ["log, shuffled", "log with masks", "examples"])
def test_the_seed_decides_everything_also_after_pickling(name):
    env_id, settings = MADE[name]
    env = gym.make(env_id, **settings())

    def rollout(one, seed):
        shown = [one.reset(seed=seed)[0]]
        steps = [one.step(t % K) for t in range(15)]
        return np.array([*shown, *(step[0] for step in steps)]), [step[1] for step in steps]

    first, again, other = rollout(env, 3), rollout(pickle.loads(pickle.dumps(env)), 3), rollout(env, 4)
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1] == again[1]
    if name != "log with masks":
        assert (first[0] != other[0]).any()


def test_a_log_pays_its_reward_where_the_action_is_its_own():
    log = logged()
    env = gym.make("LoggedBandit-v0", log=log)
    env.reset(seed=0)
    for i in range(N):
        action = i % K
        _, reward, _, truncated, info = env.step(action)
        assert info == {"matched": action == log.actions[i]}
        assert reward == (log.rewards[i] if info["matched"] else 0.0)
        assert truncated is (i == N - 1)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


def test_masks_of_a_log_are_those_of_the_coming_round():
    log = logged(masked=True)
    env = gym.make("LoggedBandit-v0", log=log)
    _, info = env.reset(seed=0)
    for i in range(N - 1):
        assert info["action_mask"].tolist() == log.masks[i].tolist()
        *_, info = env.step(int(log.actions[i]))
    result = dts_gym.run(env, dts_gym.make_agent("LinTS", env, seed=0), N, seed=0)
    assert log.masks[np.arange(N), result.actions].all()


def test_a_run_on_a_log_is_its_replay():
    log = logged()
    env = gym.make("LoggedBandit-v0", log=log)
    agent, twin = (dts_gym.make_agent("LinTS", env, seed=0) for _ in range(2))
    result = dts_gym.run(env, agent, N, seed=0)
    matched = np.flatnonzero(result.actions == log.actions)
    again = replay(log, twin)
    np.testing.assert_array_equal(again.rounds, matched)
    assert agent.num_updates == twin.num_updates == len(matched)
    assert np.isnan(result.regret).all()
    np.testing.assert_array_equal(agent.moments()[0], twin.moments()[0])


def test_runs_on_vectors_of_logs_learn_matched_rounds_only():
    envs = gym.make_vec("LoggedBandit-v0", num_envs=3, log=logged(), shuffle=True)
    agents = dts_gym.make_agent("LinTS", envs, seed=0).spawn(3)
    result = dts_gym.run(envs, agents, N, seed=0)
    single = gym.make("LoggedBandit-v0", log=logged(), shuffle=True)
    for i in range(3):
        twin = dts_gym.make_agent("LinTS", envs, seed=0).spawn(3)[i]
        alone = dts_gym.run(single, twin, N, seed=i)
        np.testing.assert_array_equal(alone.rewards, result.rewards[i])
        assert agents[i].num_updates == twin.num_updates < N


def test_agents_that_need_a_prior_ask_for_it():
    log = logged()
    with pytest.raises(ValueError, match="prior must be given"):
        dts_gym.make_agent("dTS", gym.make("LoggedBandit-v0", log=log))
    prior = dts_gym.random_linear_prior(D, 2)
    assert dts_gym.make_agent("dTS", gym.make("LoggedBandit-v0", log=log, prior=prior)).problem.prior is prior


def test_a_log_may_be_a_file(tmp_path):
    logged().save(tmp_path / "log.npz")
    assert gym.make("LoggedBandit-v0", log=str(tmp_path / "log.npz")).unwrapped.horizon == N
    with pytest.raises(ValueError, match=r"horizon must be an integer in 1..80"):
        gym.make("LoggedBandit-v0", log=logged(), horizon=N + 1)


def test_classification_pays_the_right_class():
    given = examples()
    env = gym.make("ClassificationBandit-v0", **given, horizon=400)
    context, _ = env.reset(seed=0)
    rows = env.unwrapped._contexts
    for t in range(400):
        label = (given["y"][(rows == context).all(axis=1).argmax()] - 5) // 2
        context, reward, _, _, info = env.step(t % 3)
        assert reward == (label == t % 3)
        assert info["optimal_action"] == label
        assert info["regret"] == 1.0 - reward == 1.0 - info["expected_reward"]


def test_label_noise_replaces_classes_at_random():
    """4000 rounds of the right class: |z| < 4.5 of the mean reward 1 - 0.3 + 0.3 / 3."""
    env = gym.make("ClassificationBandit-v0", **examples(), label_noise=0.3, horizon=4000)
    context, _ = env.reset(seed=0)
    labels = {tuple(row): label for row, label in zip(env.unwrapped._contexts, env.unwrapped._labels, strict=True)}
    rewards = []
    for _ in range(4000):
        context, reward, _, _, info = env.step(int(labels[tuple(context)]))
        assert abs(info["expected_reward"] - 0.8) < 1e-12
        assert info["regret"] == 0.0
        rewards.append(reward)
    assert abs(np.mean(rewards) - 0.8) < 4.5 * np.sqrt(0.16 / 4000)


def test_agents_learn_to_classify():
    """Three well separated classes: chance is 1/3; the last hundred of 500 rounds are right in more than 80 %."""
    env = gym.make("ClassificationBandit-v0", **examples(), horizon=500)
    result = dts_gym.run(env, dts_gym.make_agent("dTS", env, seed=0), 500, seed=0)
    assert result.rewards[-100:].mean() > 0.8
    vector = gym.make_vec("ClassificationBandit-v0", num_envs=2, **examples(), horizon=30)
    agent = dts_gym.make_agent("LinTS", vector, seed=0, noise_std=0.5)
    result = dts_gym.run(vector, agent, 30, seed=0)
    assert (np.diff(result.regret, axis=1) >= 0).all()
    assert not np.isnan(result.regret).any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"y": None}, "X and y must be given together, got X alone"),
        ({"X": np.ones((3, 2)), "y": [0, 1, 2]}, "X must have a feature that is not constant"),
        ({"X": np.eye(3), "y": [0, 1]}, "y must be 3 integers"),
        ({"X": np.eye(3), "y": [1, 1, 1]}, "y must have two classes"),
        ({"data": "iris"}, "data must be one of"),
        ({"label_noise": 1.5}, "label_noise must be"),
        ({"dim": 1}, "dim must be an integer in"),
    ],
)
def test_what_does_not_fit_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gym.make("ClassificationBandit-v0", **{**examples(), **settings} if "data" not in settings else settings)
