"""Offsets around a chain at branch L: equal to the closed form where the chain is linear, moved as offsets say else."""

from __future__ import annotations

import functools

import gymnasium as gym
import numpy as np
import pytest
from scipy.stats import chi2

from dts_gym import (
    BanditProblem,
    BernoulliReward,
    FeaturePrior,
    GaussianReward,
    MixedEffectPrior,
    OffsetPrior,
    PoissonReward,
    load_prior,
    make_agent,
    random_linear_prior,
    random_mlp_prior,
)
from dts_gym.agents import Agent
from dts_gym.checks import check_agent, check_prior

K, D = 5, 2
MEANS = np.random.default_rng(0).normal(size=(K, D))
LINEAR, BENT = random_linear_prior(D, 2), random_mlp_prior(D, 2)
FEW = {"num_particles": 8, "pool_size": 50}


def agent_of(prior, agent_id: str = "dTS", **settings) -> Agent:
    return make_agent(agent_id, BanditProblem(K, D, prior, GaussianReward(0.5)), seed=1, **settings)


def rounds(n: int = 25):
    rng = np.random.default_rng(2)
    return rng.normal(size=(n, D)), rng.integers(K - 2, size=n), rng.normal(size=n)


def test_a_linear_chain_is_the_closed_form() -> None:
    """The truth is a prior of mixed effects without effects, whose posterior is exact."""
    mean, shared, own = LINEAR.two_level(LINEAR.depth)
    exact = MixedEffectPrior(np.zeros((K, 0)), np.zeros((0, 0)), own + shared, None, MEANS + mean)
    ours, truth = (agent_of(prior, exploration=0.7) for prior in (OffsetPrior(LINEAR, MEANS), exact))
    for agent in (ours, truth):
        agent.update(*rounds())
    for one, other in zip(ours.moments(), truth.moments(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    contexts = np.random.default_rng(3).normal(size=(20, D))
    for one, other in zip(ours.marginals(contexts), truth.marginals(contexts), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    np.testing.assert_array_equal(
        ours.predict(contexts, deterministic=True)[0], truth.predict(contexts, None, None, True)[0]
    )
    x = np.tile([0.5, -1.0], (4000, 1))
    counts = np.array([np.bincount(agent.act(x), minlength=K) for agent in (ours, truth)])
    counts = counts[:, counts.sum(axis=0) > 10]
    total = counts.sum(axis=0) / 2
    assert ((counts - total) ** 2 / total).sum() < chi2.isf(1e-5, counts.shape[1] - 1)
    bounds = [agent_of(prior, "dUCB", exploration=1.5) for prior in (OffsetPrior(LINEAR, MEANS), exact)]
    for agent in bounds:
        agent.update(*rounds())
    np.testing.assert_array_equal(bounds[0].act(contexts), bounds[1].act(contexts))


def test_particles_are_moved_by_the_offsets() -> None:
    """The truth is the agent of the chain alone, whose rewards are less what the offsets explain."""
    contexts, actions, rewards = rounds()
    ours, chain = agent_of(OffsetPrior(BENT, MEANS), **FEW), agent_of(BENT.with_branch(2), **FEW)
    ours.update(contexts, actions, rewards)
    chain.update(contexts, actions, rewards - np.vecdot(contexts, MEANS[actions]))
    mean, cov = ours.moments()
    bare, spread = chain.moments()
    np.testing.assert_allclose(mean, bare + MEANS, atol=1e-12)
    np.testing.assert_allclose(cov, spread, atol=1e-12)
    one, other = ours.marginals(contexts), chain.marginals(contexts)
    np.testing.assert_allclose(one[0], other[0] + contexts @ MEANS.T, atol=1e-12)
    np.testing.assert_allclose(one[1], other[1], atol=1e-10)


@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()])
@pytest.mark.parametrize("kind", ["linear", "bent"])
def test_clicks_and_counts_are_near_the_truth_of_weighted_prior_draws(kind: str, model) -> None:
    """Of dimension 1, 400 000 draws an action: means within .15 deviations, and deviations within 12 %."""
    rng, means = np.random.default_rng(7), np.array([[1.2], [-1.5], [0.4], [0.0]])
    chain = random_linear_prior(1, 2) if kind == "linear" else random_mlp_prior(1, 2)
    prior = OffsetPrior(chain, means)
    agent = make_agent("dTS", BanditProblem(4, 1, prior, model), seed=1, **(FEW | {"num_particles": 64}))
    theta = prior.sample(rng, 4)
    contexts, actions = rng.uniform(-1, 1, (60, 1)), rng.integers(3, size=60)
    rewards = model.sample(rng, contexts[:, 0] * theta[actions, 0])
    agent.update(contexts, actions, rewards)
    ours, cov = agent.moments()
    for a in range(4):
        drawn = prior.residual.sample(rng, 400_000)[:, 0] + means[a, 0]
        played = actions == a
        seen = zip(contexts[played, 0], rewards[played], strict=True)
        log = sum((model.log_likelihood(np.array(y), x * drawn) for x, y in seen), 0.0)
        weights = np.exp(log - np.max(log)) * np.ones(len(drawn))
        weights /= weights.sum()
        mean = weights @ drawn
        std = np.sqrt(weights @ (drawn - mean) ** 2)
        assert abs(ours[a, 0] - mean) < 0.15 * std, a
        assert abs(np.sqrt(cov[a, a]) / std - 1) < 0.12, a


@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()])
def test_filters_of_a_linear_chain_are_the_closed_form_under_clicks_and_counts(model) -> None:
    """The truth is a prior of mixed effects without effects; filters of 256 particles have errors of their own."""
    mean, shared, own = LINEAR.two_level(LINEAR.depth)
    exact = MixedEffectPrior(np.zeros((K, 0)), np.zeros((0, 0)), own + shared, None, MEANS + mean)
    filters = {"approximation": "particles", "num_particles": 256}
    agents = [
        make_agent("dTS", BanditProblem(K, D, prior, model), seed=1, **settings)
        for prior, settings in ((exact, {}), (OffsetPrior(LINEAR, MEANS), filters), (OffsetPrior(LINEAR, MEANS), {}))
    ]
    contexts, actions, rewards = rounds(40)
    for agent in agents:
        agent.update(contexts / 2, actions, (rewards > 0).astype(float))
    truth, ours, closed = (agent.moments() for agent in agents)
    std = np.sqrt(np.diagonal(truth[1])).reshape(K, D)
    assert np.abs((ours[0] - truth[0]) / std).max() < 0.1
    np.testing.assert_allclose(np.sqrt(np.diagonal(ours[1])).reshape(K, D), std, rtol=0.1)
    for one, other in zip(closed, truth, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)
    x = np.array([0.9, -1.6])
    for agent in agents[:2]:  # a reward still to come
        agent._posterior.expect(x, K - 1)
    after = [agent.moments()[1][-D:, -D:] for agent in agents[:2]]
    np.testing.assert_allclose(x @ after[1] @ x, x @ after[0] @ x, rtol=0.05)
    assert x @ after[0] @ x < 0.95 * x @ truth[1][-D:, -D:] @ x


