"""What is kept beside a table's rows follows them where rows leave, come back or differ between runs."""

import numpy as np
import pytest

import dts_gym
from dts_gym import BanditProblem, GaussianReward, LinearDiffusionPrior, MixedEffectPrior, PoissonReward, make_agent
from dts_gym.posteriors import reference
from dts_gym.posteriors.lockstep.stacking import stacker
from dts_gym.posteriors.mixed_effects.glm_posterior import GLMMixedEffectPosterior
from dts_gym.posteriors.shared_parameter import SharedParameterPosterior
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.denoisers import DenoiserLink, DenoiserNetwork
from dts_gym.priors.two_level import TwoLevelPrior

D = 4


@pytest.fixture(params=["1", "0"])
def fast(request, monkeypatch):
    """Rounds by compiled kernels, where these are installed, and by NumPy; all tables are read by bounds."""
    monkeypatch.setenv("DTS_GYM_FAST", request.param)
    monkeypatch.setattr(reference, "_FROM", 0)


@pytest.mark.usefixtures("fast")
def test_bounds_follow_rows_that_move_when_an_action_is_retired(tmp_path):
    e, K = np.eye(D), 12
    prior = LinearDiffusionPrior([np.eye(D)], [np.eye(D), np.eye(D)])
    agent = make_agent("dTS", BanditProblem(K, D, prior, GaussianReward(0.1)), seed=0)
    for action in range(K):
        for i in range(D):
            agent.update(e[i], action, (9.0 if action == K - 1 else -9.0) if i == 0 else 0.0)
    assert [agent.act(e[0]) for _ in range(5)] == [K - 1] * 5
    agent.retire(0)  # its row is now the last action's
    agent.update(-e[0], 1, 9.0)
    agent.save(tmp_path / "agent.npz")
    assert [agent.act(e[0]) for _ in range(5)] == [K - 1] * 5
    np.testing.assert_array_equal(agent.act(np.tile(e[0], (5, 1))), K - 1)
    assert dts_gym.agents.Agent.load(tmp_path / "agent.npz").act(e[0]) == K - 1


@pytest.mark.usefixtures("fast")
def test_bounds_follow_a_state_of_fewer_rows():
    rng = np.random.default_rng(0)

    def taught(count):
        posterior = TwoLevelPosterior(TwoLevelPrior(np.zeros(D), np.eye(D), np.eye(D)), 40, 0.5)
        for action in range(count):
            posterior.update(np.eye(D)[action % D], action, float(action))
        return posterior

    posterior, other = taught(40), taught(10)
    contexts = rng.standard_normal((6, D))
    posterior.thompson(contexts, rng)
    posterior.update(contexts[0], 39, 1.0)  # changes a row that the other does not have
    posterior.restore(other.state())
    for x in contexts:
        picks = [one.thompson(x, np.random.default_rng(3)) for one in (posterior, other)]
        assert picks[0] == picks[1]


def test_runs_whose_actions_vary_along_different_directions_are_not_stacked():
    def single(own):
        prior = TwoLevelPrior(np.zeros(2), np.zeros((2, 2)), own)
        return SharedParameterPosterior(TwoLevelPosterior(prior, 1, 1.0))

    flat, full = single(np.diag([1.0, 0.0])), single(np.eye(2))
    assert stacker([flat, full]) is None
    assert stacker([full, single(2 * np.eye(2))]) is not None


@pytest.mark.parametrize("agent_id", ["GLM-TS", "dTS"])
def test_counts_under_long_contexts_keep_their_width(agent_id):
    """The posterior of one log rate is the gamma distribution's but for the prior, which is wide."""
    prior = LinearDiffusionPrior([np.eye(1)], [np.eye(1), np.zeros((1, 1))], branch=1)
    agent = make_agent(agent_id, BanditProblem(2, 1, prior, PoissonReward()), seed=0)
    counts = np.random.default_rng(0).poisson(3.0, 300)
    for count in counts:
        agent.update([5e6], 0, float(count))
    mean, std = agent.marginals([5e6])
    total = float(counts.sum())
    assert std[0] == pytest.approx(total**-0.5, rel=0.01)
    assert abs(mean[0] - np.log(total / 300)) < 0.1 * std[0]


def test_mixed_effects_learn_from_evidence_that_outweighs_their_own_parts():
    """With d = 1 everything is known in closed form; the own part's covariance is singular in d = 2."""
    prior = MixedEffectPrior(np.ones((3, 1)), np.diag([1.0, 0.0]), np.diag([1.0, 0.0]))
    posterior = GLMMixedEffectPosterior(prior, PoissonReward())
    for _ in range(3):
        posterior.update(np.array([1e5, 3.7e4]), 0, 1e8)
    mean, cov = posterior.moments()
    assert np.isfinite(mean).all()
    assert np.isfinite(cov).all()
    score = 1e5 * mean[0, 0]  # the second number is known to be 0
    assert score == pytest.approx(np.log(1e8), abs=1e-3)


def test_a_network_that_is_changed_is_another_network():
    network = DenoiserNetwork(
        np.ones((4, 2)), *np.full((2, 1, 4, 4), 0.1), np.ones((2, 4)), np.zeros(2), np.zeros((1, 2, 4))
    )
    before = DenoiserLink(network, 1, 0.25, 1.0).velocity(np.ones(2))
    network.last[:] *= 3
    np.testing.assert_allclose(DenoiserLink(network, 1, 0.25, 1.0).velocity(np.ones(2)), 3 * before, rtol=1e-5)
