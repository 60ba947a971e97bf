"""The probability to be the best action: against draws, known cases, and its own reliability."""

import numpy as np
import pytest

from dts_gym import BanditProblem, GaussianReward, random_linear_prior
from dts_gym.identification import RuleSpec, RunStreams, ScoreBelief, identify, pose, rule_ids
from dts_gym.identification.best_action import are_best, best_probabilities, independent_probabilities
from dts_gym.identification.games import ScoreGame, play, posed_game

DRAWS = 40_000


def test_quadrature_agrees_with_draws():
    # 6 z values; false alarm below 1e-4 at 4.5
    mean, std = np.array([0.0, 0.1, 0.5, -1.0, 0.5, 0.45]), np.array([1.0, 0.01, 0.3, 2.0, 0.3, 1e-4])
    found = independent_probabilities(mean, std**2)
    draws = mean + std * np.random.default_rng(0).standard_normal((DRAWS * 10, 6))
    shares = np.bincount(draws.argmax(axis=1), minlength=6) / len(draws)
    error = np.sqrt(np.maximum(found * (1 - found), 1e-9) / len(draws))
    assert np.isclose(found.sum(), 1)
    assert found[2] == pytest.approx(found[4])
    assert (np.abs(shares - found) / error).max() < 4.5


def test_correlated_scores_are_judged_by_their_joint_distribution():
    # the difference of two scores is N(0.3, 0.2): P(first best) = cdf(0.3 / sqrt 0.2) = 0.748833
    belief = ScoreBelief([0.3, 0.0], [[1.0, 0.9], [0.9, 1.0]])
    found = best_probabilities(belief, RunStreams([np.random.default_rng(1)]), DRAWS)[0]
    assert abs(found[0] - 0.748833) < 4.5 * np.sqrt(0.75 * 0.25 / DRAWS)


def test_equal_actions_share_the_probability_to_be_the_best():
    """Of three scores two are equal, whatever their value: the third is above them with probability 1/2."""
    rng = np.random.default_rng(0)
    root = np.array([[1.0, 0.3], [1.0, 0.3], [0.2, -1.1]])
    for center, scale in ((0.0, 1.0), (0.1, 1e-6), (1e6, 1.0)):
        belief = ScoreBelief(np.full(3, center), scale**2 * root @ root.T)
        found = best_probabilities(belief, RunStreams([rng]), DRAWS)[0]
        np.testing.assert_allclose(found, [0.25, 0.25, 0.5], atol=4.5 * 0.5 / np.sqrt(DRAWS))
        assert found[0] == pytest.approx(found[1], abs=1e-4)
    equal = ScoreBelief(np.zeros(4), np.ones((4, 4)))
    np.testing.assert_allclose(best_probabilities(equal, RunStreams([rng]), 100)[0], 0.25, atol=1e-12)
    constants = ScoreBelief([1.0, 1.0, 0.0], np.zeros((3, 3)))
    np.testing.assert_allclose(best_probabilities(constants, RunStreams([rng]), 100)[0], [0.5, 0.5, 0.0], atol=1e-12)


def test_any_of_equal_best_actions_is_the_best():
    belief = ScoreBelief([0.0, 0.0, -9.0], np.diag([1.0, 1.0, 1.0]))
    belief.update(1, 1.0)
    game = ScoreGame(np.array([[2.0, 2.0, 1.0]]), belief, pose("mab", {"num_actions": 3}, 0).problem, [0])
    outcomes = game.judge(RuleSpec("Uniform").make())
    assert outcomes.recommendations == [1]
    assert outcomes.is_best == [True]
    assert outcomes.simple_regrets == [0.0]


def reliability(name, sizes, budget, runs=1000):
    """z values of the number of best recommendations given their probabilities, of all runs and in five bands."""
    seeds = range(runs)
    game = posed_game([pose(name, sizes, seed) for seed in seeds], seeds)
    found = play(game, RuleSpec("TopTwoTS").make(), budget)
    draws = 4000
    probabilities = best_probabilities(game.belief, game.streams, draws)
    p = probabilities[np.arange(runs), found.recommendations]
    bands = np.digitize(p, [0.3, 0.5, 0.7, 0.9])
    for rows in (np.ones(runs, dtype=bool), *(bands == band for band in range(5))):
        if rows.sum() >= 20:
            yield (found.is_best[rows] - p[rows]).sum() / np.sqrt((p[rows] * (1 - p[rows]) + 0.25 / draws).sum())


@pytest.mark.parametrize("name", ["mab", "hierarchical"])
def test_probabilities_are_reliable(name):
    """Over 1000 runs of small problems: at most six z values each, false alarm 4e-5."""
    sizes = {"num_actions": 6} if name == "mab" else {"num_actions": 8, "num_effects": 3}
    values = list(reliability(name, sizes, 25))
    assert len(values) >= 4
    assert np.abs(values).max() < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mab", "linear", "hierarchical"])
def test_probabilities_are_reliable_on_the_papers_problems(name):
    """Over 1000 runs of the paper's sizes with 300 rounds: at most six z values each, false alarm 4e-5."""
    values = list(reliability(name, {}, 300))
    print(name, np.round(values, 2))
    assert len(values) >= 4
    assert np.abs(values).max() < 4.5


@pytest.mark.parametrize(
    ("mean", "variances"), [([0, 0], [0, 0]), ([5], [0]), ([1, 1, 1], [0, 0, 0]), ([1, 1], [0, 1e-36])]
)
def test_constants_that_are_equal_share(mean, variances):
    found = independent_probabilities(np.array(mean, dtype=float), np.array(variances, dtype=float))
    np.testing.assert_allclose(found, 1.0 / len(mean))


def test_scores_that_are_equal_up_to_rounding_are_all_the_best():
    scores = np.array([[0.1 + 0.2, 0.3, 0.0], [1.0, 0.999999, 0.0]])
    assert are_best(scores, np.array([0, 1])).tolist() == [True, False]
    assert are_best(scores, np.array([1, 0])).tolist() == [True, True]


@pytest.mark.parametrize("rule", rule_ids())
def test_every_rule_plays_where_nothing_is_uncertain(rule):
    problem = BanditProblem(3, 2, random_linear_prior(2, 1), GaussianReward())
    result = identify(problem, rule, budget=12, context=[0.0, 0.0])
    np.testing.assert_allclose(result.probability_best, 1 / 3)
    assert result.is_best
