"""The conformance suite accepts classes, and its messages name what a plain class lacks."""

import pytest

from dts_gym.agents import LinTS
from dts_gym.checks.agent_checks import check_agent


def test_a_subclass_of_agent_is_taken_as_it_is():
    check_agent(LinTS)


def test_a_class_without_the_interface_is_told_what_it_lacks():
    class Plain:
        def __init__(self, env, *, seed):
            pass

        def act(self, context):
            return 0

    with pytest.raises(AssertionError, match=r"an agent must have 'update' \(dts_gym.agents.Agent defines it\)"):
        check_agent(Plain)


def test_what_makes_no_agent_is_refused():
    with pytest.raises(ValueError, match="make must be an agent's id, a class or make"):
        check_agent(3)
