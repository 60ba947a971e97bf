"""One door for numbers: what is accepted, and what is refused in the same words, whatever the function."""

import inspect

import gymnasium as gym
import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, GaussianReward, make_agent, random_linear_prior
from dts_gym.agents import Agent
from dts_gym.datasets import fetch_release
from dts_gym.envs import DiffusionBanditEnv, SyntheticBanditEnv
from dts_gym.harness.experiment import table
from dts_gym.posteriors.glm.glm_table import GLMTable
from dts_gym.pretraining import fit
from dts_gym.problem.rewards import reward_model
from dts_gym.utils import validation

PROBLEM = BanditProblem(4, 2, random_linear_prior(2, 1), GaussianReward(0.5))
MASKED = np.ma.masked_array([1.0, 2.0], [False, True])
REFUSED_SCALARS = [
    np.ma.masked,
    np.nan,
    np.inf,
    1 + 2j,
    np.complex128(1 + 2j),
    "1.5",
    b"1",
    True,
    np.True_,
    None,
    [1.0],
]
REFUSED_ARRAYS = [
    MASKED,
    [MASKED[0], np.ma.masked],
    np.array([1.0, np.nan]),
    np.array([1.0, 2j]),
    [1.0, 2j],
    [1.0, np.complex128(2)],
    ["1.5", "2"],
    np.array(["1.5", 2.0], dtype=object),
    np.array([1.0, np.complex128(2)], dtype=object),
    np.array([True, False]),
    [True, 1.0],
    [10**400, 1.0],
    [[1.0], [1.0, 2.0]],
]


def accepted_scalars(value):
    kinds = [value, np.float64(value), np.float32(value), np.array(value)]
    return [*kinds, int(value), np.int8(value), np.int64(value)] if value == int(value) else kinds


@pytest.mark.parametrize("value", REFUSED_SCALARS, ids=repr)
def test_scalars_that_are_no_numbers_are_refused_in_one_voice(value):
    for door in (validation.number, validation.positive, validation.fraction):
        with pytest.raises(ValueError, match=r"^x must be a .*number"):
            door("x", value)
    with pytest.raises(ValueError, match=r"^x must be an integer >= 0"):
        validation.integer("x", value, 0)


@pytest.mark.parametrize("value", REFUSED_ARRAYS, ids=repr)
def test_arrays_that_are_no_numbers_are_refused_in_one_voice(value):
    with pytest.raises(ValueError, match=r"^x must be"):
        validation.finite_array("x", value, (2,))
    with pytest.raises(ValueError, match=r"^x must be"):
        validation.integers("x", value, 2, 5)


@pytest.mark.parametrize("value", [1.0, 0.5])
def test_scalars_of_every_kind_are_the_same_number(value):
    assert {validation.number("x", one) for one in accepted_scalars(value)} == {value}
    assert {type(validation.number("x", one)) for one in accepted_scalars(value)} == {float}


def test_integers_of_every_kind_are_the_same_integer():
    given = [3, np.int8(3), np.uint64(3), np.array(3)]
    assert [validation.integer("x", one, 0) for one in given] == [3] * 4
    assert {type(validation.integer("x", one, 0)) for one in given} == {int}


def test_arrays_of_every_kind_are_the_same_numbers():
    pandas, expected = pytest.importorskip("pandas"), np.array([1.0, 2.0])
    kinds = [[1, 2], (1.0, 2), [np.float32(1), np.int8(2)], [np.array(1.0), 2], expected.astype(np.float32),
             np.ma.masked_array([1.0, 2.0]), np.array([1, 2.0], dtype=object), pandas.Series([1, 2]),
             pandas.Series([1.0, 2.0], dtype="Float64")]  # fmt: skip
    for value in kinds:
        np.testing.assert_array_equal(validation.finite_array("x", value, (2,)), expected)
    with pytest.raises(ValueError, match=r"^x must be finite"):
        validation.finite_array("x", pandas.Series([1.0, None], dtype="Float64"), (2,))


