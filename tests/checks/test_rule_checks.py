"""`check_rule` accepts every built-in rule and a user's own, and refuses rules that break one clause each."""

import numpy as np
import pytest

from dts_gym.checks import check_rule
from dts_gym.identification import Rule, rule_ids


@pytest.mark.parametrize("rule", rule_ids())
def test_built_in_rules_pass(rule):
    check_rule(rule)


class Upper(Rule):
    def choose(self, belief, streams):
        return (belief.mean + 2.0 * belief.variances**0.5).argmax(axis=1)


def test_a_rule_of_the_users_own_passes():
    check_rule(Upper)


class OneNumber(Rule):
    def choose(self, belief, streams):
        return 0


class Outside(Rule):
    def choose(self, belief, streams):
        return np.full(len(belief.mean), belief.mean.shape[1])


class Spoils(Rule):
    def choose(self, belief, streams):
        belief.counts[:] += 1
        return belief.mean.argmax(axis=1)


class Remembers(Rule):
    rounds = 0

    def choose(self, belief, streams):
        self.rounds += 1
        return np.full(len(belief.mean), self.rounds % belief.mean.shape[1])


class LooksAside(Rule):
    def choose(self, belief, streams):
        return np.full(len(belief.mean), len(belief.mean) % belief.mean.shape[1])


class OwnDice(Rule):
    def choose(self, belief, streams):
        return np.random.default_rng().integers(belief.mean.shape[1], size=len(belief.mean))


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (OneNumber, "choose must return an array"),
        (Outside, "choose must return an array"),
        (Spoils, "choose must leave the belief"),
        (Remembers, "choose the same"),
        (LooksAside, "runs beside it"),
        (OwnDice, "choose the same"),
    ],
)
def test_a_broken_rule_is_refused(rule, why):
    with pytest.raises(AssertionError, match=why):
        check_rule(rule)
