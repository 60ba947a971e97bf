"""Probabilities that a score is the largest: against closed forms, fine sums on grids, and draws."""

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import norm

from dts_gym.posteriors.win_probabilities import Scores, win_probabilities


def scores(means, stds, counts=None):
    means, stds = np.atleast_1d(np.asarray(means, float)), np.asarray(stds, float)
    counts = np.ones(len(means)) if counts is None else np.asarray(counts, float)
    return Scores(np.zeros((1, len(means))), means[None], np.broadcast_to(stds, means.shape)[None], counts)


@pytest.mark.parametrize("gap", [0.0, 0.3, 2.0, 6.0])
@pytest.mark.parametrize("narrow", [1.0, 1e-3, 1e-9])
def test_of_two_scores_the_probability_is_that_of_their_difference(gap, narrow):
    found, error = win_probabilities(scores([gap, 0.0], [narrow, 1.0]))
    z = gap / np.hypot(narrow, 1.0)
    np.testing.assert_allclose(found, [ndtr(z), ndtr(-z)], rtol=1e-6, atol=1e-11)
    assert error < 1e-7


@pytest.mark.parametrize("number", [3, 50, 2_000])
def test_equal_scores_are_as_likely(number):
    found, error = win_probabilities(scores(np.full(number, 7.0), 2.0))
    np.testing.assert_allclose(found, 1 / number, rtol=1e-6)
    assert error < 1e-6


def test_scores_without_variance_tie():
    np.testing.assert_array_equal(win_probabilities(scores([3.0, 3.0, 1.0], 0.0))[0][2], 0.0)
    np.testing.assert_allclose(win_probabilities(scores([3.0, 3.0, 1.0], 0.0))[0][:2], 0.5)
    np.testing.assert_allclose(win_probabilities(scores([0.0] * 4, 0.0))[0], 0.25)
    # Two fixed numbers of 1 and a standard normal one: it is above both with the probability of 1 deviation.
    np.testing.assert_allclose(
        win_probabilities(scores([1.0, 1.0, 0.0], [0.0, 0.0, 1.0]))[0],
        [ndtr(1.0) / 2, ndtr(1.0) / 2, ndtr(-1.0)],
        rtol=1e-6,
    )


def on_a_grid(means, stds, counts):
    """The same integrals by sums over a fine grid, of densities and distribution functions."""
    t = np.linspace(-12, 12, 400_001)
    cdf, density = ndtr((t[:, None] - means) / stds), norm.pdf(t[:, None], means, stds)
    every = (counts * np.log(np.maximum(cdf, 1e-300))).sum(axis=1, keepdims=True)
    return (density / np.maximum(cdf, 1e-300) * np.exp(every)).sum(axis=0) * (t[1] - t[0])


@pytest.mark.parametrize("seed", range(4))
def test_against_sums_on_a_fine_grid_small_probabilities_too(seed):
    rng = np.random.default_rng(seed)
    means, stds = rng.standard_normal(20), np.exp(rng.uniform(-2, 0.5, 20))
    counts = np.append(np.ones(19), 30.0)
    found, error = win_probabilities(scores(means, stds, counts))
    truth = on_a_grid(means, stds, counts)
    np.testing.assert_allclose(found[truth > 1e-9], truth[truth > 1e-9], rtol=1e-5)
    assert (found[truth < 1e-12] <= 2e-12).all()
    assert error < 1e-7


@pytest.mark.parametrize("number", [1, 10, 1_000, 1e6, 1e9])
def test_any_number_of_unplayed_actions_is_one_distribution(number):
    rng = np.random.default_rng(1)
    found, error = win_probabilities(
        scores(np.append(rng.standard_normal(8) + 3, 0), 1.0, np.append(np.ones(8), number))
    )
    assert error < 1e-6
    if number == 10:
        np.testing.assert_allclose(found, on_a_grid(np.append(np.random.default_rng(1).standard_normal(8) + 3, 0),
                                                    np.ones(9), np.append(np.ones(8), 10.0)), rtol=1e-5)  # fmt: skip
    alone, _ = win_probabilities(scores([0.0, 0.0], 1.0, [1, number]))  # one played action of the same distribution
    np.testing.assert_allclose(alone, 1 / (number + 1), rtol=1e-6)


def test_mixtures_against_draws():
    """|z| < 4.5 of 400 000 draws for four actions: a false alarm in some 40 000 runs."""
    weights = np.array([[0.3, 0.6], [0.7, 0.4]])
    means, stds = np.array([[-2.0, 0.0], [1.0, 0.5]]), np.array([[0.5, 1.0], [0.1, 2.0]])
    found, error = win_probabilities(Scores(np.log(weights), means, stds, np.array([1.0, 3.0])))
    rng, size, of = np.random.default_rng(0), 400_000, [0, 1, 1, 1]
    component = (rng.random((size, 4)) > weights[0, of]).astype(int)
    best = (means[component, of] + stds[component, of] * rng.standard_normal((size, 4))).argmax(axis=1)
    shares, p = np.bincount(best, minlength=4) / size, found[of]
    assert (np.abs(shares - p) < 4.5 * np.sqrt(p * (1 - p) / size)).all()
    assert error < 1e-7


def test_narrow_scores_beside_wide_ones():
    # A score 1e-6 wide, one 1e-3 wide just above it, and a million wide ones whose largest is above both at times.
    found, error = win_probabilities(scores([5.0, 0.0, 5.0001], [1e-6, 1.0, 1e-3], [1, 1e6, 1]))
    largest = -np.expm1(1e6 * np.log1p(-ndtr(-5.0)))  # of the million being above 5
    assert abs(found[1] * 1e6 - largest) < 1e-3
    assert abs(found[0] / (found[0] + found[2]) - ndtr(-0.1)) < 1e-3
    assert error < 1e-6