def test_cpu_tensors_are_numbers_unless_they_record_gradients():
    torch = pytest.importorskip("torch")
    assert validation.number("x", torch.tensor(0.5)) == 0.5
    assert validation.integer("x", torch.tensor(3), 0) == 3
    np.testing.assert_array_equal(validation.finite_array("x", torch.tensor([1.0, 2.0]), (2,)), [1, 2])
    agent, twin = make_agent("LinTS", PROBLEM, seed=0), make_agent("LinTS", PROBLEM, seed=0)
    agent.update(torch.tensor([1.0, 2.0]), torch.tensor(1), torch.tensor(0.5))
    twin.update([1.0, 2.0], 1, 0.5)
    assert agent.act(torch.tensor([1.0, 0.0])) == twin.act([1.0, 0.0])
    for value in (torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([1.0, 2.0], dtype=torch.complex64)):
        with pytest.raises(ValueError, match=r"^context must be an array of numbers"):
            agent.act(value)
    with pytest.raises(ValueError, match=r"^x must be a finite number"):
        validation.number("x", torch.tensor(0.5, requires_grad=True))


# Every public method of an agent that takes numbers, with right arguments by name.
X = np.array([0.5, 1.0])
CALLS = {
    "act": {"context": X, "size": 2},
    "act_with_probability": {"context": X, "num_shared": 3},
    "action_probabilities": {"context": X, "num_draws": 3, "num_shared": 3},
    "begin_run": {"num_rewards": 5},
    "add_actions": {"count": 2},
    "choose_exploration": {"seed": 0},
    "retire": {"action": 1},
    "credible_interval": {"context": X, "level": 0.9},
    "marginals": {"context": X},
    "mean_reward": {"context": X},
    "predict": {"observation": X},
    "reset": {"seed": 1},
    "reseed": {"seed": 1},
    "sample_parameters": {"size": 2},
    "spawn": {"count": 2},
    "update": {"context": X, "action": 1, "reward": 0.5},
}
NO_NUMBERS = {"adopt_tuning", "moments", "sample_chain", "save", "load", "from_env", "together", "warn"}
NOT_NUMBERS = {
    "action_name",
    "action_names",
    "item_features",
    "mask",
    "method",
    "pending",
    "state",
    "episode_start",
    "deterministic",
}


def test_every_method_with_numbers_is_in_the_table():
    for agent_id in ("dTS", "LinUCB", "EpsilonGreedy", "IDS"):
        cls = dts_gym.registry.agent_class(agent_id)
        methods = {name for name, _ in inspect.getmembers(cls, inspect.isroutine) if name[0] != "_"}
        assert methods - NO_NUMBERS <= set(CALLS), "a new method needs a row in CALLS, or in NO_NUMBERS"
    for name, arguments in CALLS.items():
        cls = dts_gym.agents.DiffusionTS
        taken = set(inspect.signature(getattr(cls, name)).parameters) - {"self"} - NOT_NUMBERS
        assert taken == set(arguments), f"{name}: a new argument needs a value in CALLS, or its name in NOT_NUMBERS"


@pytest.mark.parametrize("method", CALLS)
def test_methods_refuse_what_is_no_number_and_change_nothing(method, tmp_path):
    agent = make_agent("dTS", PROBLEM, seed=0)
    agent.update([[1.0, 0.0]] * 3, [0, 1, 2], [1.0, 0.0, 2.0])
    agent.save(tmp_path / "before")
    for name, right in CALLS[method].items():
        optional = (
            inspect.signature(getattr(Agent, method, getattr(type(agent), method))).parameters[name].default is None
        )
        for wrong in REFUSED_ARRAYS if isinstance(right, np.ndarray) else REFUSED_SCALARS:
            if not (wrong is None and optional):
                with pytest.raises(ValueError, match=r"^(context|observation|" + name + ") must"):
                    getattr(agent, method)(**{**CALLS[method], name: wrong})
    agent.save(tmp_path / "after")
    assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()


