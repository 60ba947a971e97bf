"""The names of `dts_gym.harness.experiment`, kept here for code that imports them from this module."""

from dts_gym.harness.agent_texts import parse_agent
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, Role, kept_rounds, label_of
from dts_gym.harness.run_record import RunRecord

__all__ = ["AgentSpec", "Comparison", "Experiment", "Role", "RunRecord", "kept_rounds", "label_of", "parse_agent"]
