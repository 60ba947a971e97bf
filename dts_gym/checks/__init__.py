"""Conformance suites for a user's own agents (`agent_checks`), priors (`prior_checks`) and rules of best-arm
identification (`rule_checks`), in any order of reading.
"""

from dts_gym.checks.agent_checks import AgentMaker, check_agent
from dts_gym.checks.prior_checks import check_prior
from dts_gym.checks.rule_checks import check_rule

__all__ = ["AgentMaker", "check_agent", "check_prior", "check_rule"]
