"""Agents on priors of mixed effects: the contract, batches under bounds, files, and what is refused."""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import BanditProblem, BernoulliReward, GaussianReward, MixedEffectPrior, make_agent, random_linear_prior
from dts_gym.agents import Agent
from dts_gym.checks import check_agent

K, D = 6, 2
rng = np.random.default_rng(0)
WEIGHTS = MixedEffectPrior(rng.normal(size=(K, 2)), np.eye(4), 0.3 * np.eye(D), None, rng.normal(size=(K, D)))
MAPS = MixedEffectPrior(rng.normal(size=(K, D, 3)), np.eye(3), np.array([np.eye(D), np.zeros((D, D))] * 3))
SETTINGS = [
    ("dTS", {}),
    ("dTS", {"exploration": "decay", "horizon": 40}),
    ("dUCB", {}),
    ("dUCB", {"exploration": "max"}),
    ("IDS", {"num_draws": 16}),
    ("Greedy", {}),
]


def problem_of(prior: MixedEffectPrior, **more) -> BanditProblem:
    return BanditProblem(K, D, prior, GaussianReward(0.5), **more)


def env_of(prior: MixedEffectPrior) -> gym.Env:
    return gym.make("DiffusionBandit-v0", num_actions=K, prior=prior, noise_std=0.5)


def taught(agent_id: str, prior: MixedEffectPrior = WEIGHTS, **settings) -> Agent:
    agent = make_agent(agent_id, problem_of(prior), seed=1, **settings)
    stream = np.random.default_rng(2)
    for _ in range(15):
        agent.update(stream.normal(size=D), int(stream.integers(4)), float(stream.normal()))
    return agent


@pytest.mark.parametrize("prior", [WEIGHTS, MAPS], ids=["weights", "maps"])
@pytest.mark.parametrize(("agent_id", "settings"), SETTINGS)
def test_agents_keep_the_contract(agent_id: str, settings: dict, prior: MixedEffectPrior) -> None:
    check_agent(functools.partial(make_agent, agent_id, **settings), env_of(prior))


def test_me_ts_is_dts_draw_for_draw_and_keeps_the_contract() -> None:
    check_agent("meTS", env_of(WEIGHTS))
    contexts = np.random.default_rng(3).normal(size=(30, D))
    np.testing.assert_array_equal(taught("meTS").act(contexts), taught("dTS").act(contexts))


def test_me_ts_refuses_other_priors() -> None:
    with pytest.raises(ValueError, match="must have a MixedEffectPrior of mixing weights"):
        make_agent("meTS", problem_of(MAPS))
    with pytest.raises(ValueError, match="must have a MixedEffectPrior of mixing weights"):
        make_agent("meTS", BanditProblem(K, D, random_linear_prior(D, 1), GaussianReward()))


@pytest.mark.parametrize("agent_id", ["dTS", "dUCB", "meTS"])
def test_a_loaded_agent_goes_on_bit_for_bit(agent_id: str, tmp_path) -> None:
    agent = taught(agent_id)
    agent.save(tmp_path / "agent.npz")
    loaded = Agent.load(tmp_path / "agent.npz")
    contexts = np.random.default_rng(4).normal(size=(30, D))
    np.testing.assert_array_equal(agent.act(contexts), loaded.act(contexts))


def test_a_batch_under_bounds_counts_the_picks_before_as_played() -> None:
    """The truth plays one by one, with rewards equal to the posterior means."""
    x = np.tile([1.0, 0.5], (40, 1))
    batch = taught("dUCB", exploration=3.0).act(x)
    single = taught("dUCB", exploration=3.0)
    picks = []
    for row in x:
        picks.append(single.act(row))
        single.update(row, picks[-1], single.marginals(row)[0][picks[-1]])
    np.testing.assert_array_equal(batch, picks)
    assert len(set(picks)) > 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"branch": 0}, "branch"), ({"approximation": "slice"}, "approximation"), ({"dtype": "float32"}, "dtype")],
)
def test_settings_of_chains_are_refused(wrong: dict, named: str) -> None:
    with pytest.raises(ValueError, match=f"{named} must be left out"):
        make_agent("dTS", problem_of(WEIGHTS), **wrong)


@pytest.mark.parametrize("prior", [WEIGHTS, MAPS], ids=["weights", "maps"])
@pytest.mark.parametrize(("agent_id", "settings"), [*SETTINGS, ("meTS", {}), ("dTS", {"expansion": "online"})])
def test_agents_keep_the_contract_with_clicks(agent_id: str, settings: dict, prior: MixedEffectPrior) -> None:
    if agent_id == "meTS" and prior is MAPS:
        prior = MixedEffectPrior(np.zeros((K, 0)), np.zeros((0, 0)), np.eye(D), None, WEIGHTS.action_means)
    env = gym.make("DiffusionBandit-v0", num_actions=K, prior=prior, reward="bernoulli")
    check_agent(functools.partial(make_agent, agent_id, **settings), env)


