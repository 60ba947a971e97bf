"""Calibration of the agents' posteriors, and its power: it detects wrong posteriors, and how they are wrong.

A z-score of a calibrated posterior passes 4.5 by chance once in 150 000 times (a chi-square of these sizes twice as
often); a problem has 21 of them.
"""

from dataclasses import replace

import numpy as np
import pytest
import tyro
from scipy.stats import chisquare

from dts_gym.cli.calibration import run_calibration
from dts_gym.diagnostics.calibration import calibrate, calibration_table
from dts_gym.diagnostics.calibration_problems import PROBLEMS, CalibrationProblem
from dts_gym.diagnostics.rank_tests import rank_test
from dts_gym.posteriors.two_level_posterior import TwoLevelPosterior
from dts_gym.priors.chains import LinearDiffusionPrior
from dts_gym.priors.random_priors import random_linear_prior
from dts_gym.problem.problem import BanditProblem
from dts_gym.problem.rewards import GaussianReward, PoissonReward

LINEAR, MLP = PROBLEMS[0].problem, PROBLEMS[3].problem


def calibrated(problem, simulations, **settings):
    return calibrate([problem], simulations=simulations, **settings)[0]


def wrong(**settings):
    """The tests of dTS with settings that make its posterior wrong."""
    return calibrated(CalibrationProblem("wrong", LINEAR, settings=settings), 200, draws=31, bins=8).tests


def test_the_exact_posterior_of_a_linear_chain_is_calibrated():
    result = calibrated("linear", 400, draws=31)
    assert result.largest_z < 4.5
    assert {test.verdict for test in result.tests.values()} == {"uniform"}
    assert result.quantities == (
        "played theta[0, 0]",
        "played theta[0, 2]",
        "unplayed theta[4, 0]",
        "unplayed theta[4, 2]",
        "best mean",
        "average mean",
        "log-likelihood",
    )


def test_a_shared_parameter_is_calibrated():
    problem = BanditProblem(4, 2, random_linear_prior(2, 2), GaussianReward(0.5), features="shared")
    result = calibrated(CalibrationProblem("shared", problem), 300, draws=31)
    assert result.largest_z < 4.5
    assert result.quantities == ("theta[0]", "theta[1]", "best mean", "average mean", "log-likelihood")


@pytest.mark.parametrize(("exploration", "verdict"), [(0.5, "too narrow"), (2.0, "too wide")])
def test_a_wrong_scale_is_told(exploration, verdict):
    tests = wrong(exploration=exploration)
    assert [test.verdict for name, test in tests.items() if "theta" in name] == [verdict] * 4


def test_a_shared_part_with_too_little_spread_is_told(monkeypatch):
    draw_shared = TwoLevelPosterior._draw_shared
    monkeypatch.setattr(TwoLevelPosterior, "_draw_shared", lambda self, lead, rng, _: draw_shared(self, lead, rng, 0.5))
    tests = wrong()
    assert {tests[name].verdict for name in ("played theta[0, 0]", "unplayed theta[4, 0]")} == {"too narrow"}


def test_a_wrong_noise_is_told_by_what_was_played():
    tests = wrong(noise_std=0.1)
    assert tests["played theta[0, 0]"].verdict == "too narrow"
    assert tests["log-likelihood"].z_score > 4.5


def test_a_wrong_branch_is_told_by_what_depends_on_all_actions():
    """Actions believed independent, which share most, and rewards that say nothing: each alone is as it should be."""
    prior = LinearDiffusionPrior([np.eye(3)], [0.2 * np.eye(3), np.eye(3)])
    problem = BanditProblem(5, 3, prior, GaussianReward(100.0))
    tests = calibrated(CalibrationProblem("branch", problem, settings={"branch": 1}), 200, draws=31, bins=8).tests
    assert tests["average mean"].verdict == "too narrow"
    assert tests["best mean"].verdict == "too high"
    assert {test.verdict for name, test in tests.items() if "theta" in name} == {"uniform"}


def test_a_posterior_that_has_not_learned_is_told_by_the_likelihood_alone():
    """Ranks of theta among prior draws are uniform; the true parameters fit the data better than most of these."""
    tests = wrong(noise_std=1e6)
    assert tests["log-likelihood"].verdict == "too low"
    assert tests["log-likelihood"].shift > 0.3
    assert {test.verdict for name, test in tests.items() if "theta" in name} == {"uniform"}


def test_a_wrong_prior_mean_is_told_as_a_shift():
    """The agent's chain has a mean that is one standard deviation too high."""
    true = LinearDiffusionPrior([np.eye(1)], [np.eye(1), np.eye(1)])

    class Shifted(LinearDiffusionPrior):
        def sample(self, rng, num_actions):
            return true.sample(rng, num_actions)

    believed = Shifted([np.eye(1)], [np.eye(1), np.eye(1)], offsets=[[1.0]])
    problem = CalibrationProblem("shifted", BanditProblem(3, 1, believed, GaussianReward(2.0)), num_rounds=3)
    tests = calibrated(problem, 200, draws=31, bins=8).tests
    assert tests["unplayed theta[2, 0]"].verdict == "too high"
    assert tests["unplayed theta[2, 0]"].shift < -0.1


