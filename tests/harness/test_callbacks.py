"""Reports from a run in progress, which change nothing."""

import math

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import make_agent
from dts_gym.harness.callbacks import Metrics, Round, action_entropy, posterior_width
from dts_gym.integrations.tensorboard import TensorBoard

NAMES = ["regret", "reward", "action_entropy", "posterior_width"]


def small_env(**settings):
    return gym.make("DiffusionBandit-v0", **{"num_actions": 8, "dim": 3, "horizon": 400, **settings})


def test_a_callback_is_told_every_round():
    env, rounds = small_env(), []
    agent = make_agent("dTS", env, seed=0)
    learned = []
    result = dts_gym.run(
        env, agent, 30, seed=1, callback=lambda played: (rounds.append(played), learned.append(agent.num_updates))
    )
    assert [(r.number, r.num_rounds) for r in rounds] == [(t, 30) for t in range(1, 31)]
    assert learned == list(range(1, 31))  # reported after the round is learned
    np.testing.assert_array_equal([r.action for r in rounds], result.actions)
    np.testing.assert_array_equal([r.reward for r in rounds], result.rewards)
    np.testing.assert_array_equal([r.regret for r in rounds], result.regret)
    assert all(r.agent is agent and r.env is env for r in rounds)
    context, _ = env.reset(seed=1)
    np.testing.assert_array_equal(rounds[0].context, context)
    assert rounds[4].info["regret"] == pytest.approx(result.regret[4] - result.regret[3])


@pytest.mark.parametrize("agent_id", ["dTS", "dTS:link", "LinUCB", "EpsilonGreedy"])
def test_metrics_leave_a_run_as_it_is(agent_id):
    agent_id, _, bent = agent_id.partition(":")
    env = small_env(link="mlp" if bent else "linear")
    told = []
    plain = dts_gym.run(env, make_agent(agent_id, env, seed=0), 40, seed=1)
    watched = dts_gym.run(
        env, make_agent(agent_id, env, seed=0), 40, seed=1, callback=Metrics(lambda *args: told.append(args), every=3)
    )
    np.testing.assert_array_equal(plain.actions, watched.actions)
    np.testing.assert_array_equal(plain.regret, watched.regret)
    assert len(told) == 14


def test_metrics_are_reported_under_their_names_on_time():
    env, told = small_env(), {}
    result = dts_gym.run(env, make_agent("LinTS", env, seed=0), 25, seed=1, callback=Metrics(told.__setitem__, 10))
    assert list(told) == [10, 20, 25]
    assert [list(values) for values in told.values()] == [NAMES] * 3
    for start, number in ((0, 10), (10, 20), (20, 25)):
        assert told[number]["regret"] == pytest.approx(result.regret[number - 1])
        assert told[number]["reward"] == pytest.approx(result.rewards[start:number].mean())
    assert all(type(value) is float for values in told.values() for value in values.values())


def test_what_is_not_known_is_left_out():
    quiet, told = small_env(regret_info=False), {}

    class Plain:
        num_updates = 0

        def act(self, context):
            return 1

        def update(self, context, action, reward):
            return

    dts_gym.run(quiet, Plain(), 10, seed=1, callback=Metrics(told.__setitem__))
    assert list(told[10]) == ["reward"]
    dts_gym.run(quiet, make_agent("Random", quiet, seed=0), 10, seed=1, callback=Metrics(told.__setitem__))
    assert list(told[10]) == ["reward", "action_entropy"]


def test_a_run_that_was_broken_off_leaves_no_rewards_behind():
    env, told = small_env(), {}
    metrics = Metrics(told.__setitem__)
    played = Round(1, 9, np.zeros(3), 0, 1000.0, 0.0, {}, env, make_agent("Random", env, seed=0))
    metrics(played)
    result = dts_gym.run(env, make_agent("Random", env, seed=0), 5, seed=1, callback=metrics)
    assert told[5]["reward"] == pytest.approx(result.rewards.mean())


def test_the_entropy_is_that_of_the_law_of_the_agents_choice():
    env = small_env()
    context, _ = env.reset(seed=0)
    for epsilon in (0.0, 0.3, 1.0):  # epsilon-greedy: known exactly
        agent = make_agent("EpsilonGreedy", env, seed=0, epsilon=epsilon)
        agent.update(context, 2, 5.0)
        law = np.full(8, epsilon / 8)
        law[2] += 1 - epsilon
        law = law[law > 0]
        exact = -(law * np.log(law)).sum()
        # Variance of n = 256 draws' estimate: of first order, and of second, that of chi^2_7 / (2 n).
        variance = ((law * np.log(law) ** 2).sum() - exact**2) / 256 + 2 * (len(law) - 1) / 512**2
        told = np.mean([action_entropy(agent, context) for _ in range(100)])
        assert abs(told - exact) <= 4.5 * math.sqrt(variance / 100)  # uncorrected it is 7 / 512 too small
    greedy = make_agent("EpsilonGreedy", env, seed=0, epsilon=0.0)
    assert action_entropy(greedy, context) > 1.5  # before any reward all actions are tied, and any is picked
    greedy.update(context, 2, 5.0)
    assert action_entropy(greedy, context) == 0


def test_the_width_is_the_mean_standard_deviation_and_shrinks():
    env = small_env()
    agent = make_agent("LinTS", env, seed=0, exploration=0.5)
    context, _ = env.reset(seed=0)
    assert posterior_width(agent, context) == pytest.approx(0.5 * np.linalg.norm(context))
    widths = []
    dts_gym.run(env, agent, 300, seed=1, callback=Metrics(lambda _, values: widths.append(values), every=100))
    assert widths[2]["posterior_width"] < 0.8 * posterior_width(make_agent("LinTS", env, exploration=0.5), context)
    assert posterior_width(make_agent("Random", env), context) is None


@pytest.mark.parametrize(("settings", "message"), [({"every": 0}, "every must be"), ({"report": 3}, "report must be")])
def test_metrics_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Metrics(**{"report": print, **settings})


def test_scalars_go_to_a_writer_of_ones_own():
    written = []

    class Writer:
        def add_scalar(self, tag, value, step):
            written.append((tag, step, value))

    env = small_env()
    with TensorBoard(Writer(), every=50, prefix="dTS/") as board:
        result = dts_gym.run(env, make_agent("dTS", env, seed=0), 100, seed=1, callback=board)
    assert [(tag, step) for tag, step, _ in written] == [(f"dTS/{name}", step) for step in (50, 100) for name in NAMES]
    assert written[4][2] == pytest.approx(result.regret[-1])
    with pytest.raises(ValueError, match="writer must be a folder or have add_scalar"):
        TensorBoard(3)


def test_a_folder_holds_what_tensorboard_reads(tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    env = small_env()
    with TensorBoard(tmp_path / "dTS", every=20) as board:
        result = dts_gym.run(env, make_agent("dTS", env, seed=0), 60, seed=1, callback=board)
    events = EventAccumulator(str(tmp_path / "dTS"))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == sorted(NAMES)
    points = events.Scalars("regret")
    assert [point.step for point in points] == [20, 40, 60]
    np.testing.assert_allclose([point.value for point in points], result.regret[[19, 39, 59]], rtol=1e-6)