def test_a_problem_with_clicks_may_be_treated_as_gaussian() -> None:
    problem = BanditProblem(K, D, WEIGHTS, BernoulliReward())
    agent = make_agent("dTS", problem, noise_std=0.5)
    assert isinstance(agent.reward_model, GaussianReward)
    assert agent.act([1.0, 0.0]) in range(K)


@pytest.mark.parametrize("agent_id", ["dTS", "meTS"])
def test_a_catalogue_with_clicks_goes_on_bit_for_bit_from_its_file(agent_id: str, tmp_path) -> None:
    agent, stream = make_agent(agent_id, BanditProblem(K, D, WEIGHTS, BernoulliReward()), seed=0), rng
    for step in range(60):
        x = stream.normal(size=D)
        agent.update(x, agent.act(x), float(stream.random() < 0.4))
        if step % 7 == 0:
            agent.retire(int(stream.integers(agent.num_actions)), stream.normal(size=2))
        if step % 20 == 0:
            agent.add_actions(stream.normal(size=(2, 2)))
    agent.save(tmp_path / "agent.npz")
    loaded = Agent.load(tmp_path / "agent.npz")
    contexts = stream.normal(size=(20, D))
    np.testing.assert_array_equal(agent.act(contexts), loaded.act(contexts))
    for one in (agent, loaded):
        one.update(contexts[0], 1, 1.0)
    np.testing.assert_array_equal(agent.moments()[1], loaded.moments()[1])


@pytest.mark.parametrize("agent_id", ["GLM-TS", "UCB-GLM"])
def test_clicks_with_a_prior_mean_for_each_action(agent_id: str, tmp_path) -> None:
    """Actions share nothing: the truth of each is an agent whose actions all have its mean."""
    means = np.linspace(-1, 1, K * D).reshape(K, D)
    problem, cov = BanditProblem(K, D, random_linear_prior(D, 1), BernoulliReward()), 0.5 * np.eye(D)
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D, reward="bernoulli")
    check_agent(functools.partial(make_agent, agent_id, prior_mean=means, prior_cov=cov), env)
    agents = [make_agent(agent_id, problem, prior_mean=mean, prior_cov=cov) for mean in (means, *means)]
    for _ in range(40):
        x, a, y = rng.normal(size=D), int(rng.integers(K - 1)), float(rng.random() < 0.5)
        for agent in agents:
            agent.update(x, a, y)
    mean, cov = agents[0].moments()
    for a, agent in enumerate(agents[1:]):
        block = slice(a * D, (a + 1) * D)
        own, spread = agent.moments()
        np.testing.assert_allclose(mean[a], own[a], atol=1e-9)
        np.testing.assert_allclose(cov[block, block], spread[block, block], atol=1e-9)
    agents[0].save(tmp_path / "agent.npz")
    np.testing.assert_array_equal(Agent.load(tmp_path / "agent.npz").moments()[0], mean)


@pytest.mark.parametrize("agent_id", ["LinTS", "LinUCB"])
def test_a_prior_mean_for_each_action(agent_id: str, tmp_path) -> None:
    means = np.arange(K * D, dtype=float).reshape(K, D)
    problem = BanditProblem(K, D, random_linear_prior(D, 1), GaussianReward(0.5))
    make = {"prior_mean": means, "prior_cov": 0.25 * np.eye(D)}
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D)
    check_agent(functools.partial(make_agent, agent_id, **make), env)
    agent = make_agent(agent_id, problem, seed=0, **make)
    x = np.array([1.0, -2.0])
    agent.update(x, 2, 3.0)
    mean, std = agent.marginals(x)
    prior_mean, prior_variance = means @ x, 0.25 * x @ x
    gain = prior_variance / (prior_variance + 0.25)
    truth = prior_mean.copy()
    truth[2] += gain * (3.0 - prior_mean[2])
    np.testing.assert_allclose(mean, truth, atol=1e-12)
    np.testing.assert_allclose(std**2, prior_variance * np.where(np.arange(K) == 2, 1 - gain, 1.0), atol=1e-12)
    agent.save(tmp_path / "agent.npz")
    np.testing.assert_array_equal(Agent.load(tmp_path / "agent.npz").marginals(x), (mean, std))


def test_what_a_prior_mean_for_each_action_cannot_do_is_refused() -> None:
    problem = BanditProblem(K, D, random_linear_prior(D, 1), GaussianReward(0.5))
    with pytest.raises(ValueError, match="dtype"):
        make_agent("LinTS", problem, prior_mean=np.zeros((K, D)), dtype="float32")
    with pytest.raises(ValueError, match="prior_mean"):
        make_agent("LinTS", problem, prior_mean=np.zeros((K - 1, D)))
