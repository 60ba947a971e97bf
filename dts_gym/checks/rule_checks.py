"""A conformance suite for rules of best-arm identification, also your own: `dts_gym.checks.check_rule`."""

from __future__ import annotations

from typing import Any

import numpy as np

from dts_gym.identification.beliefs import ScoreBelief
from dts_gym.identification.rule import Rule, checked_actions
from dts_gym.identification.rules import RuleSpec, rule_spec
from dts_gym.identification.streams import RunStreams
from dts_gym.utils.arrays import IntArray

_ACTIONS, _RUNS, _ROUNDS = 5, 3, 12


def check_rule(rule: str | type[Rule] | RuleSpec) -> None:
    """Check that a rule keeps the contract of `dts_gym.identification.Rule`.

    Parameters
    ----------
    rule : a name, a class of your own, or a `RuleSpec` with settings.

    Raises
    ------
    AssertionError
        If a check fails; the message says what the rule does and what it should do.

    Notes
    -----
    The rule plays budgets of 12 rounds or the least that it works with, if that is more, on five correlated actions,
    and one that fits. Every choice and recommendation is an action for each run; the belief is left as it is; the same
    streams give the same choices; a run does not depend on the runs beside it; a fresh ``start`` forgets the budget
    before; a single action is played.

    Examples
    --------
    >>> check_rule("TopTwoTS")
    """
    spec = rule_spec(rule)
    made = spec.make()
    least = type(made).least_budget(_ACTIONS)
    is_number = isinstance(least, int) and least >= 1
    assert is_number, f"least_budget must be a number of 1 or more, got {least!r}"
    budgets = {least, max(least, _ROUNDS)}
    for budget in sorted(budgets):
        actions, chosen = _played(made, budget, range(_RUNS))
        again, chosen_again = _played(made, budget, range(_RUNS))
        same = np.array_equal(actions, again) and np.array_equal(chosen, chosen_again)
        assert same, "a rule must choose the same with the same streams, also when it is started again"
        for run in range(_RUNS):
            alone, chosen_alone = _played(spec.make(), budget, [run])
            same = np.array_equal(alone[:, 0], actions[:, run]) and chosen_alone[0] == chosen[run]
            assert same, (
                f"a run must not depend on the runs beside it, got {alone[:, 0]} alone, {actions[:, run]} with others"
            )
    one = spec.make()
    _played(one, type(one).least_budget(1), range(_RUNS), 1)


def _played(rule: Rule, budget: int, runs: Any, K: int = _ACTIONS) -> tuple[IntArray, IntArray]:
    """The actions (n, R) and the recommendations (R,) of a rule in some runs."""
    mean = np.linspace(0.0, 1.0, K) + 0.1 * np.array([[run] for run in runs])
    belief = ScoreBelief(mean, 0.3 * np.ones((K, K)) + np.diag(np.linspace(0.2, 1.0, K)), 0.7)
    streams = RunStreams([np.random.default_rng([3, run]) for run in runs])
    rewards = RunStreams([np.random.default_rng([4, run]) for run in runs])
    rule.start(belief, budget, streams)
    played = []
    for _ in range(budget):
        before = _state(belief)
        actions = _checked("choose", rule.choose(belief, streams), len(mean), K)
        _unchanged("choose", before, belief)
        belief.update(actions, rewards.normal())
        played.append(actions)
    before = _state(belief)
    chosen = _checked("recommend", rule.recommend(belief, streams), len(mean), K)
    _unchanged("recommend", before, belief)
    return np.array(played), chosen


def _checked(name: str, actions: Any, runs: int, K: int) -> IntArray:
    try:
        return checked_actions(name, actions, runs, K).copy()
    except ValueError as error:
        raise AssertionError(str(error)) from error


def _state(belief: ScoreBelief) -> tuple[Any, ...]:
    return belief.mean.copy(), belief.root.copy(), belief.counts.copy(), belief.totals.copy()


def _unchanged(name: str, before: tuple[Any, ...], belief: ScoreBelief) -> None:
    same = all(np.array_equal(old, new) for old, new in zip(before, _state(belief), strict=True))
    assert same, f"{name} must leave the belief as it is"
