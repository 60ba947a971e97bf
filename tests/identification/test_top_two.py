"""Leaders and challengers: against definitions by hand, and how often each is played."""

import numpy as np
import pytest

from dts_gym.identification import RuleSpec, RunStreams, ScoreBelief
from dts_gym.identification.top_two import nearest_challengers

MEAN = np.array([0.0, 1.0, 0.9, 0.2])
COV = np.array([[1.0, 0.2, 0.0, 0.1], [0.2, 0.5, 0.4, 0.0], [0.0, 0.4, 0.5, 0.0], [0.1, 0.0, 0.0, 2.0]])


def streams(runs):
    return RunStreams([np.random.default_rng([7, run]) for run in range(runs)])


def chosen(rule, runs=4000, mean=MEAN, cov=COV):
    belief = ScoreBelief(np.tile(mean, (runs, 1)), cov)
    made = RuleSpec(*rule).make()
    made.start(belief, 10, streams(runs))
    return made.choose(belief, streams(runs))


def test_challengers_have_the_least_transportation_cost():
    belief = ScoreBelief(np.tile(MEAN, (4, 1)), COV)
    for leader in range(4):
        cost = [
            max(MEAN[leader] - MEAN[j], 0) ** 2 / (2 * (COV[leader, leader] + COV[j, j] - 2 * COV[leader, j]))
            if j != leader
            else np.inf
            for j in range(4)
        ]
        found = nearest_challengers(belief, np.full(4, leader))
        assert (found == np.argmin(cost)).all()


def probabilities_best():
    draws = np.random.default_rng(0).multivariate_normal(MEAN, COV, 400_000).argmax(axis=1)
    return np.bincount(draws, minlength=4) / len(draws)


def test_actions_are_played_as_often_as_the_definitions_say():
    """Shares of 4000 runs against shares of 400 000 draws: 16 z values, false alarm 1e-4."""
    p = probabilities_best()
    others = np.array([sum(p[i] * p[j] / (1 - p[i]) for i in range(4) if i != j) for j in range(4)])
    challengers = nearest_challengers(ScoreBelief(np.tile(MEAN, (4, 1)), COV), np.arange(4))
    nearest = np.bincount(challengers, weights=p, minlength=4)
    cases = {
        ("TS",): p,
        ("TopTwoTS",): (p + others) / 2,
        ("TopTwoTS", (("leader_share", 0.8),)): 0.8 * p + 0.2 * others,
        ("T3C",): (p + nearest) / 2,
    }
    for (name, *settings), share in cases.items():
        counts = np.bincount(chosen((name, dict(*settings))), minlength=4)
        z = (counts - 4000 * share) / np.sqrt(4000 * share * (1 - share))
        assert np.abs(z).max() < 4.5


def test_where_no_other_action_is_drawn_the_challenger_is_the_nearest():
    mean, cov = np.array([0.0, 50.0, 10.0]), np.eye(3)
    counts = np.bincount(chosen(("TopTwoTS",), 1000, mean, cov), minlength=3)
    assert counts[0] == 0
    assert abs(counts[1] - 500) < 4.5 * np.sqrt(250)


@pytest.mark.parametrize(("share", "played"), [(1.0, 1), (0.0, 2)])
def test_the_leaders_share_may_be_all_or_nothing(share, played):
    mean = np.array([0.0, 50.0, 10.0])
    assert (chosen(("TopTwoTS", {"leader_share": share}), 50, mean, np.eye(3)) == played).all()