def test_scores_of_uniform_ranks_are_standard_normal():
    """400 tests of 320 ranks: mean 0 and variance 1 of each score, within 4.5 standard errors.

    The chi-square of 20 a bin is discrete and its variance falls short of the limit's by 1/320: not seen here.
    """
    rng = np.random.default_rng(0)
    tests = [rank_test(rng.integers(64, size=320), 63, 16) for _ in range(400)]
    for scores in np.array([(test.z_score, test.shift_z, test.spread_z) for test in tests]).T:
        assert abs(scores.mean()) * np.sqrt(400) < 4.5
        assert abs(scores.var() - 1) / np.sqrt(2 / 400) < 4.5


def test_the_chi_square_is_scipys_also_where_bins_are_uneven():
    ranks = np.random.default_rng(1).integers(10, size=200)
    test = rank_test(ranks, 9, 4)
    edges = [0, 3, 5, 8, 10]  # 10 ranks in 4 bins: 3, 2, 3, 2
    counts, _ = np.histogram(ranks, edges)
    assert test.p_value == pytest.approx(chisquare(counts, np.array([3, 2, 3, 2]) * 20).pvalue)


def test_ranks_without_chance_are_told_as_too_even():
    assert rank_test(np.tile(np.arange(64), 10), 63, 16).verdict == "too even"


def test_ranks_of_another_shape_are_told_as_misshapen():
    """Mean and mean distance from the middle are those of uniform ranks: half of every rank's weight goes next door."""
    assert rank_test(np.tile(np.array([1, 1, 2, 2, 5, 5, 6, 6]), 100), 7, 8).verdict == "misshapen"


def test_ties_are_broken_at_random():
    """All draws are the truth itself, the prior being a point: ranks are uniform, not all zero."""
    point = LinearDiffusionPrior([np.eye(2)], [np.zeros((2, 2))] * 2)
    result = calibrated(CalibrationProblem("point", BanditProblem(2, 2, point, GaussianReward())), 100, draws=9, bins=5)
    assert result.largest_z < 4.5


def test_results_are_those_of_the_seed_whatever_else_is_asked_and_however_many_workers():
    sizes = {"simulations": 50, "draws": 7, "bins": 4}
    one, other = calibrate(["linear", "linear-bernoulli"], num_workers=2, **sizes)
    np.testing.assert_array_equal(other.ranks, calibrate(["linear-bernoulli"], **sizes)[0].ranks)
    np.testing.assert_array_equal(one.ranks, calibrate(["linear"], **sizes)[0].ranks)
    assert (one.ranks != calibrate(["linear"], seed=1, **sizes)[0].ranks).any()
    assert one.histogram().sum(axis=1).tolist() == [50] * 7


def test_any_family_of_rewards_and_a_single_action_will_do():
    problem = BanditProblem(1, 1, random_linear_prior(1, 1), PoissonReward())
    result = calibrated(CalibrationProblem("poisson", problem, claim="approximate"), 20, draws=3, bins=2)
    assert result.quantities == ("played theta[0, 0]", "best mean", "average mean", "log-likelihood")


def test_the_command_prints_a_table():
    arguments = ["--problems", "linear", "--simulations", "40", "--draws", "7", "--bins", "4", "--no-progress"]
    lines = tyro.cli(run_calibration, args=arguments).splitlines()
    assert lines[0].split()[:3] == ["problem", "claim", "quantity"]
    assert len(lines) == 1 + 7 + 2
    assert lines[-2].startswith("40 simulations of 7 draws, 4 bins. Uniform: all three |z| < 4.5.")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problems": ["no"]}, r"problems must be .* names among \['linear', .*, got 'no'"),
        ({"problems": "linear"}, "problems must be a list of one at least, got 'linear'"),
        ({"problems": []}, r"problems must be a list of one at least, got \[\]"),
        ({"simulations": 79}, "simulations must be an integer >= 80, got 79"),
        ({"draws": 0}, "draws must be an integer >= 1, got 0"),
        ({"bins": 65}, "bins must be an integer in 2..64, got 65"),
        ({"seed": -1}, "seed must be an integer >= 0, got -1"),
        ({"num_workers": 0}, "num_workers must be an integer >= 1, got 0"),
        ({"problems": [CalibrationProblem("r", LINEAR, "Random")]}, "agent must be one with posterior .* 'Random'"),
        ({"problems": [CalibrationProblem("r", LINEAR, num_rounds=0)]}, "num_rounds must be an integer >= 1, got 0"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        calibrate(**{"problems": ["linear"], **change})


@pytest.mark.slow
@pytest.mark.parametrize("name", [problem.name for problem in PROBLEMS if problem.claim != "approximate"])
def test_exact_and_consistent_posteriors_are_calibrated(name):
    result = calibrated(name, 1000)
    print(calibration_table([result]))
    assert result.largest_z < 4.5


@pytest.mark.slow
def test_particles_of_independent_chains_are_calibrated():
    problem = replace(MLP, prior=MLP.prior.with_branch(2))
    result = calibrated(CalibrationProblem("mlp-branch-2", problem, claim="consistent"), 400)
    print(calibration_table([result]))
    assert result.largest_z < 4.5


@pytest.mark.slow
def test_approximations_are_shown_and_the_decks_rule_is_told():
    """The errors of approximations are printed, not asserted; but the rule "deck" is detected."""
    results = calibrate([problem.name for problem in PROBLEMS if problem.claim == "approximate"])
    print(calibration_table(results))
    assert {result.problem.name: result.largest_z for result in results}["mlp-deck"] > 4.5
