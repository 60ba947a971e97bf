"""Every public function reads its numbers through one door: a new function or parameter that does not is found here.

The public functions are listed by their signatures, and every parameter that may be a number has a right value below.
In its place each of the values that are no numbers must be refused by the parameter's name, with nothing changed, and
the same number in every other kind must be accepted.
"""

import importlib
import inspect
import pickle
import re
from typing import Any, NamedTuple

import numpy as np
import pytest

import dts_gym
from dts_gym import (
    BanditInstance,
    BanditProblem,
    FeaturePrior,
    GaussianReward,
    random_linear_prior,
    random_mlp_prior,
    registry,
)
from dts_gym.callbacks import Metrics, action_entropy, posterior_width
from dts_gym.datasets import Ratings, factorise, sample_shape, shape_dim
from dts_gym.envs import (
    BanditVectorEnv,
    CatalogueBanditEnv,
    ClassificationBanditEnv,
    DiffusionBanditEnv,
    LoggedBanditEnv,
    SharedDiffusionBanditEnv,
    SyntheticBanditEnv,
)
from dts_gym.experiment import kept_rounds
from dts_gym.identification import ScoreBelief, pose
from dts_gym.offpolicy import BanditLog, evaluate, learn, record, replay
from dts_gym.pretraining import fit
from dts_gym.priors.fitting import fit_gaussian, fit_linear_chain
from dts_gym.priors.misspecified import misspecified_prior, rescaled_prior
from dts_gym.priors.mixtures import fit_mixture
from dts_gym.priors.reverse_process import noise_schedule
from dts_gym.sweeps import Sweep, run_sweep
from dts_gym.theory import bayes_regret_bound, bound_terms, lints_bound
from truth import loud_denoisers

