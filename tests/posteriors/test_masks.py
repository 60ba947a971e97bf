"""Masked choices against the best allowed action of whole posterior draws, for every posterior."""

import gymnasium as gym
import numpy as np
import pytest
from scipy.special import chdtrc

from dts_gym import (
    BanditProblem,
    BernoulliReward,
    GaussianReward,
    LinearDiffusionPrior,
    make_agent,
    random_linear_prior,
    random_mlp_prior,
)
from truth import loud_denoisers, taught_agent

K, DRAWS = 7, 4_000
# 84 tests of equal distributions: chance alone fails one of them once in 10 000 runs.
RARE = 1e-6

LINEAR = LinearDiffusionPrior([np.array([[1.0, 0.5], [0.0, 1.0]])] * 2, [np.eye(2), 0.5 * np.eye(2), np.eye(2)])
MLP = random_mlp_prior(2, 2, activation="tanh", hidden=6, seed=1, stds=0.7)


SETTINGS = {
    "dTS": ("dTS", LINEAR, {}),
    "dTS tempered": ("dTS", LINEAR, {"exploration": 0.5, "branch": 1}),
    "dTS Bernoulli": ("dTS", LINEAR, {"reward": BernoulliReward()}),
    "dTS particles": ("dTS", MLP, {"num_particles": 4}),
    "dTS slice": ("dTS", MLP, {"approximation": "slice", "num_particles": 8, "num_steps": 3}),
    "dTS own levels": ("dTS", MLP, {"branch": 2, "num_particles": 4}),
    "dTS between": ("dTS", MLP, {"branch": 1, "num_particles": 4}),
    "LinTS": ("LinTS", LINEAR, {}),
    "JointTS": ("JointTS", LINEAR, {}),
    "GLM-TS": ("GLM-TS", LINEAR, {"reward": BernoulliReward()}),
    "MixTS": ("MixTS", MLP, {"num_components": 2}),
    "LaplaceDPS": ("LaplaceDPS", loud_denoisers(), {}),
    "dTS shared": ("dTS", LINEAR, {"features": "shared"}),
    "MixTS shared": ("MixTS", MLP, {"features": "shared", "num_components": 2}),
}


def taught(name):
    return taught_agent(*SETTINGS[name], K, rounds=6)


def same_law(first, second):
    """p-value of the chi-square test that two samples of equal size have one distribution."""
    table = np.stack([np.bincount(part, minlength=K) for part in (first, second)]).astype(float)
    table = table[:, table.sum(axis=0) > 0]
    statistic = ((table[0] - table[1]) ** 2 / table.sum(axis=0)).sum()
    return float(chdtrc(table.shape[1] - 1, statistic)) if table.shape[1] > 1 else 1.0


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("allowed", [[0, 2, 4, 5], [1, 2], [3, 6]], ids=["both", "played", "unplayed"])
def test_a_masked_choice_is_the_best_allowed_action_of_a_whole_draw(name, allowed):
    agent = taught(name)
    slow = {"dTS slice": 300, "dTS own levels": 500, "dTS between": 300, "dTS particles": 500}
    n = slow.get(name, 500 if "Mix" in name or "shared" in name else DRAWS)
    x = np.random.default_rng(2).uniform(-1, 1, agent.problem.context_shape)
    mask = np.isin(np.arange(K), allowed)
    theta = agent.sample_parameters(n)  # (n, K, d), or (n, d)
    scores = np.where(mask, theta @ x if theta.ndim == 3 else theta @ x.T, -np.inf)
    chosen = agent.act(np.broadcast_to(x, (n, *x.shape)), mask)
    assert same_law(chosen, scores.argmax(axis=1)) > RARE
    # A row's own mask, which takes the other path.
    rows = np.broadcast_to(mask, (n, K)).copy()
    assert same_law(agent.act(np.broadcast_to(x, (n, *x.shape)), rows), chosen) > RARE


@pytest.mark.parametrize("name", SETTINGS)
def test_greedy_play_under_a_mask_has_the_largest_mean(name):
    agent = taught(name)
    mask = np.array([True, False, True, False, True, True, False])
    mean = agent._posterior.moments(1.0)[0]
    for x in np.random.default_rng(3).uniform(-1, 1, (20, *agent.problem.context_shape)):
        scores = np.where(mask, mean @ x if mean.ndim == 2 else x @ mean, -np.inf)
        chosen = int(agent._posterior.greedy(x, mask))
        assert mask[chosen]
        assert scores[chosen] >= scores.max() - 1e-9


