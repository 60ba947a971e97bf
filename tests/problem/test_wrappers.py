"""Wrappers around an environment whose problem is known: some are warned of, some refused, some change nothing."""

import functools
import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import wrappers as w
from gymnasium.spaces import Box
from gymnasium.vector import SyncVectorEnv
from gymnasium.wrappers import vector as vw

import dts_gym
from dts_gym import make_agent
from dts_gym.problem.spaces import problem_from_spaces
from dts_gym.problem.wrappers import changing_wrappers


def env(**settings):
    return gym.make("DiffusionBandit-v0", num_actions=5, dim=3, **settings)


def told(function):
    """The texts of the UserWarnings that a function gives."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(warning.message) for warning in caught if warning.category is UserWarning]


class Halved(gym.Wrapper):
    """Somebody's own: narrower observations, of which the space tells."""

    def __init__(self, env):
        super().__init__(env)
        inner = env.observation_space
        self.observation_space = Box(inner.low / 2, inner.high / 2, dtype=inner.dtype)


class Counted(gym.Wrapper):
    """Somebody's own that changes nothing."""


CHANGING = {
    "TransformReward": lambda e: w.TransformReward(e, lambda r: r / 100),
    "ClipReward": lambda e: w.ClipReward(e, -1.0, 1.0),
    "NormalizeReward": w.NormalizeReward,
    "NormalizeObservation": w.NormalizeObservation,
    "RescaleObservation": lambda e: w.RescaleObservation(e, np.full(3, 0.0, np.float32), np.full(3, 1.0, np.float32)),
    "TransformObservation": lambda e: w.TransformObservation(e, lambda x: 2 * x, None),
    "DelayObservation": lambda e: w.DelayObservation(e, 1),
    "StickyAction": lambda e: w.StickyAction(e, 0.5),
    "RepeatAction": lambda e: w.RepeatAction(e, 2),
    "Halved": Halved,
}


@pytest.mark.parametrize("name", CHANGING)
@pytest.mark.parametrize("agent_id", ["dTS", "LinUCB"])
def test_what_changes_rounds_is_warned_of_once(name, agent_id):
    wrapped = CHANGING[name](env())
    agents = []
    texts = told(lambda: agents.append(make_agent(agent_id, wrapped, seed=0)))
    assert len(texts) == 1
    assert texts[0].startswith(f"env has {name} around it")
    assert "problem_from_spaces(env, prior=..., noise_std=...)" in texts[0]
    again = told(lambda: dts_gym.run(wrapped, agents[0], 5, seed=0))
    assert not [text for text in again if "around it" in text]


def test_the_way_out_in_the_warning_gives_none():
    wrapped = w.TransformReward(env(), lambda r: r / 100)
    inner = wrapped.unwrapped.problem
    problem = problem_from_spaces(wrapped, prior=inner.prior, noise_std=0.01)
    assert told(lambda: dts_gym.run(wrapped, make_agent("dTS", problem, seed=0), 5, seed=0)) == []


def test_an_agent_made_without_the_wrapper_is_warned_in_its_run():
    plain = env()
    agent = make_agent("dTS", plain, seed=0)
    texts = told(lambda: dts_gym.run(w.TransformReward(plain, lambda r: r / 100), agent, 5, seed=0))
    assert len(texts) == 1
    assert "TransformReward" in texts[0]


def test_what_changes_nothing_is_not_warned_of(tmp_path):
    plain = env()
    for wrapped in (
        plain,
        w.RecordEpisodeStatistics(plain),
        w.TimeLimit(plain, 10),
        w.Autoreset(plain),
        w.DtypeObservation(plain, np.float64),
        Counted(plain),
    ):
        assert changing_wrappers(wrapped) == []
        assert told(lambda: dts_gym.run(wrapped, make_agent("dTS", wrapped, seed=0), 5, seed=0)) == []  # noqa: B023
    cart = w.TransformReward(gym.make("CartPole-v1"), lambda r: r / 100)  # its problem is made of what is seen
    assert told(lambda: make_agent("LinTS", cart, noise_std=1.0)) == []
    policy_needs_none = told(lambda: make_agent("Random", plain))
    assert policy_needs_none == []


@pytest.mark.parametrize(
    ("wrap", "shown"),
    [
        (lambda e: w.FrameStackObservation(e, 2), r"\(2, 3\) through FrameStackObservation"),
        (lambda e: w.TimeAwareObservation(w.TimeLimit(e, 9)), r"through TimeAwareObservation"),
        (
            lambda e: w.TransformObservation(e, lambda x: x[:2], Box(-1, 1, (2,), np.float32)),
            r"\(2,\) through TransformObservation",
        ),
    ],
)
def test_other_sizes_are_refused_when_the_agent_is_made(wrap, shown):
    with pytest.raises(ValueError, match=rf"env must show the 5 actions and contexts \(3,\) of its problem.*{shown}"):
        make_agent("dTS", wrap(env()), seed=0)


def test_flattened_features_are_refused_with_what_to_write():
    flat = w.FlattenObservation(gym.make("SharedDiffusionBandit-v0", num_actions=10, dim=5))
    with pytest.raises(ValueError, match=r"\(10, 5\).*\(50,\) through FlattenObservation: leave the wrapper out, or "):
        make_agent("dTS", flat, seed=0)
    agent = make_agent("LinTS", problem_from_spaces(flat, noise_std=1.0), seed=0)
    assert dts_gym.run(flat, agent, 5, seed=0).regret.shape == (5,)


def test_vectors_of_environments_count_too():
    native = gym.make_vec("DiffusionBandit-v0", num_envs=2, num_actions=5, dim=3)
    agents = []
    texts = told(lambda: agents.append(make_agent("dTS", vw.NormalizeReward(native), seed=0)))
    assert len(texts) == 1
    assert "NormalizeReward" in texts[0]
    assert told(lambda: make_agent("dTS", native, seed=0)) == []
    make = functools.partial(lambda: w.TransformReward(env(), lambda r: r / 100))
    inside = SyncVectorEnv([make, make])
    texts = told(lambda: dts_gym.run(inside, make_agent("dTS", inside, seed=0), 5, seed=0))
    assert len([text for text in texts if "TransformReward" in text]) == 1


@pytest.mark.parametrize("context", [None, np.ones(3)])
def test_identification_warns_once_and_points_at_its_caller(context):
    wrapped = w.TransformReward(env(), lambda r: r / 100)
    with pytest.warns(UserWarning, match="env has TransformReward around it") as caught:
        dts_gym.identify(wrapped, "Uniform", budget=10, context=context)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert told(lambda: dts_gym.identify(env(), "Uniform", budget=10, context=context)) == []
    short = w.TransformObservation(env(), lambda x: x[:2], Box(-1, 1, (2,), np.float32))
    with pytest.raises(ValueError, match=r"env must show the 5 actions .*, got 5 actions and observations \(2,\)"):
        dts_gym.identify(short, "Uniform", budget=10, context=context)


def test_comparing_rules_on_a_registered_wrapped_environment_warns_once():
    gym.register("HundredthRewards-v0", lambda **settings: w.TransformReward(env(**settings).unwrapped, np.tanh))
    try:
        with pytest.warns(UserWarning, match="env has TransformReward around it") as caught:
            dts_gym.compare_identification("HundredthRewards-v0", ["Uniform", "TS"], budgets=[10], seeds=2)
        assert [warning.filename for warning in caught] == [__file__]
    finally:
        del gym.registry["HundredthRewards-v0"]
