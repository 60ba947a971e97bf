"""Probabilities of an agent's picks: against repeated choices, and picks weighed by them against 1."""

import numpy as np
import pytest

from dts_gym import BanditProblem, MixedEffectPrior, make_agent, random_linear_prior, random_mlp_prior
from dts_gym.problem.rewards import BernoulliReward, GaussianReward

K, D = 6, 3
GAUSSIAN = [
    "dTS",
    "dUCB",
    "LinTS",
    "LinUCB",
    "HierTS",
    "MixTS",
    "MixUCB",
    "TunedTS",
    "Greedy",
    "EpsilonGreedy",
    "Random",
]
EXPANDED = ["dTS", "dUCB", "GLM-TS", "UCB-GLM", "MixTS", "Greedy"]
CASES = [
    (agent_id, model, links)
    for links in ("linear", "bent")
    for model, ids in ((GaussianReward(1.0), GAUSSIAN), (BernoulliReward(), EXPANDED))
    for agent_id in ids
    if (agent_id, links) != ("HierTS", "bent")
]


def taught(agent_id, model, links="linear", *, num_actions=K, rounds=8, **settings):
    prior = random_linear_prior(D, 2) if links == "linear" else random_mlp_prior(D, 2)
    agent = make_agent(agent_id, BanditProblem(num_actions, D, prior, model, horizon=100), seed=1, **settings)
    rng = np.random.default_rng(3)
    for _ in range(rounds):
        agent.update(rng.standard_normal(D), int(rng.integers(4)), float(rng.random() < 0.6))
    return agent, rng.standard_normal(D)


@pytest.mark.parametrize(("agent_id", "model", "links"), CASES, ids=lambda value: str(value)[:20])
def test_probabilities_are_the_shares_of_repeated_choices(agent_id, model, links):
    """|z| < 4.5 for six actions without and with a mask, 3 000 choices each: a false alarm in some 10 000 runs."""
    agent, x = taught(agent_id, model, links)
    for mask in (None, np.array([True, False, True, False, True, False])):
        found = agent.action_probabilities(x, mask=mask, num_shared=400)
        shares = agent.action_probabilities(x, 3_000, mask)
        assert abs(found.sum() - 1) < 1e-12
        spread = np.sqrt(found * (1 - found) * (1 / 3_000 + 1 / 400)) + 1e-9
        assert (np.abs(found - shares) < 4.5 * spread).all()
        assert mask is None or (found[~mask] == 0).all()


@pytest.mark.parametrize(("agent_id", "settings"), [("IDS", {}), ("JointTS", {}), ("dTS", {"branch": 1})])
def test_where_scores_depend_on_each_other_choices_are_repeated(agent_id, settings):
    agent, x = taught(agent_id, GaussianReward(1.0), "bent" if settings else "linear", **settings)
    assert abs(agent.action_probabilities(x).sum() - 1) < 1e-12
    with pytest.raises(ValueError, match="method must be 'draws' for"):
        agent.action_probabilities(x, method="quadrature")


def test_a_batch_is_its_rows_and_method_is_checked():
    agent, x = taught("LinTS", GaussianReward(1.0))
    both = agent.action_probabilities(np.stack([x, -x]), method="quadrature")
    np.testing.assert_array_equal(both[1], agent.action_probabilities(-x))
    with pytest.raises(ValueError, match="method must be one of"):
        agent.action_probabilities(x, method="exact")


@pytest.mark.parametrize("agent_id", ["dTS", "LinTS", "dUCB", "MixTS", "IDS", "EpsilonGreedy"])
def test_the_action_is_the_one_that_act_would_have_picked(agent_id):
    agent, x = taught(agent_id, GaussianReward(1.0))
    twin, _ = taught(agent_id, GaussianReward(1.0))
    for _ in range(5):
        action, probability = agent.act_with_probability(x)
        assert action == twin.act(x)
        assert 0 < probability <= 1
        for one in (agent, twin):
            one.update(x, action, 0.5)
    assert agent.act(x) == twin.act(x)


@pytest.mark.parametrize(("agent_id", "links"), [("dTS", "linear"), ("dTS", "bent"), ("LinTS", "linear")])
def test_weights_of_picks_are_one_on_average_for_every_action(agent_id, links):
    """E[1{A = a} / p] = 1, |z| < 3.9 of six actions, 1 500 picks: a false alarm in some 2 000 runs.

    Few shared draws make the draw that was used count for much: without it the average is 1.1 to 1.3.
    """
    agent, x = taught(agent_id, GaussianReward(1.0), links)
    picked = [agent.act_with_probability(x, num_shared=3) for _ in range(1_500)]
    weights = np.array([[(action == a) / p for a in range(K)] for action, p in picked])
    error = weights.std(axis=0) / np.sqrt(len(weights))
    assert (np.abs(weights.mean(axis=0) - 1) < 3.9 * np.maximum(error, 1e-3)).all()


def test_bounds_pick_a_batch_in_order_and_say_so():
    agent, x = taught("dUCB", GaussianReward(1.0))
    batch = np.stack([x, x, x, -x])
    actions, probabilities = agent.act_with_probability(batch)
    np.testing.assert_array_equal(actions, taught("dUCB", GaussianReward(1.0))[0].act(batch))
    assert len(set(actions[:3].tolist())) > 1
    assert ((probabilities == 1) | (probabilities == 0.5)).all()  # of two unplayed actions either


def test_as_many_actions_as_memory_would_not_hold():
    agent, x = taught("LinTS", GaussianReward(1.0), num_actions=10**9)
    action, probability = agent.act_with_probability(x)
    assert 0 <= action < 10**9
    assert 0 < probability < 2e-9


@pytest.mark.parametrize("is_masked", [False, True])
def test_mixed_effects_have_probabilities_given_their_effects(is_masked):
    """|z| < 4.5 of six actions, 3 000 choices: a false alarm in some 20 000 runs."""
    rng = np.random.default_rng(5)
    prior = MixedEffectPrior(rng.random((K, 2)), np.eye(2 * D), 0.3 * np.eye(D))
    agent = make_agent("meTS", BanditProblem(K, D, prior, GaussianReward(1.0)), seed=2)
    for _ in range(10):
        agent.update(rng.standard_normal(D), int(rng.integers(4)), float(rng.standard_normal()))
    x, mask = rng.standard_normal(D), np.arange(K) % 2 == 0 if is_masked else None
    found = agent.action_probabilities(x, mask=mask, method="quadrature", num_shared=400)
    shares = agent.action_probabilities(x, 3_000, mask)
    spread = np.sqrt(found * (1 - found) * (1 / 3_000 + 1 / 400)) + 1e-9
    assert (np.abs(found - shares) < 4.5 * spread).all()
    twin = make_agent("meTS", agent.problem, seed=3)
    action, probability = make_agent("meTS", agent.problem, seed=3).act_with_probability(x)
    assert action == twin.act(x)
    assert 0 < probability < 1
