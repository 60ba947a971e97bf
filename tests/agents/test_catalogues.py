"""Actions that come and go, and several actions of one draw: against dense posteriors and scores computed directly."""

from __future__ import annotations

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
    PoissonReward,
    make_agent,
    random_linear_prior,
    random_mlp_prior,
)
from dts_gym.agents import Agent

K, D = 6, 2
LINEAR = random_linear_prior(D, 2)
MIXED = MixedEffectPrior(np.random.default_rng(0).normal(size=(K, 2)), np.eye(4), 0.3 * np.eye(D))


def agent_of(agent_id: str, prior=LINEAR, num_actions: int = K, noise_std: float = 0.5, **settings) -> Agent:
    return make_agent(agent_id, BanditProblem(num_actions, D, prior, GaussianReward(noise_std)), seed=1, **settings)


def rounds(n: int = 20, played: int = 4):
    rng = np.random.default_rng(2)
    return rng.normal(size=(n, D)), rng.integers(played, size=n), rng.normal(size=n)


def taught(*args, **more) -> Agent:
    agent = agent_of(*args, **more)
    agent.update(*rounds())
    return agent


@pytest.mark.parametrize("noise_std", [0.5, 1e-6], ids=["plain", "twofold"])
@pytest.mark.parametrize("agent_id", ["dTS", "HierTS", "LinTS", "dUCB"])
def test_a_retired_item_is_one_more_action_of_the_past(agent_id: str, noise_std: float) -> None:
    """The truth has K + 1 actions: the old item's rewards go to the last one, which is then integrated out."""
    plain = {"exploration": 1.0}  # a rule would depend on the number of actions
    agent = taught(agent_id, noise_std=noise_std, **plain)
    agent.retire(1)
    contexts, actions, rewards = rounds()
    truth = agent_of(agent_id, num_actions=K + 1, noise_std=noise_std, **plain)
    truth.update(contexts, np.where(actions == 1, K, actions), rewards)
    mean, cov = agent.moments()
    expected, spread = truth.moments()
    np.testing.assert_allclose(mean, expected[:K], atol=1e-9)
    np.testing.assert_allclose(cov, spread[: K * D, : K * D], atol=1e-9)
    for one in (agent, truth):
        one.update([0.3, -1.0], 1, 0.7)
    np.testing.assert_allclose(agent.moments()[0], truth.moments()[0][:K], atol=1e-9)


@pytest.mark.parametrize("model", [BernoulliReward(), PoissonReward()])
@pytest.mark.parametrize("agent_id", ["dTS", "GLM-TS", "UCB-GLM", "dUCB"])
def test_agents_of_clicks_and_counts_retire_items(agent_id: str, model, tmp_path) -> None:
    """The others stay as they were, the retired one is that of an action that was never played."""
    agent = make_agent(agent_id, BanditProblem(K, D, LINEAR, model), seed=1)
    contexts, actions, rewards = rounds()
    agent.update(contexts, actions, (rewards > 0).astype(float))
    mean, cov = agent.moments()
    agent.retire(1)
    after, spread = agent.moments()
    kept = np.flatnonzero(np.arange(K) != 1)
    at = np.add.outer(kept * D, np.arange(D)).ravel()
    np.testing.assert_allclose(after[kept], mean[kept], atol=1e-10)
    np.testing.assert_allclose(spread[np.ix_(at, at)], cov[np.ix_(at, at)], atol=1e-10)
    np.testing.assert_array_equal(after[1], after[K - 1])
    agent.save(tmp_path / "agent.npz")
    loaded = Agent.load(tmp_path / "agent.npz")
    for one in (agent, loaded):
        one.update(contexts, actions, (rewards > 0).astype(float))
    np.testing.assert_array_equal(agent.moments()[0], loaded.moments()[0])
    np.testing.assert_array_equal(agent.act(contexts), loaded.act(contexts))


def test_a_retired_item_of_mixed_effects_takes_other_weights() -> None:
    agent = taught("dTS", MIXED)
    agent.retire(1, item_features=[2.0, -1.0])
    mixing = np.concatenate([MIXED.mixing, MIXED.mixing[1:2]])
    mixing[1] = [2.0, -1.0]
    truth = agent_of("dTS", MixedEffectPrior(mixing, np.eye(4), 0.3 * np.eye(D)), K + 1)
    contexts, actions, rewards = rounds()
    truth.update(contexts, np.where(actions == 1, K, actions), rewards)
    np.testing.assert_allclose(agent.moments()[0], truth.moments()[0][:K], atol=1e-10)
    np.testing.assert_allclose(agent.moments()[1], truth.moments()[1][: K * D, : K * D], atol=1e-10)


