"""Rewards that outweigh the prior of a chain by particles or slice: right, or refused, against a QR of the rewards."""

import numpy as np
import pytest

from dts_gym import BanditProblem, GaussianReward, make_agent
from dts_gym.posteriors.action_table import HEAVIEST
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.lockstep.chain_runs import ChainRuns
from dts_gym.priors.random_priors import random_mlp_prior

PRIOR = random_mlp_prior(2, 1, seed=0)
KINDS = {
    "particles": {},
    "branch": {"branch": 1},
    "slice": {"approximation": "slice", "num_particles": 4, "num_steps": 2},
}


def agent_of(kind):
    settings = {"num_particles": 8, **KINDS[kind]}
    return make_agent("dTS", BanditProblem(3, 2, PRIOR, GaussianReward(1.0)), seed=0, **settings)


def rewards_of(weight, n=40):
    """Contexts that differ in one direction by a tenth, and rewards, that outweigh a prior of unit variance."""
    rng = np.random.default_rng(0)
    contexts = np.column_stack([1.7 + 0.1 * rng.standard_normal(n), np.ones(n)])
    contexts *= np.sqrt(weight / (contexts**2).sum())
    return contexts, contexts @ [0.3, 0.8] + rng.standard_normal(n)


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_up_to_the_limit_leave_the_right_deviations(kind):
    contexts, rewards = rewards_of(0.9 * HEAVIEST / 2)
    agent = agent_of(kind)
    agent.update(contexts, np.ones(len(rewards), dtype=int), rewards)
    q, r = np.linalg.qr(contexts)  # the prior adds 1e-12 and less of the rewards' precision
    asked = np.array([contexts[0], contexts[0] - contexts[1], [1.0, 0.0]])
    mean, std = agent.marginals(asked)
    right = np.linalg.norm(np.linalg.solve(r.T, asked.T), axis=0)
    np.testing.assert_allclose(std[:, 1], right, rtol=0.01)
    assert (abs(mean[:, 1] - asked @ np.linalg.solve(r, q.T @ rewards)) < 0.01 * right).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rewards_beyond_it_are_refused_and_change_nothing(kind):
    contexts, rewards = rewards_of(1e16)
    agent = agent_of(kind)
    agent.update(np.ones(2), 0, 1.0)
    before = {name: np.array(array) for name, array in agent._state().items()}
    for learn in (
        lambda: agent.update(contexts, np.ones(len(rewards), dtype=int), rewards),
        lambda: agent.update(contexts[0], 1, rewards[0]),
        lambda: agent.update(np.array([1e40, 0.0]), 0, 1.0),
    ):
        with pytest.raises(ValueError, match=r"context must let an action's rewards outweigh its prior by at most 5"):
            learn()
        for name, array in agent._state().items():
            np.testing.assert_array_equal(array, before[name])
    assert agent.num_updates == 1


def test_runs_that_advance_together_part_before_a_reward_that_is_refused():
    posteriors = [ChainPosterior(PRIOR, 3, GaussianReward(std), num_particles=4) for std in (1.0, 1e-9)]
    runs = ChainRuns(posteriors)
    contexts, actions, rewards = np.ones((2, 2)), np.array([1, 1]), np.ones(2)
    assert not runs.update(contexts, actions, rewards)
    runs.part()
    posteriors[0].update(contexts[0], 1, 1.0)
    with pytest.raises(ValueError, match="outweigh its prior"):
        posteriors[1].update(contexts[1], 1, 1.0)
