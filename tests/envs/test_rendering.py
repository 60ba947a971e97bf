"""Frames: Gymnasium's checks, what is on them, and that drawing changes nothing."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.wrappers import RenderCollection

import dts_gym
from dts_gym import make_agent
from dts_gym.envs import rendering

IDS = ["DiffusionBandit-v0", "SharedDiffusionBandit-v0", "SyntheticBandit-v0"]


def made(env_id="DiffusionBandit-v0", **settings):
    return gym.make(env_id, render_mode="rgb_array", **{"num_actions": 6, "horizon": 30, **settings})


@pytest.fixture
def views(monkeypatch):
    """What would have been drawn."""
    seen = []
    monkeypatch.setattr(rendering, "draw", lambda view: seen.append(view) or np.zeros((1, 1, 3), np.uint8))
    return seen


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasiums_checks_pass_with_frames(env_id, views):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(made(env_id).unwrapped)
    assert views


@pytest.mark.parametrize("env_id", IDS)
def test_a_frame_holds_the_truth_the_belief_the_plays_and_the_regret(env_id, views):
    env = made(env_id)
    agent = make_agent("LinTS", env, seed=0)
    env.unwrapped.watch(agent)
    result = dts_gym.run(env, agent, 12, seed=1)
    env.render()
    view = views[0]
    context, _ = env.reset(seed=1)
    for action in result.actions:
        context, *_ = env.step(action)
    np.testing.assert_allclose(view.truth, env.unwrapped.instance.linear_predictors(context.astype(np.float64)))
    for shown, told in zip(view.belief, agent.marginals(context), strict=True):
        np.testing.assert_array_equal(shown, told)
    np.testing.assert_array_equal(view.counts, np.bincount(result.actions, minlength=6))
    np.testing.assert_allclose(view.regret, result.regret)
    assert view.title == f"round 12 of 30, regret {result.regret[-1]:.1f}"


def test_frames_begin_anew_with_an_episode_and_need_no_agent(views):
    env = made(regret_info=False)
    env.reset(seed=0)
    env.step(3)
    env.render()
    env.reset(seed=0)
    env.render()
    assert [view.counts.sum() for view in views] == [1, 0]
    assert views[0].regret is None
    assert views[0].belief is None
    assert views[1].title == "round 0 of 30"


def test_what_is_shown_is_on_the_frame():
    rng = np.random.default_rng(0)
    truth, std = rng.standard_normal(60), np.ones(60)
    best, second, worst = np.argsort(-truth)[[0, 1, -1]]
    counts, regret = 4 * (np.arange(60) == best), [1.0, 2.0]
    base = rendering.View(truth, (np.zeros(60), std), counts, regret, "title")
    frame = rendering.draw(base)
    assert (frame.shape, frame.dtype) == ((320, 720, 3), np.uint8)
    np.testing.assert_array_equal(frame, rendering.draw(base))
    changes = {
        "truth": base._replace(truth=np.where(np.arange(60) == best, truth + 0.5, truth)),
        "belief": base._replace(belief=(np.zeros(60), 0.5 * std)),
        "no belief": base._replace(belief=None),
        "counts": base._replace(counts=4 * (np.arange(60) == second)),
        "regret": base._replace(regret=[1.0, 1.5]),
        "no regret": base._replace(regret=None),
        "title": base._replace(title="another"),
    }
    for name, view in changes.items():
        assert (rendering.draw(view) != frame).any(), name
    beyond = base._replace(truth=np.where(np.arange(60) == worst, truth - 0.5, truth))
    np.testing.assert_array_equal(rendering.draw(beyond), frame)  # not among the best 40


def test_frames_change_nothing():
    def played(drawn):
        env = made()
        agent = make_agent("dTS", env, seed=0)
        env.unwrapped.watch(agent)
        return dts_gym.run(env, agent, 4, seed=1, callback=lambda played: env.render() if drawn else None)

    np.testing.assert_array_equal(played(True).rewards, played(False).rewards)


def test_gymnasiums_wrappers_collect_frames_and_show_them():
    frames = RenderCollection(made())
    frames.reset(seed=0)
    frames.step(0)
    assert len(frames.render()) == 2
    pytest.importorskip("pygame", reason="pygame is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that Gymnasium's wrapper does it
        env = gym.make("DiffusionBandit-v0", num_actions=3, render_mode="human")
    env.reset(seed=0)
    env.step(0)
    assert env.render() is None
    env.close()


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"render_mode must be one of \('rgb_array',\) or None, got 'ansi'"):
        dts_gym.envs.DiffusionBanditEnv(render_mode="ansi")
    env = made().unwrapped
    with pytest.raises(gym.error.ResetNeeded):
        env.render()
    with pytest.raises(ValueError, match="agent must have a posterior"):
        env.watch(make_agent("Random", env))
    env.watch(None)
    plain = gym.make("DiffusionBandit-v0", num_actions=3)
    plain.reset(seed=0)
    with pytest.warns(UserWarning, match="without a render mode"):
        assert plain.unwrapped.render() is None
