"""The posterior by Markov chains: against the closed form of linear chains, and particles on perceptrons."""

import functools

import gymnasium as gym
import numpy as np
import pytest

from dts_gym import make_agent
from dts_gym.checks.agent_checks import check_agent
from dts_gym.diagnostics.energy import energy_score
from dts_gym.posteriors.chain.chain_posterior import ChainPosterior
from dts_gym.posteriors.mcmc.slice_posterior import SlicePosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior
from dts_gym.problem.rewards import GaussianReward


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_linear_chain_has_its_closed_form(scale):
    """1 500 draws, each of a walker that walked on: 3 means and variances with |z| < 4.5."""
    prior, rng = random_linear_prior(3, 2, seed=1), np.random.default_rng(0)
    slices = SlicePosterior(prior, 5, GaussianReward(0.7), scale=scale)
    exact = TwoLevelPosterior(prior.two_level(0), 5, 0.7)
    for _ in range(20):
        x, a, y = rng.uniform(-1, 1, 3), int(rng.integers(4)), float(rng.standard_normal())
        slices.update(x, a, y)
        exact.update(x, a, y)
    drawn = slices._draw_shared((1_500,), rng, scale) @ slices.table.basis.T
    mean, root = exact._shared_moments(scale)
    mean, variance = exact.table.basis @ mean, ((exact.table.basis @ root) ** 2).sum(axis=1)
    assert (np.abs(drawn.mean(axis=0) - mean) / np.sqrt(variance / 1_500)).max() < 4.5
    assert (np.abs(drawn.var(axis=0) / variance - 1) / np.sqrt(2 / 1_500)).max() < 4.5


def test_particles_agree_on_perceptrons():
    prior, rng = random_mlp_prior(2, 2, hidden=6, activation="tanh", seed=3), np.random.default_rng(1)
    slices = SlicePosterior(prior, 5, GaussianReward(0.7), num_steps=30)
    particles = ChainPosterior(prior, 5, GaussianReward(0.7), num_particles=64)
    for _ in range(15):
        x, a, y = rng.uniform(-1, 1, 2), int(rng.integers(4)), float(rng.standard_normal() + 1)
        slices.update(x, a, y)
        particles.update(x, a, y)
    first, second = (p._draw_shared((1_500,), rng, 1.0) @ p.table.basis.T for p in (slices, particles))
    assert energy_score(second, first, rng).z_score < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("reward", ["gaussian", "bernoulli"])
def test_agents_keep_the_contract(reward):
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=2, link="mlp", reward=reward)
    settings = {"approximation": "slice", "num_particles": 64, "num_steps": 4}
    check_agent(functools.partial(make_agent, "dTS", **settings), env)


@pytest.mark.parametrize("reward", ["gaussian", "bernoulli"])
def test_saved_agents_continue_bit_for_bit_and_seeds_differ(reward, tmp_path):
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=2, link="mlp", reward=reward)
    make = functools.partial(make_agent, "dTS", env, approximation="slice", num_particles=4, num_steps=2)
    agent, other = make(seed=0), make(seed=1)
    assert (agent.sample_parameters() != other.sample_parameters()).all()
    for action in (0, 3, 3):
        agent.update([0.5, -0.3], action, 1.0)
    agent.save(tmp_path / "agent")
    again = type(agent).load(tmp_path / "agent")
    for each in (agent, again):
        each.update([0.1, 0.9], 2, 0.0)
    for x in np.random.default_rng(0).uniform(-1, 1, (20, 2)):
        assert agent.act(x) == again.act(x)
    np.testing.assert_array_equal(agent.sample_parameters(), again.sample_parameters())


def test_a_branch_is_refused():
    env = gym.make("DiffusionBandit-v0", num_actions=6, dim=2, link="mlp", branch=1)
    with pytest.raises(ValueError, match="branch must be 0 for approximation 'slice', got 1"):
        make_agent("dTS", env, approximation="slice")