RNG = np.random.default_rng(0)
VECTORS = RNG.normal(size=(60, 2))
MIXED = dts_gym.MixedEffectPrior(np.eye(4), np.eye(8), np.eye(2))
PRIOR, GAUSSIAN = random_linear_prior(2, 1), GaussianReward(0.5)
TURNED = VECTORS[::-1].copy()
ITEMS = FeaturePrior.fit(VECTORS, TURNED)
PROBLEM = BanditProblem(4, 2, PRIOR, GAUSSIAN, past_parameters=VECTORS)
INSTANCE = BanditInstance(np.ones((4, 2)), GAUSSIAN)
RATED = np.arange(60, dtype=np.int32)
RATINGS = Ratings(RATED // 6 % 10, RATED % 6, (RATED * 7 % 5).astype(np.float32), np.arange(10), np.arange(6))
SEEN = {"id": "DiffusionBandit-v0"}
X, EYE = np.array([0.5, 1.0]), np.eye(2)


class Call(NamedTuple):
    """A public function, right values of its parameters that are numbers, its other arguments, what it may change."""

    function: Any
    numbers: dict[str, Any]
    others: dict[str, Any] = {}  # noqa: RUF012 - never written to
    changes: Any = None


def small_env():
    env = DiffusionBanditEnv(num_actions=4, dim=2, horizon=9)
    env.reset(seed=0)
    return env


ENV = small_env()
ENVS = BanditVectorEnv(small_env(), 2)
ENVS.reset(seed=0)
LOG = BanditLog(VECTORS, RATED % 4, VECTORS[:, 0], np.full((60, 4), 0.25))
CLICKS = BanditLog(VECTORS, RATED % 4, RATED % 2, np.full(60, 0.25))
LEARNED = learn(LOG, "sDM", PRIOR)
ROWS = LoggedBanditEnv(LOG)
ROWS.reset(seed=0)
IDENTIFIED = dts_gym.compare_identification("mab", ["Uniform"], budgets=4, seeds=2)
BELIEF = ScoreBelief(X, EYE)
LADDER = {"num_rounds": 5, "num_actions": 3, "dim": 2, "stds": [1.0, 1.0], "noise_std": 1.0}
SIZES = {"num_actions": 4, "dim": 2, "depth": 2, "horizon": 5, "noise_std": 1.0, "prior_seed": 0, "instance_seed": 0}
COMPARED = {"env_id": "DiffusionBandit-v0", "agents": ["LinTS"], "backend": "serial", "bracket": False}
ONCE = {"seeds": 1, "num_rounds": 3, "grid": [1.0], "num_workers": 1}
SWEPT = {"environments": [SEEN], "agents": ["LinTS"]}

CALLS = {
    "AffineLink": Call(dts_gym.AffineLink, {"weight": EYE, "offset": X}),
    "BanditInstance": Call(
        BanditInstance, {"parameters": np.ones((4, 2)), "fixed_context": X}, {"reward_model": GAUSSIAN}
    ),
    "BanditInstance.linear_predictor": Call(INSTANCE.linear_predictor, {"context": X, "action": 1}),
    "BanditInstance.linear_predictors": Call(INSTANCE.linear_predictors, {"context": X}),
    "BanditInstance.expected_rewards": Call(INSTANCE.expected_rewards, {"context": X}),
    "BanditProblem": Call(
        BanditProblem,
        {
            "num_actions": 4,
            "dim": 2,
            "horizon": 5,
            "past_parameters": VECTORS,
            "context_sample": VECTORS[:5],
            "item_features": VECTORS[:4],
        },
        {"prior": PRIOR, "reward_model": GAUSSIAN},
    ),
    "DiffusionPrior": Call(
        dts_gym.DiffusionPrior, {"covariances": [EYE, EYE], "branch": 1}, {"links": [dts_gym.AffineLink(EYE)]}
    ),
    "FeaturePrior": Call(
        FeaturePrior,
        {
            "effects": np.ones((3, 2)),
            "feature_cov": np.eye(3),
            "row_cov": EYE,
            "action_cov": EYE,
            "item_features": VECTORS,
            "scales": X,
        },
    ),
    "FeaturePrior.fit": Call(FeaturePrior.fit, {"theta": VECTORS, "item_features": TURNED, "noise_cov": EYE / 64}),
    "FeaturePrior.for_actions": Call(ITEMS.for_actions, {"item_features": VECTORS}),
    "FeaturePrior.residuals": Call(ITEMS.residuals, {"theta": VECTORS, "item_features": VECTORS}),
    "OffsetPrior": Call(dts_gym.OffsetPrior, {"action_means": np.ones((4, 2))}, {"residual": PRIOR}),
    "MixedEffectPrior.weights_of": Call(ITEMS.for_actions(VECTORS).weights_of, {"item_features": VECTORS}),
    "GaussianReward": Call(GaussianReward, {"noise_std": 1.0}),
    "RewardModel.check": Call(GAUSSIAN.check, {"reward": 1.0}),
    "LinearDiffusionPrior": Call(
        dts_gym.LinearDiffusionPrior, {"weights": [EYE], "covariances": [EYE, EYE], "offsets": [X], "branch": 1}
    ),
    "LinearDiffusionPrior.two_level": Call(PRIOR.two_level, {"branch": 1}),
    "ChainPrior.with_branch": Call(PRIOR.with_branch, {"branch": 1}),
    "Prior.sample": Call(PRIOR.sample, {"num_actions": 3}, {"rng": RNG}, RNG),
    "ChainPrior.sample_chain": Call(PRIOR.sample_chain, {"num_actions": 3}, {"rng": RNG}, RNG),
    "MLPLink": Call(
        dts_gym.MLPLink, {"weights": [np.ones((3, 2)), np.ones((2, 3))], "biases": [np.zeros(3), np.zeros(2)]}
    ),
    "choose_branch": Call(
        dts_gym.choose_branch,
        {"catalogues": [VECTORS[:5], VECTORS[5:9]], "branches": [0, 1], "seed": 0},
        {"prior": PRIOR},
    ),
    "choose_exploration": Call(
        dts_gym.choose_exploration,
        {"seed": 0, "horizon": 3, "contexts": VECTORS[:5], "tuning_rounds": 9},
        {"problem": PROBLEM, "agent_id": "LinTS"},
    ),
    "compare": Call(dts_gym.compare, {**ONCE, "tuning_seeds": 1}, {**COMPARED, "tune": True}),
    "compare, lists": Call(dts_gym.compare, {"seeds": [1, 2], "tuning_seeds": [1]}, {**COMPARED, "num_rounds": 3}),
    "tune": Call(dts_gym.tune, ONCE, COMPARED),
    "aggregate": Call(
        lambda **given: dts_gym.aggregate([dts_gym.compare(**{**COMPARED, "seeds": 2, "num_rounds": 3})], **given),
        {"level": 0.9, "num_resamples": 9, "seed": 0},
        {"reference": "LinTS"},
    ),
    "run": Call(
        lambda **given: dts_gym.run(small_env(), dts_gym.make_agent("LinTS", PROBLEM, seed=0), **given),
        {"num_rounds": 5, "seed": 1},
    ),
    "Sweep": Call(
        lambda **given: run_sweep(Sweep(**SWEPT, **given), backend="serial"),
        {"seeds": 1, "rounds": 3, "grid": [1.0], "tuning_seeds": 1},
    ),
    "run_sweep": Call(run_sweep, {"num_workers": 1}, {"sweep": Sweep(**SWEPT, seeds=1, rounds=2), "backend": "serial"}),
    "make_agent": Call(dts_gym.make_agent, {"seed": 0}, {"agent_id": "LinTS", "env_or_problem": PROBLEM}),
    "MixedEffectPrior": Call(
        dts_gym.MixedEffectPrior,
        {
            "mixing": np.eye(4),
            "effect_cov": np.eye(8),
            "action_cov": EYE,
            "effect_mean": np.ones(8),
            "action_means": np.ones((4, 2)),
        },
    ),
    "MixedEffectPrior.mix": Call(MIXED.mix, {"effects": np.ones(8)}),
    "MixedEffectPrior.draws": Call(MIXED.draws, {"size": 3}, {"rng": RNG}, RNG),
    "MixedEffectPrior.sample": Call(MIXED.sample, {"num_actions": 4}, {"rng": RNG}, RNG),
    "random_linear_prior": Call(
        random_linear_prior, {"dim": 2, "depth": 2, "stds": 1.0, "weight_norm": 1.0, "seed": 0, "branch": 1}
    ),
    "random_linear_prior, lists": Call(random_linear_prior, {"stds": [1.0, 0.5, 1.0]}, {"dim": 2, "depth": 2}),
    "random_mlp_prior": Call(
        random_mlp_prior, {"dim": 2, "depth": 2, "hidden": 4, "stds": 1.0, "seed": 0, "branch": 1}
    ),
    "BanditEnv.reset": Call(ENV.reset, {"seed": 1}, {}, ENV),
    "BanditEnv.reset, pinned": Call(lambda **given: ENV.reset(options=given), {"instance_seed": 1}, {}, ENV),
    "BanditEnv.step": Call(ENV.step, {"action": 1}, {}, ENV),
    "BanditVectorEnv": Call(BanditVectorEnv, {"num_envs": 2, "max_episode_steps": 3}, {"env": ENV}),
    "BanditVectorEnv.reset": Call(ENVS.reset, {"seed": 1}, {}, ENVS),
    "BanditVectorEnv.reset, lists": Call(ENVS.reset, {"seed": [1, 2]}, {}, ENVS),
    "BanditVectorEnv.step": Call(ENVS.step, {"actions": [1, 0]}, {}, ENVS),
    "DiffusionBanditEnv": Call(
        DiffusionBanditEnv,
        {**SIZES, "stds": 1.0, "weight_norm": 1.0, "prior_error": 0.5, "prior_scale": 2.0, "branch": 1},
    ),
    "SharedDiffusionBanditEnv": Call(SharedDiffusionBanditEnv, SIZES),
    "LoggedBanditEnv": Call(LoggedBanditEnv, {"horizon": 5}, {"log": LOG}),
    "ClassificationBanditEnv": Call(
        ClassificationBanditEnv,
        {"X": VECTORS, "y": RATED % 3, "dim": 2, "label_noise": 0.5, "horizon": 5},
    ),
    "RowsEnv.reset": Call(ROWS.reset, {"seed": 1}, {}, ROWS),
    "RowsEnv.step": Call(ROWS.step, {"action": 1}, {}, ROWS),
    "BanditLog": Call(
        BanditLog,
        {"contexts": VECTORS, "actions": RATED % 4, "rewards": VECTORS[:, 0], "propensities": np.full(60, 0.25)}
        | {"num_actions": 4, "action_features": np.eye(4)},
    ),
    "evaluate": Call(
        evaluate,
        {"level": 0.9, "noise_std": 0.5, "clip": 2.0, "alpha": 0.5, "lam": 0.1, "folds": 3, "seed": 0}
        | {"max_weight": 4.0, "policy": np.full((60, 4), 0.25), "action_features": np.arange(4)},
        {"log": LOG, "estimators": ["IPS", "CIPS", "MIPS", "IX"]},
    ),
    "learn": Call(
        learn,
        {"alpha": 0.5, "lam": 0.1, "regularisation": 0.1, "max_steps": 2},
        {"log": LOG, "learner": "ES"},
    ),
    "learn, pessimism": Call(
        learn, {"pessimism": 1.0, "noise_std": 0.5, "seed": 0}, {"log": LOG, "learner": "LCB", "prior": PRIOR}
    ),
    "learn, guarantee": Call(
        learn, {"level": 0.9, "noise": 0.5, "reference": np.ones((4, 2))}, {"log": CLICKS, "learner": "LS-LIN"}
    ),
    "record": Call(
        lambda **given: record(small_env(), dts_gym.make_agent("Random", PROBLEM, seed=0), **given),
        {"num_rounds": 3, "seed": 1},
    ),
    "replay": Call(lambda **given: replay(LOG, dts_gym.make_agent("LinTS", PROBLEM, seed=0), **given), {"seed": 0}),
    "LearnedPolicy.action_probabilities": Call(LEARNED.action_probabilities, {"contexts": VECTORS[:3]}),
    "LearnedPolicy.act": Call(LEARNED.act, {"contexts": X}),
    "identify": Call(
        dts_gym.identify, {"budget": 5, "seed": 0, "context": X}, {"env_or_problem": PROBLEM, "rule": "TopTwoTS"}
    ),
    "compare_identification": Call(
        dts_gym.compare_identification,
        {"budgets": 5, "seeds": 2, "context": X, "num_workers": 1},
        {"env_id_or_problem": PROBLEM, "rules": ["TopTwoTS"], "backend": "serial"},
    ),
    "compare_identification, lists": Call(
        dts_gym.compare_identification,
        {"budgets": [4, 5], "seeds": [0, 1]},
        {"env_id_or_problem": "mab", "rules": ["Uniform"], "backend": "serial"},
    ),
    "IdentificationComparison.errors": Call(IDENTIFIED.errors, {"budget": 4}, {"label": "Uniform"}),
    "IdentificationComparison.simple_regret": Call(IDENTIFIED.simple_regret, {"budget": 4}, {"label": "Uniform"}),
    "IdentificationComparison.values": Call(
        IDENTIFIED.values, {"budget": 4}, {"label": "Uniform", "measure": "simple regret"}
    ),
    "ScoreBelief": Call(ScoreBelief, {"mean": X, "cov": EYE, "noise_std": 0.5}),
    "ScoreBelief.update": Call(BELIEF.update, {"action": 1, "reward": 0.5}, {}, BELIEF),
    "pose": Call(pose, {"seed": 0}, {"name": "mab", "settings": {}}),
    "CatalogueBanditEnv": Call(
        CatalogueBanditEnv,
        {"num_live": 4, "change": 0.5, "every": 2, "num_features": 2, "feature_std": 1.0, "item_std": 0.5}
        | {name: value for name, value in SIZES.items() if name not in ("num_actions", "depth")},
    ),
    "SyntheticBanditEnv": Call(
        SyntheticBanditEnv,
        {"num_past": 50, "past_seed": 0, **{name: value for name, value in SIZES.items() if name != "prior_seed"}},
    ),
    "factorise": Call(
        factorise, {"rank": 1, "regularisation": 0.5, "num_iterations": 2, "seed": 0}, {"ratings": RATINGS}
    ),
    "sample_shape": Call(sample_shape, {"size": 3, "dim": 2}, {"name": "cross", "rng": RNG}, RNG),
    "shape_dim": Call(shape_dim, {"dim": 2}, {"name": "cross"}),
    "fit": Call(
        fit,
        {"theta": VECTORS, "depth": 3, "noise_cov": EYE / 64, "branch": 1, "hidden": 8, "blocks": 1, "max_steps": 0}
        | {"batch_size": 16, "learning_rate": 0.5, "held_out": 0.25, "noise_rounds": 1, "seed": 0},
        {"max_steps": 0},
    ),
    "bayes_regret_bound": Call(bayes_regret_bound, {**LADDER, "active": [2], "delta": 0.5}),
    "bound_terms": Call(bound_terms, {**LADDER, "active": [2]}),
    "lints_bound": Call(lints_bound, {**LADDER, "delta": 0.5}),
    "fit_gaussian": Call(fit_gaussian, {"parameters": VECTORS}),
    "fit_linear_chain": Call(fit_linear_chain, {"parameters": VECTORS, "depth": 2, "branch": 1}),
    "fit_mixture": Call(fit_mixture, {"parameters": VECTORS, "num_components": 2, "max_components": 3, "seed": 0}),
    "misspecified_prior": Call(misspecified_prior, {"prior_error": 0.5, "seed": 0}, {"prior": PRIOR}),
    "rescaled_prior": Call(rescaled_prior, {"prior_scale": 2.0}, {"prior": PRIOR}),
    "noise_schedule": Call(noise_schedule, {"depth": 3}),
    "Metrics": Call(Metrics, {"every": 5}, {"report": print}),
    "kept_rounds": Call(kept_rounds, {"num_rounds": 5}),
    "action_entropy": Call(action_entropy, {"context": X}, {"agent": dts_gym.make_agent("LinTS", PROBLEM, seed=0)}),
    "posterior_width": Call(posterior_width, {"context": X}, {"agent": dts_gym.make_agent("LinTS", PROBLEM, seed=0)}),
}
# Settings of agents by name, and what else must be set where one of them is.
SETTINGS = {
    "seed": 0, "exploration": 0.5, "horizon": 9, "noise_std": 0.5, "branch": 0, "prior_mean": X, "prior_cov": EYE,
    "epsilon": 0.5, "num_draws": 8, "num_components": 2, "num_particles": 2, "num_steps": 2, "pool_size": 20,
    "num_shared_draws": 1, "contexts": VECTORS[:5], "tuning_rounds": 9,
}  # fmt: skip
BESIDE = {
    "num_steps": {"approximation": "slice", "num_particles": 2},
    "contexts": {"exploration": "auto"}, "tuning_rounds": {"exploration": "auto"},
}  # fmt: skip
for agent_id in dts_gym.agent_ids():
    if agent_id not in ("Oracle", "SB3"):
        prior = {"LaplaceDPS": loud_denoisers(), "meTS": MIXED}.get(agent_id, PRIOR)
        problem = BanditProblem(4, 2, prior, GAUSSIAN, past_parameters=VECTORS)
        known = {"seed", *registry.agent_settings(agent_id)}
        for setting in sorted(known & set(SETTINGS)):
            fixed = {"agent_id": agent_id, "env_or_problem": problem, **BESIDE.get(setting, {})}
            CALLS[f"{agent_id}: {setting}"] = Call(dts_gym.make_agent, {setting: SETTINGS[setting]}, fixed)

MODULES = ("", ".envs", ".priors", ".problem", ".datasets", ".pretraining", ".sweeps", ".experiment", ".callbacks",
           ".offpolicy", ".identification")  # fmt: skip
# What is no number by its name, where the signature says Any or an alias.
NO_NUMBERS = {
    "env_or_problem", "settings", "agent", "env", "prior", "mixture", "mask", "masks", "pending", "state",
    "episode_start", "axes", "rng", "covs", "self", "args", "kwargs", "arrays", "options", "env_settings",
    "tuning_settings", "noise", "report", "device", "rule",
}  # fmt: skip
# Functions, and parameters of one, without a door, and why.
WITHOUT = {
    "formulas of arrays that run in every round":
        r"(RewardModel|GaussianReward|BernoulliReward|PoissonReward|Link|AffineLink|MLPLink)\.(?!check$)\w+",
    "results and parts of episodes, which the package makes":
        r"BranchChoice|RunResult|RunResult\.instance|Factors|Ratings|RunRecord|Round|SweepResult|Experiment"
        r"|BanditEnv\.(begin_episode|next_contexts|pinned_by|masks)|CatalogueBanditEnv\.masks|MovieFeatures",
    "abstract: its classes have rows": "BanditEnv",
    "the same door as factorise, behind files": "cached_factors",
    "results of logs, which the package makes, and policies of a user's own":
        r"Estimate|Evaluation|Evaluation\.\w+|ReplayResult|ReplayResult\.interval|LearnedPolicy|Policy\.\w+",
    "results of rules, which the package makes": r"Identification|IdentificationComparison(\.interval)?",
    "what a rule calls in every round, and what a run calls of it":
        r"(Score)?Belief\.(draw|difference_variances)|RunStreams\.\w+|Rule\.start",
    "read from files, or rows as NumPy's indexing reads them": r"BanditLog\.(read_obd|read_vw|rows|from_obp)",
    "abstract: its environments have rows": "RowsEnv",
    "ends that may not be known, see its test": "evaluate: reward_range",
    "what is saved is checked where it is read": r"\w+_from_state",
    "settings that were checked": r"label_of|MixedEffectPrior\.(with_weights|grown)",
    "names of catalogues, which may be words": "fit: catalogues",
}  # fmt: skip
NUMBER = re.compile(r"\b(int|float|Array|IntArray|NDArray|Seed|Setting|Any)\b")


def public_functions():
    """Name and function of everything public but agents, whose settings and methods have tables of their own."""
    for end in MODULES:
        module = importlib.import_module(f"dts_gym{end}")
        for name in module.__all__:
            found = getattr(module, name)
            if not inspect.isclass(found):
                if inspect.isfunction(found):
                    yield name, found
            elif not issubclass(found, dts_gym.agents.Agent | Exception) and found.__module__.startswith("dts_gym"):
                yield name, found
                for base in found.__mro__:
                    for method, function in vars(base).items():
                        if base.__module__.startswith("dts_gym") and method[0] != "_" and inspect.isfunction(function):
                            yield f"{base.__name__}.{method}", function


def test_every_parameter_that_may_be_a_number_has_a_row():
    lacking = []
    rows = {}
    for name, call in CALLS.items():
        rows.setdefault(name.partition(",")[0], set()).update(call.numbers)
    for name, function in dict(public_functions()).items():
        kind = name.rpartition(".")[2]
        alike = {number for row, numbers in rows.items() if row.rpartition(".")[2] == kind for number in numbers}
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name in NO_NUMBERS or not NUMBER.search(re.sub(r"Sequence\[Link\]|\[[^\]]*Any[^\]]*\]", "",
                                                                      str(parameter.annotation))):  # fmt: skip
                continue
            places = name, f"{name}: {parameter.name}"
            if parameter.name not in alike and not any(
                re.fullmatch(without, place) for without in WITHOUT.values() for place in places
            ):
                lacking.append(places[1])
    assert lacking == [], "a new parameter needs a right value in CALLS, or its name in NO_NUMBERS"


def test_every_setting_of_an_agent_has_a_row():
    words = {"approximation", "surrogate", "expansion", "pool", "dtype", "intercept", "mixture", "adapt_scale"}
    for agent_id in dts_gym.agent_ids():
        if agent_id != "SB3":
            assert set(registry.agent_settings(agent_id)) <= words | set(SETTINGS), agent_id


class Odd:
    def __repr__(self):
        return "an object"


NO_SCALARS = [np.ma.masked, np.nan, np.inf, 1 + 2j, np.complex128(1 + 2j), "1.5", b"1", True, np.True_, [[1.0]],
              np.array([1.0, 2.0, 3.0, 4.0]), Odd()]  # fmt: skip


def is_list_of_arrays(right):
    return isinstance(right, list) and isinstance(right[0], np.ndarray)


def other_kinds(right, nan=True):
    """What is no number, in place of a right value; with NaN unless that is a number here."""
    if is_list_of_arrays(right):
        return [5, "x", *([wrong, *right[1:]] for wrong in other_kinds(right[0]))]
    if np.ndim(right) == 0:
        return NO_SCALARS
    array = np.asarray(right, dtype=np.float64)
    first = (0,) * array.ndim
    masked, missing, text = np.ma.masked_array(array, False), array.copy(), array.astype(object)
    masked[first], missing[first], text[first] = np.ma.masked, np.nan, "1.5"
    wrong = [masked, text, array + 1j, array.astype(str), array.astype(bool), "x", 5j, *[missing] * nan]
    try:
        import torch
    except ImportError:
        return wrong
    return [*wrong, torch.tensor(array, requires_grad=True)]


def same_numbers(right):
    """The same number or numbers, in the other kinds that are accepted."""
    if is_list_of_arrays(right):
        return [tuple(right), [part.tolist() for part in right]]
    try:
        import torch
    except ImportError:
        torch = None
    if np.ndim(right) == 0:
        kinds = [np.array(right)]
        kinds += [np.int64(right), np.uint8(right)] if isinstance(right, int) else [np.float32(right)]
        return [*kinds, torch.tensor(right)] if torch else kinds
    array = np.asarray(right)
    kinds = [array, array.tolist(), tuple(array.tolist())]
    kinds += [torch.tensor(array)] if torch else []
    try:
        import pandas
    except ImportError:
        return kinds
    return [*kinds, pandas.Series(array) if array.ndim == 1 else pandas.DataFrame(array)]


def content(thing):
    return pickle.dumps(thing.bit_generator.state if isinstance(thing, np.random.Generator) else thing)


def called(name):
    """The call of that name; what trains networks is skipped where torch is missing."""
    if name == "fit":
        pytest.importorskip("torch", reason="torch is not installed")
    return CALLS[name]


ROWS = [(name, parameter) for name, call in CALLS.items() for parameter in call.numbers]


@pytest.mark.parametrize(("name", "parameter"), ROWS, ids=[" ".join(row) for row in ROWS])
@pytest.mark.filterwarnings("ignore")
def test_no_number_passes_the_door(name, parameter):
    call = called(name)
    right = call.numbers[parameter]
    for wrong in other_kinds(right, nan="BanditInstance." not in name):  # formulas, in which NaN gives NaN
        before = content(call.changes)
        with pytest.raises(ValueError, match=rf"^(agent '.*': )?{parameter}(\[\d+\])? must ") as caught:
            call.function(**{**call.others, **call.numbers, parameter: wrong})
        assert content(call.changes) == before, wrong
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_number_passes_the_door(name):
    call = called(name)
    for parameter, right in call.numbers.items():
        for same in same_numbers(right):
            call.function(**{**call.others, **call.numbers, parameter: same})
            if isinstance(call.changes, DiffusionBanditEnv | BanditVectorEnv):
                call.changes.reset(seed=0)