def test_agents_of_clicks_keep_the_contract() -> None:
    for chain in (LINEAR, BENT):
        env = gym.make("DiffusionBandit-v0", num_actions=K, prior=OffsetPrior(chain, MEANS), reward="bernoulli")
        check_agent(functools.partial(make_agent, "dTS", **(FEW if chain is BENT else {})), env)


def test_draws_pick_as_parameters_do() -> None:
    """Two samples by chi-square: 4000 choices, the best of 4000 draws of all parameters; a false alarm in 1e5 tests."""
    agent = agent_of(OffsetPrior(BENT, 0.5 * MEANS), **FEW)
    agent.update(*rounds(8))
    x, mask = np.array([0.8, -0.3]), np.arange(K) != 1
    theta = agent.sample_parameters(4000)
    best = np.where(mask, theta @ x, -np.inf).argmax(axis=1)
    chosen = agent.act(np.tile(x, (4000, 1)), mask)
    counts = np.array([np.bincount(each, minlength=K) for each in (chosen, best)])
    counts = counts[:, counts.sum(axis=0) > 10]
    total = counts.sum(axis=0) / 2
    assert counts.shape[1] > 2
    assert ((counts - total) ** 2 / total).sum() < chi2.isf(1e-5, counts.shape[1] - 1)


