"""Beliefs about scores: against dense posteriors, against each other, and what they refuse."""

from fractions import Fraction

import numpy as np
import pytest

from dts_gym import BanditProblem, BernoulliReward, GaussianReward, random_linear_prior
from dts_gym.identification import RunStreams, ScoreBelief
from dts_gym.identification.agent_belief import AgentBelief
from dts_gym.identification.scores import score_prior

K, RUNS, ROUNDS, NOISE = 6, 3, 40, 0.6


def taught(rank):
    """A belief after some rounds, its prior, and the rounds."""
    rng = np.random.default_rng(rank)
    mean, roots = rng.normal(size=(RUNS, K)), rng.normal(size=(RUNS, K, rank))
    cov = roots @ roots.swapaxes(1, 2)
    belief = ScoreBelief(mean, cov, NOISE)
    actions, rewards = rng.integers(K, size=(ROUNDS, RUNS)), rng.normal(size=(ROUNDS, RUNS))
    for action, reward in zip(actions, rewards, strict=True):
        belief.update(action, reward)
    return belief, mean, cov, actions, rewards


@pytest.mark.parametrize("rank", [K, 2])
def test_updates_are_the_dense_posterior(rank):
    belief, mean, cov, actions, rewards = taught(rank)
    for run in range(RUNS):
        design = np.eye(K)[actions[:, run]]
        gain = cov[run] @ design.T @ np.linalg.inv(design @ cov[run] @ design.T + NOISE**2 * np.eye(ROUNDS))
        np.testing.assert_allclose(
            belief.mean[run], mean[run] + gain @ (rewards[:, run] - design @ mean[run]), atol=1e-9
        )
        np.testing.assert_allclose(belief.cov[run], cov[run] - gain @ design @ cov[run], atol=1e-9)
        np.testing.assert_array_equal(belief.counts[run], np.bincount(actions[:, run], minlength=K))
    np.testing.assert_allclose(belief.variances, np.diagonal(belief.cov, axis1=1, axis2=2))
    leader = np.array([0, 3, 5])
    spread = belief.variances + belief.variances[range(RUNS), leader][:, None] - 2 * belief.cov[range(RUNS), leader]
    np.testing.assert_allclose(belief.difference_variances(leader), spread, atol=1e-9)


def test_draws_have_the_beliefs_moments():
    """|z| < 4.5 of 6 means and 21 covariances of each of three runs: false alarm 6e-4."""
    belief = taught(K)[0]
    n = 20_000
    drawn = belief.draw(RunStreams([np.random.default_rng(run) for run in range(RUNS)]), n)
    for run in range(RUNS):
        off = drawn[run] - belief.mean[run]
        cov = belief.cov[run]
        assert (np.abs(off.mean(axis=0)) < 4.5 * np.sqrt(np.diag(cov) / n)).all()
        error = np.sqrt((np.outer(np.diag(cov), np.diag(cov)) + cov**2) / n)
        assert (np.abs(off.T @ off / n - cov) < 4.5 * error).all()


