"""Threads that share an agent: nothing is lost, and the result is that of the same calls one after another."""

import copy
import pickle
import sys
import threading

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import (
    BanditProblem,
    BernoulliReward,
    GaussianReward,
    MixedEffectPrior,
    make_agent,
    random_linear_prior,
    random_mlp_prior,
)
from truth import loud_denoisers

NUM_THREADS = 4
LINEAR, BENT = random_linear_prior(2, 2), random_mlp_prior(2, 2)
# By id, or id and approximation: prior, reward, settings, rounds a thread of the small test and of the slow one.
SLOW = {"slice": (12, 500), "LaplaceDPS": (25, 500), "GLM-TS": (60, 500), "UCB-GLM": (60, 500)}
MORE = {
    "slice": ("dTS", BENT, None, {"approximation": "slice", "num_particles": 2, "num_steps": 2}),
    "particles": ("dTS", BENT, None, {"num_particles": 4}),
    "particles of each action": ("dTS", BENT, None, {"num_particles": 4, "branch": 2, "pool_size": 20}),
    "expanded online": ("dTS", LINEAR, BernoulliReward(), {"expansion": "online"}),
    "single precision": ("LinTS", LINEAR, None, {"dtype": "float32"}),
    "by a rule": ("dTS", LINEAR, None, {"exploration": "decay"}),
    "LaplaceDPS": ("LaplaceDPS", loud_denoisers(), None, {"pool_size": 20}),
    "meTS": ("meTS", MixedEffectPrior(np.eye(6), np.eye(12), np.eye(2)), None, {}),
    "GLM-TS": ("GLM-TS", LINEAR, BernoulliReward(), {}),
    "UCB-GLM": ("UCB-GLM", LINEAR, BernoulliReward(), {}),
}
NAMES = [*(name for name in dts_gym.agent_ids() if name not in (*MORE, "SB3")), *MORE]


def made(name):
    if name == "Oracle":
        env = gym.make("DiffusionBandit-v0", num_actions=6, dim=2, instance_seed=0)
        env.reset(seed=0)
        return make_agent(name, env, seed=0)
    agent_id, prior, reward, settings = MORE.get(name, (name, LINEAR, None, {}))
    return make_agent(agent_id, BanditProblem(6, 2, prior, reward or GaussianReward(0.5)), seed=0, **settings)


def recorded(agent):
    """The calls of an agent, name, arguments and result, in the order in which they had it for themselves."""
    calls, own = [], {name: getattr(agent, name) for name in ("_play", "_choose", "_choose_greedily", "_learn")}

    def act(contexts, *others):
        chosen = own["_play"](contexts, *others)
        calls.append(("act", (contexts,), int(chosen)))
        return chosen

    def draw(contexts, rng, mask):
        chosen = own["_choose"](contexts, rng, mask)
        if rng is agent._rngs["predict-draw"]:
            calls.append(("predict", (contexts,), (chosen, None)))
        return chosen

    def choose_greedily(contexts, *others):
        chosen = own["_choose_greedily"](contexts, *others)
        calls.append(("predict", (contexts, None, None, True), (chosen, None)))
        return chosen

    def learn(context, action, reward):
        own["_learn"](context, action, reward)
        calls.append(("update", (context, action, reward), None))

    agent._play, agent._choose, agent._choose_greedily, agent._learn = act, draw, choose_greedily, learn
    return calls


def shared_by_threads(agent, num_rounds):
    """Let threads play with one agent; the errors that were raised in them."""
    errors, together = [], threading.Barrier(NUM_THREADS)

    def rounds(seed):
        rng = np.random.default_rng(seed)
        together.wait()
        try:
            for t in range(num_rounds):
                context = rng.uniform(-1, 1, 2)
                action = agent.act(context)
                agent.update(context, action, float(rng.random() < 0.5))
                if t % 16 == seed:  # what only reads
                    agent.predict(context, deterministic=bool(t % 2))
                    if hasattr(agent, "marginals"):
                        agent.marginals(context)
                        assert np.isfinite(agent.mean_reward(context)).all()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=rounds, args=(seed,)) for seed in range(NUM_THREADS)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # threads change places as often as they can
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    return errors


