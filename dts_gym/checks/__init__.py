"""Conformance suites for a user's own agents and priors."""

from dts_gym.checks.agent_checks import AgentMaker, check_agent
from dts_gym.checks.prior_checks import check_prior

__all__ = ["AgentMaker", "check_agent", "check_prior"]
