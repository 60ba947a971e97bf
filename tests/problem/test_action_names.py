"""Names of actions: what is refused, and where they go with the actions that they name."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, GaussianReward, MixedEffectPrior, identify, make_agent, random_linear_prior, run
from dts_gym.agents import Agent
from dts_gym.envs import rendering
from dts_gym.harness.callbacks import Round
from dts_gym.offpolicy import BanditLog
from dts_gym.problem import problem_from_state

NAMES = ("Alien (1979)", 'The "Up", 2009', "Se7en\n1995")
PRIOR = random_linear_prior(2, 1)
PROBLEM = BanditProblem(3, 2, PRIOR, GaussianReward(), action_names=NAMES)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["a", "b"], "must be 3 strings, one for each action, got 2 of them"),
        ("abc", "must be 3 strings, one for each action, got 'abc'"),
        (3, "must be 3 strings"),
        (["a", "b", ""], "must be strings that are not empty, got ''"),
        (["a", "b", 7], "must be strings that are not empty, got 7"),
        (["a", "b", "a"], "must be different strings, got 'a' twice"),
    ],
)
def test_names_that_name_no_action_are_refused(wrong, told: str) -> None:
    with pytest.raises(ValueError, match=f"action_names {told}"):
        replace(PROBLEM, action_names=wrong)


def test_a_problem_keeps_its_names() -> None:
    assert BanditProblem(3, 2, PRIOR, GaussianReward()).action_names is None
    assert replace(PROBLEM, horizon=7, action_names=np.array(["a", "b", "c"])).action_names == ("a", "b", "c")
    assert replace(PROBLEM, horizon=7).action_names == NAMES
    assert problem_from_state(*PROBLEM.state()).action_names == NAMES
    unnamed = replace(PROBLEM, action_names=None)
    assert "action_names" not in unnamed.state()[0]  # files of problems without names are those of before


def test_agents_name_new_items_and_keep_the_names_in_files(tmp_path) -> None:
    agent = make_agent("dTS", PROBLEM, seed=0)
    agent.add_actions(count=1)
    agent.add_actions(count=1, action_names=["Heat (1995)"])
    agent.retire(0, action_name="Ran (1985)")
    agent.retire(1)
    names = ("Ran (1985)", "action 1", NAMES[2], "action 3", "Heat (1995)")
    agent.save(tmp_path / "agent.npz")
    for one in (agent, Agent.load(tmp_path / "agent.npz"), agent.spawn(1)[0]):
        assert one.problem.action_names == names
    agent.add_actions(count=1)
    agent.retire(0, action_name="action 6")
    agent.add_actions(count=1)
    assert agent.problem.action_names[5:] == ("action 5", "action 6 (2)")


def test_names_that_do_not_fit_leave_an_agent_as_it_was() -> None:
    agent = make_agent("dTS", PROBLEM, seed=0)
    bare = make_agent("dTS", replace(PROBLEM, action_names=None), seed=0)
    for call, told in (
        (lambda: agent.add_actions(count=2, action_names=["a"]), "action_names must be 2 strings"),
        (lambda: agent.add_actions(count=1, action_names=[NAMES[0]]), "action_names must be different"),
        (lambda: agent.retire(1, action_name=NAMES[0]), "action_name must be a string that names no other action"),
        (lambda: agent.retire(1, action_name=""), "action_name must be a string"),
        (lambda: bare.add_actions(count=1, action_names=["a"]), "action_names must be left out"),
        (lambda: bare.retire(1, action_name="a"), "action_name must be left out"),
    ):
        with pytest.raises(ValueError, match=told):
            call()
    assert (agent.num_actions, bare.num_actions) == (3, 3)
    assert agent.problem.action_names == NAMES


def test_new_items_of_a_feature_prior_are_named() -> None:
    prior = MixedEffectPrior(np.eye(3), np.eye(6), np.eye(2))
    agent = make_agent("dTS", BanditProblem(3, 2, prior, GaussianReward(), action_names=NAMES), seed=0)
    agent.add_actions([[1.0, 1.0, 1.0]], action_names=["Heat (1995)"])
    agent.retire(1, [0.0, 0.5, 0.5], "Ran (1985)")
    assert agent.problem.action_names == (NAMES[0], "Ran (1985)", NAMES[2], "Heat (1995)")


def test_tables_logs_and_messages_show_names(tmp_path) -> None:
    env = gym.make("CatalogueBandit-v0", num_live=2, every=5, change=0.5, horizon=10, dim=2)
    names = env.unwrapped.problem.action_names
    assert names == ("item 0 (round 0)", "item 1 (round 0)", "item 2 (round 5)")
    seen = []
    agent = make_agent("dTS", env, seed=0)
    result = run(env, agent, 10, seed=0, callback=seen.append, log=tmp_path / "rounds")
    shown = [names[a] for a in result.actions]
    assert [one.action_name for one in seen] == shown
    assert f"action_name={shown[-1]!r}" in repr(seen[-1])
    pandas = pytest.importorskip("pandas")
    assert result.to_pandas()["action_name"].tolist() == shown
    log = BanditLog.load(tmp_path / "rounds")
    recorded = dts_gym.offpolicy.record(env, agent, 10, seed=1)
    assert log.action_names == recorded.action_names == names
    log.save(tmp_path / "log.csv")
    assert pandas.read_csv(tmp_path / "log.csv", skiprows=1)["action_name"].tolist() == shown
    with pytest.raises(ValueError, match=r"got action 2 \('item 2 \(round 5\)'\) forbidden in round 0"):
        BanditLog(log.contexts, np.full(10, 2), log.rewards, masks=log.masks, action_names=names)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"allows in this round, got 2 \('item 2 \(round 5\)'\)"):
        env.step(2)


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
def test_files_of_logs_keep_all_names(kind: str, tmp_path) -> None:
    if kind == "parquet":
        pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
    log = BanditLog([[1.0], [0.5]], [0, 1], [1.0, 0.0], num_actions=3, action_names=NAMES)
    log.save(tmp_path / f"log.{kind}")
    read = BanditLog.load(tmp_path / f"log.{kind}")
    assert read.action_names == NAMES
    np.testing.assert_array_equal(read.actions, log.actions)
    assert BanditLog([[1.0]], [0], [1.0]).action_names is None


def test_a_recommendation_is_named() -> None:
    problem = BanditProblem(3, 1, random_linear_prior(1, 1), GaussianReward(), action_names=NAMES)
    found = identify(problem, budget=30, seed=0)
    assert found.recommended_name == NAMES[found.recommendation]
    assert f"recommended_name={found.recommended_name!r}" in repr(found)
    pytest.importorskip("pandas")
    assert found.to_pandas()["action_name"].tolist() == list(NAMES)
    unnamed = identify(replace(problem, action_names=None), budget=30, seed=0)
    assert (unnamed.recommended_name, list(unnamed.to_pandas())) == (None, ["action", "count", "probability_best"])


def test_a_round_without_names_shows_none() -> None:
    env = gym.make("DiffusionBandit-v0", num_actions=3)
    shown = Round(1, 1, np.zeros(5), 0, 0.0, 0.0, {}, env, None)
    assert shown.action_name is None
    assert "action_name" not in repr(shown)


def test_frames_label_actions() -> None:
    pytest.importorskip("matplotlib")
    view = rendering.View(np.array([0.5, -1.0]), None, np.array([3, 0]), [0.0, 1.5], "two actions")
    bare, named = rendering.draw(view), rendering.draw(view._replace(names=("a film of a very long name", "Up")))
    assert named.shape == bare.shape
    assert (named != bare).any()