def assert_the_same(agent, other):
    assert agent.num_updates == other.num_updates
    state, expected = agent._state(), other._state()
    assert state.keys() == expected.keys()
    for name, array in expected.items():
        if name == "effective_sample_size":
            continue  # the gauge of the last filter, which may be one of estimates, and these are not repeated
        kept = slice(1) if name == "scalars" else slice(None)  # of two numbers the second is that gauge
        np.testing.assert_array_equal(state[name][kept], array[kept], err_msg=name)
    for name in agent._rngs:
        assert agent._rngs[name].bit_generator.state == other._rngs[name].bit_generator.state, name


def check(name, num_rounds):
    agent = made(name)
    calls = recorded(agent)
    assert shared_by_threads(agent, num_rounds) == []
    assert agent.num_updates == NUM_THREADS * num_rounds
    serial = made(name)
    for method, arguments, result in calls:
        assert getattr(serial, method)(*arguments) == result
    assert_the_same(agent, serial)


@pytest.mark.parametrize("name", NAMES)
def test_threads_that_share_an_agent_equal_the_same_calls_in_their_order(name):
    check(name, SLOW.get(name, (100,))[0])


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_rounds_of_threads_equal_the_same_calls_in_their_order(name):
    check(name, SLOW.get(name, (0, 10_000))[1])


def test_a_copy_and_a_file_made_while_threads_learn_are_whole(tmp_path):
    # A copy in the middle of an update would count a reward that its matrices lack.
    agent, done, wrong = made("LinTS"), threading.Event(), []

    def learn():
        while not done.is_set():
            agent.update([1.0, 0.0], 0, 1.0)

    thread = threading.Thread(target=learn)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(20):
            agent.save(tmp_path / "agent")
            for twin in (copy.deepcopy(agent), dts_gym.agents.Agent.load(tmp_path / "agent")):
                variance = twin.moments()[1][0, 0]  # of a precision of 1 and of 4 for each reward
                if round((1 / variance - 1) / 4) != twin.num_updates:
                    wrong.append(twin.num_updates)
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(before)
    assert wrong == []


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda agent: pickle.loads(pickle.dumps(agent))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("name", NAMES)
def test_copies_continue_alike_and_have_a_lock_of_their_own(name, twin):
    agent = made(name)
    agent.update([0.5, 1.0], 1, 1.0)
    other = twin(agent)
    with agent._lock:  # a copy that shared the lock would wait for ever
        thread = threading.Thread(target=other.update, args=([1.0, 0.5], 2, 0.0))
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
    agent.update([1.0, 0.5], 2, 0.0)
    assert other.act([0.3, 0.4]) == agent.act([0.3, 0.4])
    assert_the_same(other, agent)


def test_a_user_waits_while_another_has_the_agent():
    # Every public method that reads or changes what is learned, with its arguments.
    agent = make_agent("dTS", BanditProblem(3, 2, LINEAR, GaussianReward(0.5)), seed=0)
    x = [1.0, 0.5]
    calls = {
        "act": (x,),
        "act_with_probability": (x,),
        "add_actions": (None, 1),
        "retire": (0,),
        "action_probabilities": (x, 2),
        "begin_run": (5,),
        "credible_interval": (x,),
        "marginals": (x,),
        "mean_reward": (x,),
        "moments": (),
        "predict": (x,),
        "reseed": (0,),
        "reset": (0,),
        "sample_chain": (),
        "sample_parameters": (),
        "save": ("",),
        "spawn": (2,),
        "update": (x, 0, 1.0),
    }
    public = {name for name in dir(agent) if name[0] != "_" and callable(getattr(agent, name))}
    assert set(calls) == public - {
        "adopt_tuning",  # this one and the next do nothing for an agent whose exploration was set
        "choose_exploration",
        "from_env",
        "load",
        "together",
        "warn",
    }

    class Counting:
        entered = 0

        def __enter__(self):
            self.entered += 1

        def __exit__(self, *error):
            return None

    for name, arguments in calls.items():
        agent._lock = Counting()
        try:
            getattr(agent, name)(*arguments)
        except OSError:
            assert name == "save"
        assert agent._lock.entered, name
