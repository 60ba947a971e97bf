"""Ties: `act` picks any of them, all alike; `predict(deterministic=True)` picks the lowest-numbered."""

import numpy as np
import pytest

from dts_gym import BanditProblem, BernoulliReward, GaussianReward, make_agent, random_linear_prior, random_mlp_prior
from dts_gym.posteriors.joint_posterior import JointPosterior

K, DRAWS = 4, 400
# Chi-square with 3 degrees of freedom exceeds 30.7 once in a million; some 40 tests.
LIMIT = 30.7

SHARED = [
    "dTS",
    "dUCB",
    "IDS",
    "Greedy",
    "LinTS",
    "LinUCB",
    "GLM-TS",
    "UCB-GLM",
    "TunedTS",
    "MixTS",
    "EpsilonGreedy",
    "TunedUCB",
    "MixUCB",
]
DISJOINT = [*SHARED, "HierTS", "MarginalLinTS", "JointTS"]


def problem(features, prior=None, reward=None):
    return BanditProblem(K, 3, prior or random_linear_prior(3, 1), reward or GaussianReward(), features)


def taught(agent_id, bandit, rounds, seed=0, **settings):
    """An agent that has learned rounds of the first actions, whatever it would have played."""
    agent, rng = make_agent(agent_id, bandit, seed=seed, **settings), np.random.default_rng(1)
    for t in range(rounds):
        agent.update(rng.standard_normal(bandit.context_shape), t % 2, float(rng.integers(2)))
    return agent


def chi_square(picks):
    counts = np.bincount(picks, minlength=K)
    return float(((counts - len(picks) / K) ** 2 / (len(picks) / K)).sum())


@pytest.mark.parametrize("rounds", [0, 7])
@pytest.mark.parametrize("agent_id", SHARED)
def test_items_of_equal_features_are_played_alike(agent_id, rounds):
    reward = BernoulliReward() if "GLM" in agent_id else None
    agent = taught(agent_id, problem("shared", reward=reward), rounds)
    equal = np.broadcast_to([1.0, 0.7, -0.3], (K, 3))
    single = [agent.act(equal) for _ in range(DRAWS)]
    assert chi_square(single) < LIMIT
    if not agent.picks_in_order:
        assert chi_square(agent.act(np.broadcast_to(equal, (len(single), K, 3)))) < LIMIT
    assert agent.predict(equal, deterministic=True)[0] == 0
    masked = [agent.act(equal, mask=[False, True, True, False]) for _ in range(50)]
    assert set(masked) == {1, 2}  # one of them alone: once in 2^49


@pytest.mark.parametrize("rounds", [0, 1, 7])
@pytest.mark.parametrize("agent_id", DISJOINT)
def test_a_context_of_zeros_says_nothing_of_the_actions(agent_id, rounds):
    reward = BernoulliReward() if "GLM" in agent_id else None
    agent = taught(agent_id, problem("disjoint", reward=reward), rounds)
    single = [agent.act(np.zeros(3)) for _ in range(DRAWS)]
    assert chi_square(single) < LIMIT
    if not agent.picks_in_order:
        mixed = np.vstack([np.zeros((len(single), 3)), np.random.default_rng(0).standard_normal((5, 3))])
        assert chi_square(agent.act(mixed)[: len(single)]) < LIMIT
    assert agent.predict(np.zeros(3), deterministic=True)[0] == 0


@pytest.mark.parametrize("branch", [0, 1])
def test_chains_by_particles_break_ties_at_random(branch):
    agent = taught("dTS", problem("disjoint", random_mlp_prior(3, 1)), 5, branch=branch, num_particles=4)
    assert chi_square([agent.act(np.zeros(3)) for _ in range(DRAWS)]) < LIMIT


def test_pruned_draws_break_ties_at_random():
    """Of 3000 actions, 2900 played, 300 picks find 286 different ones on the average, with a deviation of 4."""
    bandit = BanditProblem(3_000, 20, random_linear_prior(20, 1), GaussianReward())
    agent = make_agent("LinTS", bandit, seed=0)
    agent.update(np.random.default_rng(0).standard_normal((2_900, 20)), np.arange(2_900), np.zeros(2_900))
    assert agent._posterior._is_pruned(np.zeros(20))
    for picks in ([agent.act(np.zeros(20)) for _ in range(300)], agent.act(np.zeros((300, 20)))):
        assert len(np.unique(picks)) > 265


def test_where_nothing_is_tied_nothing_is_drawn():
    for agent_id in ("Greedy", "LinUCB", "JointTS"):
        agent = taught(agent_id, problem("disjoint"), 8)
        agent.update(np.eye(3)[[0, 1, 2, 0, 1, 2]], [2, 2, 2, 3, 3, 3], [1.0, 2.0, 3.0, -1.0, -2.0, -3.0])
        before = agent._rngs["act"].bit_generator.state
        if agent_id == "JointTS":
            assert isinstance(agent._posterior, JointPosterior)
            size = agent._posterior._root.shape[1]
            agent.act([0.3, -0.4, 0.5])
            twin = np.random.default_rng()
            twin.bit_generator.state = before
            twin.standard_normal(size)
            before = twin.bit_generator.state
        else:
            agent.act([0.3, -0.4, 0.5])
        assert agent._rngs["act"].bit_generator.state == before
