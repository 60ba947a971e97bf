"""Conformance suites for a user's own agents (`agent_checks`) and priors (`prior_checks`), in any order of reading."""

from dts_gym.checks.agent_checks import AgentMaker, check_agent
from dts_gym.checks.prior_checks import check_prior

__all__ = ["AgentMaker", "check_agent", "check_prior"]
