"""Numbers whose squares or exponentials overflow are refused; the largest that are taken leave finite beliefs."""

import warnings

import numpy as np
import pytest

from dts_gym import BanditProblem, BernoulliReward, GaussianReward, PoissonReward, agent_ids, make_agent
from dts_gym.priors.fitting import fit_gaussian
from dts_gym.priors.mixtures import fit_mixture
from dts_gym.priors.random_priors import random_linear_prior, random_mlp_prior

LINEAR, PERCEPTRONS = random_linear_prior(2, 1, seed=0), random_mlp_prior(2, 1, seed=0)
X = np.array([0.6, 0.8])
AGENTS = {
    "dTS": (LINEAR, {}),
    "dTS online": (LINEAR, {"expansion": "online"}),
    "dTS mle": (LINEAR, {"expansion": "mle"}),
    "dTS particles": (PERCEPTRONS, {"num_particles": 8}),
    "dTS linearised": (PERCEPTRONS, {"approximation": "linearised"}),
    "dTS branch": (PERCEPTRONS, {"branch": 1, "num_particles": 8}),
    "dTS slice": (PERCEPTRONS, {"approximation": "slice", "num_particles": 4, "num_steps": 2}),
    "dUCB linearised": (PERCEPTRONS, {"approximation": "linearised"}),
    "GLM-TS": (LINEAR, {}),
    "UCB-GLM": (LINEAR, {}),
    "MixTS": (LINEAR, {}),
    "TunedTS": (LINEAR, {}),
}
SLOW = {"dTS branch", "dTS slice"}
GAUSSIAN = {"LinTS": (LINEAR, {}), "JointTS": (LINEAR, {}), "EpsilonGreedy": (LINEAR, {})}


def agent_of(name, settings, reward):
    prior, keywords = settings
    return make_agent(name.split()[0], BanditProblem(3, 2, prior, reward), seed=0, **keywords)


def arrays(agent):
    return {name: np.array(array) for name, array in agent._state().items()}


def assert_finite(agent):
    for context in (X, 1e30 * X):
        assert agent.act(context) in range(3)
    assert np.isfinite(agent.mean_reward(X)).all()
    if hasattr(agent, "sample_parameters"):
        assert np.isfinite(agent.sample_parameters()).all()


@pytest.mark.parametrize("name", AGENTS)
def test_the_largest_counts_leave_finite_beliefs_and_larger_ones_are_refused(name):
    agent = agent_of(name, AGENTS[name], PoissonReward())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for action in (0, 1, 1):
            agent.update(X / (1 + action), action, 2.0**53)
        assert_finite(agent)
    before = arrays(agent)
    for count in (2.0**54, 1e100, 1e154, 1e300):
        with pytest.raises(ValueError, match=r"reward must be a count of at most 2\^53, got"):
            agent.update(X, 2, count)
        with pytest.raises(ValueError, match=r"reward must be a count of at most 2\^53, got"):
            agent.update([X, X], [0, 2], [1.0, count])
    for key, array in arrays(agent).items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("noise_std", [1e-50, 1.0, 1e50])
@pytest.mark.parametrize("name", [name for name in (*AGENTS, *GAUSSIAN) if name not in SLOW])
def test_the_longest_contexts_and_rewards_leave_finite_beliefs_and_longer_ones_are_refused(name, noise_std):
    agent = agent_of(name, (AGENTS | GAUSSIAN)[name], GaussianReward(noise_std))
    by_filters = "linearised" in name or "particles" in name
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        if by_filters and noise_std < 1e50:  # float64 does not hold what is left of the prior, and there is no other
            before = arrays(agent)
            with pytest.raises(ValueError, match="context must let an action's rewards outweigh its prior by at most"):
                agent.update(1e50 * X, 1, 1e50)
            with pytest.raises(ValueError, match="context must let an action's rewards outweigh its prior by at most"):
                agent.update([X, 1e50 * X[::-1]], [0, 2], [1.0, 0.0])
            for key, array in arrays(agent).items():
                np.testing.assert_array_equal(array, before[key])
            assert_finite(agent)
            return
        agent.update(X, 0, 1e50)
        agent.update(1e50 * X, 1, 1e50)
        agent.update([1e50 * X[::-1]] * 3, [1, 1, 2], [-1e50, 1.0, 0.0])
        if noise_std < 1e50:
            # In rational numbers, rewards and contexts that are changed by 1e-16 of themselves move every action's mean
            # by 1e31 to 1e83 of its deviations here, and by 1e-16 of them with a noise of 1e50: what float64 numbers
            # say of these posteriors is nothing, and 32 digits do not hold the rewards that contradict each other.
            for ask in (agent.act, agent.mean_reward):
                for length in (1.0, 1e30, 1e50):
                    with pytest.raises(ValueError, match="context must be one along which 32 digits"):
                        ask(length * X)
            if hasattr(agent, "sample_parameters"):
                assert np.isfinite(agent.sample_parameters()).all()
        else:
            assert_finite(agent)
            assert agent.act(1e50 * X) in range(3)
    before = arrays(agent)
    for context, reward in ((2e100 * X, 1.0), (1e154 * X, 1.0), (1e200 * X, 1.0), (X, 2e100), (X, -1e154)):
        with pytest.raises(ValueError, match=r"(context|reward) must .*at most 1e\+50"):
            agent.update(context, 2, reward)
        with pytest.raises(ValueError, match=r"(context|reward) must .*at most 1e\+50"):
            agent.update([X, context], [0, 2], [1.0, reward])
    for key, array in arrays(agent).items():
        np.testing.assert_array_equal(array, before[key])


@pytest.mark.parametrize("reward", [BernoulliReward(), PoissonReward(), GaussianReward(1.0)], ids=lambda r: r.name)
def test_every_agent_refuses_a_context_that_is_too_long(reward):
    asked = 0
    for agent_id in agent_ids():
        try:
            agent = make_agent(agent_id, BanditProblem(3, 2, LINEAR, reward), seed=0)
        except ValueError:  # for rewards of another family, or another prior
            continue
        asked += 1
        for call in (agent.act, lambda x, agent=agent: agent.update(x, 0, 1.0)):
            with pytest.raises(ValueError, match=r"context must have a length of at most 1e\+50, got 1e\+104 times"):
                call(1e154 * X)
    assert asked >= 10


@pytest.mark.parametrize("agent_id", ["TunedTS", "MixTS"])
def test_past_parameters_that_are_too_large_are_refused(agent_id):
    past = np.random.default_rng(0).uniform(0.5, 1.0, (50, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent = make_agent(agent_id, BanditProblem(3, 2, LINEAR, GaussianReward(), past_parameters=1e50 * past), seed=0)
        assert agent.act(X) in range(3)
    for size in (2e50, 1e154, 1e200):
        with pytest.raises(ValueError, match=r"past_parameters must be at most 1e\+50 in size, got "):
            BanditProblem(3, 2, LINEAR, GaussianReward(), past_parameters=size * past)
    for fit in (fit_gaussian, fit_mixture):
        with pytest.raises(ValueError, match=r"parameters must be at most 1e\+50 in size, got "):
            fit(1e154 * past)