@pytest.mark.parametrize(
    ("agent_id", "prior", "more"),
    [
        ("dTS", LINEAR, {"count": 3}),
        ("LinUCB", LINEAR, {"count": 3}),
        ("GLM-TS", LINEAR, {"count": 3}),
        ("dTS", MIXED, {"item_features": [[1.0, 0.0], [0.5, 0.5], [1.0, 2.0]]}),
        ("meTS", MIXED, {"item_features": [[1.0, 0.0], [0.5, 0.5], [1.0, 2.0]]}),
    ],
)
def test_a_grown_agent_is_one_that_had_all_actions_from_the_start(agent_id, prior, more, tmp_path) -> None:
    agent = taught(agent_id, prior)
    before = {name: array.tobytes() for name, array in agent._state().items()}
    np.testing.assert_array_equal(agent.add_actions(**more), [K, K + 1, K + 2])
    assert agent.num_actions == K + 3
    after = {name: array.tobytes() for name, array in agent._state().items()}
    assert {name: after[name] for name in before} == before
    whole = prior
    if prior is MIXED:
        whole = MixedEffectPrior(np.vstack([MIXED.mixing, more["item_features"]]), np.eye(4), 0.3 * np.eye(D))
    truth = taught(agent_id, whole, K + 3)
    for ours, theirs in zip(agent.moments(), truth.moments(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    agent.save(tmp_path / "agent.npz")
    loaded, spawned = Agent.load(tmp_path / "agent.npz"), agent.spawn(1)[0]
    contexts = np.random.default_rng(3).normal(size=(20, D))
    np.testing.assert_array_equal(agent.act(contexts), loaded.act(contexts))
    assert spawned.num_actions == K + 3
    agent.reset(0)
    assert agent.num_actions == K + 3
    agent.update([1.0, 0.0], K + 2, 1.0)


@pytest.mark.parametrize("learn", [True, False])
def test_new_items_come_with_their_features(learn: bool, tmp_path) -> None:
    """The truth is an agent whose problem had all items, in features' own units, from the start."""
    rng = np.random.default_rng(5)
    past = 7.0 + 30.0 * rng.normal(size=(20, 3))
    fitted = FeaturePrior.fit(past @ rng.normal(size=(3, D)) / 30 + rng.normal(size=(20, D)), past)
    z = 7.0 + 30.0 * rng.normal(size=(K + 2, 3))

    def agent_of_items(items: np.ndarray) -> Agent:
        prior = fitted.for_actions(items, learn_effects=learn)
        problem = BanditProblem(len(items), D, prior, GaussianReward(0.5), item_features=items)
        agent = make_agent("dTS", problem, seed=1)
        agent.update(*rounds())
        return agent

    agent, truth = agent_of_items(z[:K]), agent_of_items(z)
    agent.add_actions(z[K:])
    np.testing.assert_array_equal(agent.problem.item_features, z)
    for ours, theirs in zip(agent.moments(), truth.moments(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)
    agent.retire(K, z[0])
    agent.save(tmp_path / "agent.npz")
    for one in (agent, Agent.load(tmp_path / "agent.npz")):
        np.testing.assert_array_equal(one.problem.item_features, np.vstack([z[:K], z[0], z[K + 1]]))
        np.testing.assert_allclose(one.problem.prior.mixing[K], truth.problem.prior.mixing[0], atol=1e-12)
    agent.add_actions(z[:1])  # a prior that went through a change, too
    assert agent.problem.item_features.shape == (K + 3, 3)
    with pytest.raises(ValueError, match=r"item_features must have shape \(any, 3\)"):
        agent.add_actions(agent.problem.prior.mixing)


def test_features_that_are_not_known_of_all_are_not_kept() -> None:
    agent = make_agent("LinTS", BanditProblem(K, D, LINEAR, GaussianReward(), item_features=np.eye(K)), seed=0)
    agent.add_actions(count=1)
    assert agent.problem.item_features is None


def test_what_cannot_change_says_so_and_stays() -> None:
    agent = taught("dTS")
    for call, named in (
        (lambda: agent.add_actions(), "item_features or count must be given"),
        (lambda: agent.add_actions([[1.0]]), "count must be given"),
        (lambda: agent.add_actions(count=0), "count"),
        (lambda: agent.retire(K), "action"),
        (lambda: agent.retire(0, [1.0]), "item_features must be left out"),
        (lambda: taught("dTS", MIXED).add_actions(count=1), "item_features must be given"),
        (lambda: taught("dTS", MIXED).retire(0, [1.0]), "item_features must have shape"),
        (lambda: agent_of("MixTS").retire(0), "retire must be called on an agent with an exact Gaussian posterior"),
        (lambda: agent_of("JointTS").add_actions(count=1), "add_actions must be called"),
        (lambda: agent_of("dTS", adapt_scale=True).retire(0), "retire must be called on an agent that does not adapt"),
        (lambda: agent_of("dTS", adapt_scale=True).add_actions(count=1), "add_actions must be called on an agent that"),
        (lambda: agent_of("LinTS", prior_mean=np.zeros((K, D))).add_actions(count=1), "add_actions must be called"),
    ):
        with pytest.raises(ValueError, match=named):
            call()
    assert agent.num_actions == K
    np.testing.assert_array_equal(agent.moments()[0], taught("dTS").moments()[0])


@pytest.mark.parametrize(
    ("agent_id", "prior"),
    [("dTS", LINEAR), ("LinTS", LINEAR), ("dTS", MIXED), ("MixTS", LINEAR), ("JointTS", LINEAR), ("GLM-TS", LINEAR)],
)
def test_the_best_of_one_draw_have_the_distribution_of_dense_draws(agent_id: str, prior) -> None:
    """Ordered pairs of actions, by chi-square against 200 000 dense draws; a false alarm in 1e5 tests, fixed seeds."""
    agent = taught(agent_id, prior)
    x, mask = np.array([0.7, -0.4]), np.arange(K) != 2
    mean, cov = agent.moments()
    if agent_id == "MixTS":
        theta = agent.sample_parameters(20_000)
    else:
        values, vectors = np.linalg.eigh(cov)
        noise = np.random.default_rng(4).standard_normal((200_000, K * D))
        theta = (mean.ravel() + noise @ (vectors * np.sqrt(values.clip(0.0))).T).reshape(-1, K, D)
    scores = np.where(mask, theta @ x, -np.inf)
    pairs = np.argsort(-scores, axis=1)[:, :2]
    seen = agent.act(np.tile(x, (4000, 1)), mask, size=2)
    counts = np.array([np.bincount(two[:, 0] * K + two[:, 1], minlength=K * K) for two in (seen, pairs)])
    counts = counts[:, counts.sum(axis=0) > 0.005 * counts.sum()]
    total, share = counts.sum(axis=0), counts.sum(axis=1, keepdims=True) / counts.sum()
    assert counts.shape[1] > 4
    assert ((counts - share * total) ** 2 / (share * total)).sum() < chi2.isf(1e-5, counts.shape[1] - 1)


@pytest.mark.parametrize("agent_id", ["dUCB", "LinUCB", "Greedy", "MixUCB", "UCB-GLM"])
def test_bounds_and_means_are_in_order(agent_id: str) -> None:
    settings = {} if agent_id == "Greedy" else {"exploration": 1.5}
    agent = taught(agent_id, **settings)
    x = np.array([0.7, -0.4])
    slate = agent.act(x, size=4)
    assert slate[0] == agent.act(x)
    mean, std = taught(agent_id, **settings).marginals(x)
    if agent_id == "Greedy":
        std = 0.0 * std
    bounds = mean + std
    if agent_id != "MixUCB":  # marginals are at the exploration scale
        np.testing.assert_allclose(bounds[slate], np.sort(bounds)[::-1][:4], atol=1e-12)


def test_all_actions_come_once_and_baselines_rank_too() -> None:
    env = gym.make("DiffusionBandit-v0", num_actions=K, dim=D)
    obs, _ = env.reset(seed=0)
    oracle = make_agent("Oracle", env)
    means = env.unwrapped.instance.linear_predictors(obs)
    np.testing.assert_array_equal(oracle.act(obs, size=K), np.argsort(-means))
    for agent_id in ("dTS", "dUCB", "Greedy", "Random", "TunedTS"):
        slates = make_agent(agent_id, env, seed=0).act(np.tile(obs, (3, 1)), size=K)
        np.testing.assert_array_equal(np.sort(slates, axis=1), np.tile(np.arange(K), (3, 1)))
    bent = BanditProblem(K, D, random_mlp_prior(D, 2), GaussianReward(0.5))
    for branch in (0, 2):
        agent = make_agent("dTS", bent, seed=0, branch=branch, num_particles=4, pool_size=20)
        assert len(set(agent.act(obs, size=K).tolist())) == K


def test_sizes_that_cannot_be_are_refused() -> None:
    agent = taught("dTS")
    x = [0.7, -0.4]
    for size in (0, K + 1, 1.5):
        with pytest.raises(ValueError, match="size"):
            agent.act(x, size=size)
    with pytest.raises(ValueError, match="size"):
        agent.act(x, np.arange(K) < 2, size=3)
    for agent_id in ("IDS", "EpsilonGreedy"):
        with pytest.raises(ValueError, match="size must be left out"):
            agent_of(agent_id).act(x, size=2)
