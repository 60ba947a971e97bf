"""The knowledge gradient: against a dense integral, and against the rise of every action one by one."""

import numpy as np
import pytest

from dts_gym.identification import RuleSpec, ScoreBelief
from dts_gym.identification.simple_rules import expected_rise, rise_bounds


def dense_rise(heights, slopes):
    z = np.linspace(-12, 12, 200_001)
    density = np.exp(-z * z / 2) / np.sqrt(2 * np.pi)
    lines = heights[:, None] + slopes[:, None] * z
    return ((lines.max(axis=0) - heights.max()) * density).sum() * (z[1] - z[0])


@pytest.mark.parametrize("seed", range(6))
def test_the_expected_rise_is_that_of_a_dense_integral(seed):
    rng = np.random.default_rng(seed)
    heights, slopes = rng.normal(size=7), rng.normal(size=(3, 7)) * [[0.1], [1.0], [5.0]]
    heights[1], slopes[:, 2] = heights.max(), slopes[:, 3]  # two leaders, and two parallel lines
    expected = [dense_rise(heights, row) for row in slopes]
    assert np.allclose(expected_rise(np.tile(heights, (3, 1)), slopes), expected, rtol=1e-6, atol=1e-9)
    least, most = (bound[0] for bound in rise_bounds(heights[None], slopes[None]))
    assert (least <= np.array(expected) + 1e-6).all()
    assert (most >= np.array(expected) - 1e-6).all()


def test_bounds_meet_where_one_line_alone_leaves_the_leader():
    heights, slopes = np.array([[1.0, 0.0, -50.0]]), np.array([[[0.0, 2.0, 0.0]]])
    least, most = rise_bounds(heights, slopes)
    assert least[0, 0] == pytest.approx(expected_rise(heights, slopes[:, 0])[0])
    assert most[0, 0] == pytest.approx(least[0, 0])


def drawn_belief(runs, K, noise_std, spread):
    rng = np.random.default_rng(runs)
    roots = rng.normal(size=(runs, K, K))
    return ScoreBelief(spread * rng.normal(size=(runs, K)), roots @ roots.swapaxes(1, 2), noise_std)


@pytest.mark.parametrize("spread", [0.0, 1.0, 20.0])
def test_the_action_of_the_largest_rise_is_played(spread):
    runs, K, noise_std = 40, 9, 0.7
    belief = drawn_belief(runs, K, noise_std, spread)
    chosen = RuleSpec("KnowledgeGradient").make().choose(belief, None)
    for run in range(runs):
        slopes = belief.cov[run] / np.sqrt(belief.variances[run] + noise_std**2)[:, None]
        rises = [expected_rise(belief.mean[run], row) for row in slopes]
        assert rises[chosen[run]] == pytest.approx(max(rises), rel=1e-12)


def test_without_any_rise_the_most_uncertain_action_is_played():
    belief = ScoreBelief([1e6, 0.0, 0.0], np.diag([0.01, 0.5, 2.0]))
    assert RuleSpec("KnowledgeGradient").make().choose(belief, None)[0] == 2