@pytest.mark.parametrize(
    ("agent_id", "settings"),
    [
        ("LinUCB", {}),
        ("dUCB", {}),
        ("UCB-GLM", {}),
        ("dUCB", {"prior": MLP}),
        ("dUCB", {"prior": MLP, "branch": 1}),
        ("dUCB", {"prior": MLP, "branch": 2}),
        ("LinUCB", {"features": "shared"}),
        ("dUCB", {"features": "shared", "prior": MLP}),
    ],
)
@pytest.mark.parametrize("reward", [-2.0, 3.0])  # the played actions look bad, or good
def test_the_bound_of_the_chosen_action_is_the_largest_allowed(agent_id, settings, reward):
    settings = {"prior": LINEAR, "features": "disjoint", **settings}
    prior, features = settings.pop("prior"), settings.pop("features")
    problem = BanditProblem(K, 2, prior, GaussianReward(0.7), features)
    agent = make_agent(agent_id, problem, seed=3, exploration=1.0, **settings)
    rng = np.random.default_rng(1)
    for _ in range(12):
        x = rng.uniform(0, 1, agent.problem.context_shape)
        agent.update(x, int(rng.integers(3)), reward)
    mean, cov = agent.moments()
    for allowed in ([0, 2, 4, 5], [1, 2], [3, 6]):
        mask = np.isin(np.arange(K), allowed)
        x = rng.uniform(0, 1, agent.problem.context_shape)
        if features == "disjoint":
            blocks = cov.reshape(K, 2, K, 2)[np.arange(K), :, np.arange(K), :]
            bounds = mean @ x + np.sqrt(np.einsum("d,kde,e->k", x, blocks, x))
        else:
            bounds = x @ mean + np.sqrt(np.einsum("kd,de,ke->k", x, cov, x))
        chosen = np.unique([agent.act(x, mask) for _ in range(200)])
        np.testing.assert_allclose(bounds[chosen], bounds[mask].max(), rtol=1e-9)
        tied = mask & (np.abs(bounds - bounds[mask].max()) < 1e-9)
        np.testing.assert_array_equal(chosen, np.flatnonzero(tied))


def test_pruned_choices_have_masks_too(monkeypatch):
    # The same agents, made to prune always and never: draws of one context are the same numbers.
    problem = BanditProblem(300, 3, random_linear_prior(3, 2), GaussianReward(0.5))
    rng = np.random.default_rng(0)
    contexts, actions, rewards = rng.uniform(-1, 1, (600, 3)), rng.integers(200, size=600), rng.standard_normal(600)
    masks = [rng.random(300) < share for share in (0.5, 0.02)]
    masks += [np.arange(300) >= 250, (np.arange(300) < 100) & (np.arange(300) % 2 == 0)]
    picks = []
    for limit in (0, 1 << 40):
        monkeypatch.setattr("dts_gym.posteriors.action_posterior._PRUNED_FROM", limit)
        for agent_id in ("LinTS", "LinUCB"):
            agent = make_agent(agent_id, problem, seed=1)
            agent.update(contexts, actions, rewards)
            for mask in masks:
                chosen = [agent.act(x, mask) for x in contexts[:60]]
                assert mask[chosen].all()
                picks.append(chosen)
    assert picks[: len(picks) // 2] == picks[len(picks) // 2 :]


def test_unplayed_actions_are_picked_evenly_at_many_actions():
    env = gym.make("DiffusionBandit-v0", num_actions=100_000, regret_info=False)
    agent = make_agent("dTS", env.unwrapped.problem, seed=0)
    rng = np.random.default_rng(0)
    agent.update(rng.uniform(-1, 1, (50, 5)), np.arange(50), -10 * np.ones(50))
    mask = np.zeros(100_000, dtype=bool)
    mask[[3, 7, *range(50_000, 50_004), 99_999]] = True
    x = np.full((3_000, 5), 0.5)
    counts = np.bincount(agent.act(x, mask), minlength=100_000)
    assert counts[~mask].sum() == 0
    unplayed = counts[mask][2:]
    expected = unplayed.sum() / 5
    assert expected > 300
    assert chdtrc(4, ((unplayed - expected) ** 2 / expected).sum()) > RARE


@pytest.mark.parametrize("agent_id", ["Random", "EpsilonGreedy"])
def test_uniform_play_is_uniform_over_the_allowed(agent_id):
    settings = {"epsilon": 1.0} if agent_id == "EpsilonGreedy" else {}
    agent = make_agent(agent_id, BanditProblem(K, 2, LINEAR, GaussianReward()), seed=0, **settings)
    mask = np.array([True, False, True, True, False, False, True])
    shares = agent.action_probabilities([1.0, 0.0], 4_000, mask)
    assert (np.abs(shares[mask] - 0.25) / np.sqrt(0.25 * 0.75 / 4_000)).max() < 4.5
    assert not shares[~mask].any()


def test_the_oracle_plays_the_best_allowed_action():
    env = gym.make("DiffusionBandit-v0", num_actions=20)
    oracle = make_agent("Oracle", env)
    x, _ = env.reset(seed=0)
    means = env.unwrapped.instance.expected_rewards(x.astype(float))
    order = means.argsort()[::-1]
    mask = np.ones(20, dtype=bool)
    mask[order[:3]] = False
    assert oracle.act(x, mask) == order[3]


def test_probabilities_are_the_law_of_act():
    agent, twin = taught("dTS"), taught("dTS")
    x = np.array([0.4, -0.9])
    theta = twin.sample_parameters(40_000)
    truth = np.bincount((theta @ x).argmax(axis=1), minlength=K) / 40_000
    shares = agent.action_probabilities(np.stack([x, -x]), 10_000)
    assert shares.shape == (2, K)
    std = np.sqrt(truth.clip(1e-4) * (1 - truth) * (1 / 10_000 + 1 / 40_000))
    assert (np.abs(shares[0] - truth) / std).max() < 4.5
    # Rows with masks of their own.
    masks = np.array([[True] * 3 + [False] * 4, [False] * 5 + [True] * 2])
    shares = agent.action_probabilities(np.stack([x, x]), 2_000, masks)
    assert (shares[0, 3:] == 0).all()
    assert (shares[1, :5] == 0).all()
    # What act does next is what it would have done.
    assert [agent.act(x) for _ in range(20)] == [twin.act(x) for _ in range(20)]