def test_a_precise_reward_leaves_a_covariance():
    belief = ScoreBelief([0.0, 0.0], [[1.0, 1.0 - 1e-9], [1.0 - 1e-9, 1.0]], 1e-7)
    for _ in range(50):
        belief.update(0, 1.0)
    assert np.linalg.eigvalsh(belief.cov[0]).min() >= -1e-18
    assert belief.mean[0] == pytest.approx([1.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("noise", [1e-6, 1e-9, 1e-12, 1e-15])
@pytest.mark.parametrize("correlated", [False, True])
def test_deviations_hold_however_little_noise_there_is(noise, correlated):
    """Against the dense posterior in rational numbers; means are right to the last digits of float64."""
    rng, rational = np.random.default_rng(0), np.vectorize(Fraction, otypes=[object])
    roots = rng.normal(size=(3, 3))
    prior = roots @ roots.T if correlated else np.diag([1.0, 2.0, 3.0])
    actions, scores = rng.integers(2, size=12).tolist(), rng.normal(size=3)
    belief, mean, cov = ScoreBelief(np.zeros(3), prior, noise), rational(np.zeros(3)), rational(prior)
    for action in actions:
        reward = float(scores[action] + noise * rng.normal())
        belief.update(action, reward)
        gain = cov[:, action] / (cov[action, action] + Fraction(noise) ** 2)
        mean, cov = mean + gain * (Fraction(reward) - mean[action]), cov - np.outer(gain, cov[action])
    variances = np.diagonal(cov)
    apart = belief.difference_variances(np.array([0]))[0]
    right = [*variances, *(cov[0, 0] + variances - 2 * cov[0])[1:]]
    found = [*belief.variances[0].tolist(), *apart[1:].tolist()]
    assert max(abs(float(Fraction(one) / exact - 1)) for one, exact in zip(found, right, strict=True)) < 1e-12
    assert np.abs(belief.mean[0] - mean.astype(float)).max() < 1e-14


def test_a_reward_is_no_more_precise_than_its_number():
    """Below the rounding of rewards, noise leaves finite beliefs and does not make other actions' means wrong."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    beliefs = [ScoreBelief(np.zeros(3), root @ root.T, noise) for noise in (1e-50, 1e-16)]
    for _ in range(20):
        action, reward = int(rng.integers(2)), 1.0 + 1e-15 * rng.normal()
        for belief in beliefs:
            belief.update(action, reward)
    np.testing.assert_allclose(beliefs[0].mean, beliefs[1].mean, atol=1e-13)
    assert np.isfinite(beliefs[0].cov).all()
    assert (np.sqrt(beliefs[0].variances[0, :2]) > 2e-17).all()


def test_noise_is_of_a_size_that_rewards_can_have():
    with pytest.raises(ValueError, match=r"noise_std must be between 1e-50 and 1e\+50, got 1e-200"):
        ScoreBelief([0.0, 0.0], np.eye(2), 1e-200)


@pytest.mark.parametrize(
    ("action", "reward", "message"),
    [
        (K, 0.0, "action must"),
        (-1, 0.0, "action must"),
        (0, np.nan, "reward must"),
        ([0, 1], [0.0, 1.0], "action must"),
    ],
)
def test_a_bad_round_is_refused_and_changes_nothing(action, reward, message):
    belief = ScoreBelief(np.zeros(K), np.eye(K))
    with pytest.raises(ValueError, match=message):
        belief.update(action, reward)
    assert not belief.counts.any()
    np.testing.assert_array_equal(belief.cov[0], np.eye(K))


@pytest.mark.parametrize(
    ("mean", "cov", "message"),
    [
        (np.zeros(2), [[1.0, 2.0], [2.0, 1.0]], "cov must"),
        (np.zeros((3, 2)), np.ones((2, 2, 2)), "cov must be of one run or of 3"),
        (np.zeros((2, 2, 2)), np.eye(2), "mean must be"),
        ([np.inf, 0.0], np.eye(2), "mean must"),
    ],
)
def test_a_prior_that_is_none_is_refused(mean, cov, message):
    with pytest.raises(ValueError, match=message):
        ScoreBelief(mean, cov)


def test_the_belief_of_an_agent_is_the_exact_one_where_there_is_one():
    rng = np.random.default_rng(0)
    problem = BanditProblem(K, 3, random_linear_prior(3, 2, seed=1), GaussianReward(NOISE))
    context = rng.normal(size=3)
    exact = ScoreBelief(*score_prior(problem, context), NOISE)
    agent = AgentBelief(problem, context, 0)
    assert agent.is_normal
    for action in rng.integers(K, size=25).tolist():
        reward = float(rng.normal())
        exact.update(action, reward)
        agent.update(action, reward)
    np.testing.assert_allclose(agent.mean, exact.mean, atol=1e-8)
    np.testing.assert_allclose(agent.cov, exact.cov, atol=1e-8)
    np.testing.assert_allclose(agent.average_rewards(), exact.average_rewards(), atol=1e-8)
    drawn = agent.draw(RunStreams([rng]), 4000)[0]
    z = (drawn.mean(axis=0) - exact.mean[0]) / np.sqrt(exact.variances[0] / 4000)
    assert np.abs(z).max() < 4.5


def test_other_rewards_have_no_normal_belief():
    problem = BanditProblem(K, 3, random_linear_prior(3, 2, seed=1), BernoulliReward())
    assert score_prior(problem, np.ones(3)) is None
    belief = AgentBelief(problem, np.ones(3), 0)
    assert not belief.is_normal
    before = belief.mean[0, 2]
    for _ in range(10):
        belief.update(2, 1.0)
    assert belief.mean[0, 2] > before
    assert belief.average_rewards()[0, 2] == 1.0
