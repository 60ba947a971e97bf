"""Schedules of rules that drop actions, worked out by hand."""

import numpy as np
import pytest

from dts_gym import identify
from dts_gym.identification import RuleSpec, RunStreams, ScoreBelief, pose
from dts_gym.identification.elimination import halving_schedule, rejects_schedule


def test_halving_by_hand():
    # ceil(log2 8) = 3 stages of 48 / 3 = 16 rounds: 2, 4, 8 plays of 8, 4, 2 actions
    assert halving_schedule(8, 48) == [(8, 16), (4, 16), (2, 16)]
    # K = 5: 5, 3, 2; 20 = 6 + 7 + 7
    assert halving_schedule(5, 20) == [(5, 6), (3, 7), (2, 7)]


def test_a_first_stage_with_fewer_rounds_than_actions_is_played_as_far_as_it_goes():
    # K = 60, n = 150: ceil(log2 60) = 6 stages of 25 rounds; floor(150 / (60 6)) = 0 plays by the usual formula
    assert halving_schedule(60, 150) == [(60, 25), (30, 25), (15, 25), (8, 25), (4, 25), (2, 25)]


def test_rejects_by_hand():
    # log K = 1/2 + 1/2 + 1/3 + 1/4 = 19/12; n_k = ceil(16 12 / (19 (5 - k))): 3, 4, 6; K = 4, n = 20
    # stages: 4 actions 3 each, 3 actions 1 each, 2 actions 2 each: 12 + 3 + 4 = 19, one round over in the last
    assert rejects_schedule(4, 20) == [(4, 12), (3, 3), (2, 5)]


@pytest.mark.parametrize("K", [1, 2, 3, 7, 60])
def test_schedules_spend_the_budget(K):
    for budget in (K + 1, 2 * K + 5, 301):
        for schedule in (halving_schedule, rejects_schedule):
            assert sum(stage.rounds for stage in schedule(K, budget)) == (budget if K > 1 else 0)


@pytest.mark.parametrize(
    ("rule", "K", "least"), [("SequentialHalving", 10, 4), ("SuccessiveRejects", 10, 11), ("PI-BAI-TS", 10, 10)]
)
def test_a_budget_too_small_is_refused_with_the_least_that_works(rule, K, least):
    problem = pose("mab", {"num_actions": K}, 0).problem
    with pytest.raises(ValueError, match=rf"budget must be .*\b{least}\b.*got {least - 1}"):
        identify(problem, rule, budget=least - 1)
    assert identify(problem, rule, budget=least).counts.sum() == least


def test_halving_keeps_the_actions_of_the_largest_averages():
    rule, streams = RuleSpec("SequentialHalving").make(), RunStreams([np.random.default_rng(0)])
    belief = ScoreBelief(np.zeros(4), np.eye(4), 1.0)
    rewards = np.array([0.0, 3.0, 1.0, 2.0])
    rule.start(belief, 16, streams)
    played = []
    for _ in range(16):
        action = rule.choose(belief, streams)
        belief.update(action, rewards[action])
        played.append(int(action[0]))
    assert sorted(played[:8]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert sorted(played[8:]) == [1] * 4 + [3] * 4
    assert rule.recommend(belief, streams)[0] == 1