@pytest.mark.parametrize(
    ("agent_id", "settings"), [("dTS", {}), ("dUCB", {}), ("IDS", {"num_draws": 16}), ("Greedy", {})]
)
def test_agents_keep_the_contract(agent_id: str, settings: dict) -> None:
    env = gym.make("DiffusionBandit-v0", num_actions=K, prior=OffsetPrior(LINEAR, MEANS), noise_std=0.5)
    check_agent(functools.partial(make_agent, agent_id, **settings), env)


def test_a_loaded_agent_of_particles_goes_on_bit_for_bit(tmp_path) -> None:
    agent = agent_of(OffsetPrior(BENT, MEANS), **FEW)
    agent.update(*rounds())
    agent.save(tmp_path / "agent.npz")
    loaded = Agent.load(tmp_path / "agent.npz")
    contexts = np.random.default_rng(4).normal(size=(10, D))
    np.testing.assert_array_equal(agent.act(contexts), loaded.act(contexts))
    assert agent.act(contexts[0], size=3).shape == (3,)


def test_a_prior_is_kept_in_a_file(tmp_path) -> None:
    prior = OffsetPrior(BENT, MEANS)
    check_prior(prior)
    prior.save(tmp_path / "prior.safetensors")
    read = load_prior(tmp_path / "prior.safetensors")
    draws = [one.sample(np.random.default_rng(5), K) for one in (prior, read)]
    np.testing.assert_array_equal(*draws)
    np.testing.assert_allclose(draws[0] - MEANS, BENT.with_branch(2).sample(np.random.default_rng(5), K), atol=1e-12)


def test_features_give_the_offsets_and_a_chain_what_they_leave() -> None:
    rng = np.random.default_rng(6)
    past = rng.normal(size=(80, 3))
    theta = past @ rng.normal(size=(3, D)) + 0.2 * rng.normal(size=(80, D))
    fitted = FeaturePrior.fit(theta, past)
    left = fitted.residuals(theta, past)
    assert left.std() < 0.3
    np.testing.assert_allclose(left.mean(axis=0), 0, atol=0.05)
    prior = fitted.for_actions(past[:K], residual=BENT)
    plain = fitted.for_actions(past[:K], learn_effects=False)
    np.testing.assert_allclose(prior.action_means, plain.mix(plain.effect_mean), atol=1e-12)
    with pytest.raises(ValueError, match="residual must have dim 2"):
        fitted.for_actions(past[:K], residual=random_mlp_prior(3, 1))


def test_what_offsets_cannot_do_is_refused() -> None:
    prior = OffsetPrior(BENT, MEANS)
    for call, named in (
        (lambda: OffsetPrior(prior, MEANS), "residual must be a chain"),
        (lambda: OffsetPrior(BENT, MEANS[:, :1]), "action_means must have shape"),
        (lambda: OffsetPrior(BENT, np.zeros((0, D))), "action_means must have a row"),
        (lambda: prior.sample(np.random.default_rng(0), K + 1), "num_actions must be 5"),
        (lambda: BanditProblem(K + 1, D, prior, GaussianReward()), "prior must describe 6 actions"),
        (lambda: agent_of(prior, branch=0), "branch must be 2 or left out"),
        (lambda: agent_of(prior, approximation="slice"), "approximation must not be 'slice'"),
        (lambda: agent_of(OffsetPrior(LINEAR, MEANS), dtype="float32"), "dtype must be 'float64'"),
        (lambda: make_agent("meTS", BanditProblem(K, D, prior, GaussianReward())), "must have a MixedEffectPrior"),
        (lambda: agent_of(prior).add_actions(count=1), "add_actions must be called on"),
        (lambda: agent_of(prior).retire(0), "retire must be called on"),
        (lambda: agent_of(prior, "LinTS").add_actions(count=1), "problem must have a prior to which actions can be"),
    ):
        with pytest.raises(ValueError, match=named):
            call()