SETTINGS = {
    "dTS": {"branch": np.int64(1), "exploration": np.float32(0.5), "horizon": np.int32(9), "pool_size": np.int64(7)},
    "LinTS": {"intercept": np.True_, "noise_std": np.float32(0.5)},
    "EpsilonGreedy": {"epsilon": np.float32(0.25)},
    "IDS": {"num_draws": np.uint8(8)},
    "MixTS": {"num_components": np.int64(2)},
    "JointTS": {"branch": np.int64(0)},
}


@pytest.mark.parametrize("agent_id", SETTINGS)
def test_agents_with_numpy_settings_are_saved(agent_id, tmp_path):
    agent = make_agent(agent_id, PROBLEM, seed=0, **SETTINGS[agent_id])
    agent.update([0.5, 1.0], 1, 1.0)
    agent.save(tmp_path / "agent")
    loaded = Agent.load(tmp_path / "agent")
    assert loaded.act([0.5, 1.0]) == agent.act([0.5, 1.0])
    assert repr(loaded) == repr(agent)
    assert not any(isinstance(value, np.generic) for value in agent._settings.values())


def test_labels_name_values_not_types():
    specs = [
        dts_gym.AgentSpec("LinTS", {"exploration": value, "branch": np.int64(1)}) for value in np.float32([0.5, 1])
    ]
    assert [spec.label for spec in specs] == ["LinTS (exploration 0.5, branch 1)", "LinTS (exploration 1, branch 1)"]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: gym.make("DiffusionBandit-v0", regret_info="false"), "regret_info"),
        (lambda: gym.make("SharedDiffusionBandit-v0", fixed_features="no"), "fixed_features"),
        (lambda: dts_gym.run(gym.make("DiffusionBandit-v0"), None, 5, progress="no"), "progress"),
        (lambda: dts_gym.run(gym.make("DiffusionBandit-v0"), None, 5, warm_start="no"), "warm_start"),
        (lambda: dts_gym.compare("DiffusionBandit-v0", ["Random"], seeds=1, num_rounds=2, tune="no"), "tune"),
        (lambda: dts_gym.compare("DiffusionBandit-v0", ["Random"], seeds=1, num_rounds=2, bracket=1), "bracket"),
        (lambda: dts_gym.compare("DiffusionBandit-v0", ["Random"], seeds=1, num_rounds=2, redraw_prior="no"),
         "redraw_prior"),
        (lambda: dts_gym.compare("DiffusionBandit-v0", ["Random"], seeds=1, num_rounds=2, env_settings="x"),
         "env_settings"),
        (lambda: make_agent("TunedTS", PROBLEM, expansion="nonsense"), "expansion"),
        (lambda: make_agent("GLM-TS", PROBLEM, expansion="nonsense"), "expansion"),
        (lambda: make_agent("MixTS", PROBLEM, expansion=np.ones(2)), "expansion"),
        (lambda: dts_gym.register_agent("", Agent), "agent_id"),
        (lambda: BanditProblem(2, 2, PROBLEM.prior, GaussianReward(), past_parameters=np.ones((0, 2))),
         "past_parameters"),
        (lambda: dts_gym.LinearDiffusionPrior(5, [np.eye(2)]), "weights"),
        (lambda: dts_gym.LinearDiffusionPrior([], 5), "covariances"),
        (lambda: make_agent("dTS", PROBLEM, approximation=np.ones(2)), "approximation"),
        (lambda: make_agent("dTS", PROBLEM, pool=np.ones(2)), "pool"),
        (lambda: make_agent("dTS", PROBLEM, dtype=np.ones(2)), "dtype"),
        (lambda: BanditProblem(2, 2, PROBLEM.prior, GaussianReward(), features=np.ones(2)), "features"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_nonsense_is_refused_by_the_name_of_the_argument(make, name):
    with pytest.raises(ValueError, match=rf"^(agent '\w+': )?{name} must"):
        make()


NETS = BanditProblem(4, 2, dts_gym.random_mlp_prior(2, 2), GaussianReward(0.5))
VECTORS = np.random.default_rng(0).normal(size=(50, 2))
# Every argument that is one of several words -> its name, and a function of the word.
CHOICES = {
    "approximation": lambda word: make_agent("dTS", NETS, approximation=word),
    "surrogate": lambda word: make_agent("dTS", NETS, surrogate=word),
    "pool": lambda word: make_agent("dTS", NETS, pool=word),
    "expansion": lambda word: make_agent("dTS", PROBLEM, expansion=word),
    "dtype": lambda word: make_agent("LinTS", PROBLEM, dtype=word),
    "mode": lambda word: GLMTable(GaussianReward(), 2, word),
    "agent id": lambda word: make_agent(word, PROBLEM),
    "backend": lambda word: dts_gym.compare("DiffusionBandit-v0", ["Random"], seeds=1, num_rounds=2, backend=word),
    "autoreset_mode": lambda word: gym.make_vec("DiffusionBandit-v0", autoreset_mode=word),
    "render_mode": lambda word: DiffusionBanditEnv(render_mode=word),
    "feature_law": lambda word: DiffusionBanditEnv(feature_law=word),
    "link": lambda word: DiffusionBanditEnv(link=word),
    "reward": lambda word: DiffusionBanditEnv(reward=word),
    "reward of a model": lambda word: reward_model(word),
    "reward of an environment": lambda word: make_agent("LinTS", gym.make("CartPole-v1"), reward=word, noise_std=1.0),
    "features": lambda word: BanditProblem(4, 2, PROBLEM.prior, GaussianReward(), features=word),
    "prior": lambda word: SyntheticBanditEnv(prior=word, num_past=50),
    "shape": lambda word: SyntheticBanditEnv(shape=word),
    "schedule": lambda word: SyntheticBanditEnv(prior="diffusion", schedule=word, num_past=50),
    "variance": lambda word: fit(VECTORS, 3, variance=word, max_steps=0),
    "activation": lambda word: dts_gym.random_mlp_prior(2, 2, activation=word),
    "data": lambda word: fetch_release(word),
    "style": lambda word: table(None, word),
}
NO_WORDS = ["nonsense", b"map", 5, True, np.ma.masked, [1.0], ["map"], np.array(["map", "a"]), np.ones(2)]


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("word", NO_WORDS, ids=repr)
def test_what_is_none_of_the_words_is_refused_by_the_name_of_the_argument(name, word):
    with pytest.raises((ValueError, FileNotFoundError), match=rf"^{name.partition(' of ')[0]} must ") as caught:
        CHOICES[name](word)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("make", [lambda: gym.make("DiffusionBandit-v0"), lambda: gym.make_vec("DiffusionBandit-v0")])
def test_seeds_of_numpy_are_seeds_and_booleans_are_none(make):
    env = make().unwrapped
    first, again = env.reset(seed=3)[0], env.reset(seed=np.int64(3))[0]
    np.testing.assert_array_equal(first, again)
    for wrong in (True, np.True_, -1, 1.5, "3"):
        with pytest.raises(ValueError, match=r"^seed must"):
            env.reset(seed=wrong)
    with pytest.raises(ValueError, match=r"^options must be"):
        env.reset(options=["instance_seed"])


def test_runs_accept_seeds_of_numpy():
    for make in (lambda: gym.make("DiffusionBandit-v0"), lambda: gym.make_vec("DiffusionBandit-v0")):
        plain, other = (dts_gym.run(make(), make_agent("LinTS", make(), seed=s), 9, seed=s) for s in (3, np.int64(3)))
        np.testing.assert_array_equal(plain.rewards, other.rewards)
