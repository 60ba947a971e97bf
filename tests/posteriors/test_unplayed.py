"""The set of unplayed actions against Python's own sets."""

import numpy as np
from hypothesis import given, strategies

from dts_gym.posteriors.unplayed import UnplayedActions


@given(
    strategies.integers(1, 12).flatmap(
        lambda K: strategies.tuples(strategies.just(K), strategies.permutations(range(K)))
    )
)
def test_removals_in_any_order_leave_the_right_set(case):
    K, order = case
    actions, left = UnplayedActions(K), set(range(K))
    rng = np.random.default_rng(0)
    played = {}
    for action in order[:-1]:
        actions.remove(action)
        left.discard(action)
        played[action] = len(played)
        assert len(actions) == len(left)
        assert set(actions.draw(rng, 30 * K).tolist()) <= left
        assert actions.lowest(played) == min(left)
    assert actions.draw(rng, 5).tolist() == [order[-1]] * 5


def test_draws_are_uniform():
    # 5 of 9 actions are left; chi-square with 4 degrees of freedom exceeds 33 once in a million.
    actions = UnplayedActions(9)
    for action in (8, 0, 3, 4):
        actions.remove(action)
    counts = np.bincount(actions.draw(np.random.default_rng(0), 50_000), minlength=9)
    left = counts[[1, 2, 5, 6, 7]]
    assert counts.sum() == left.sum()
    assert ((left - 10_000) ** 2 / 10_000).sum() < 33


def test_a_billion_actions_cost_nothing():
    actions = UnplayedActions(10**9)
    for action in (5, 10**9 - 1, 0):
        actions.remove(action)
    drawn = actions.draw(np.random.default_rng(0), 100)
    assert not set(drawn.tolist()) & {0, 5, 10**9 - 1}
    assert len(actions) == 10**9 - 3
