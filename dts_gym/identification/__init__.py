"""Best-arm identification: a budget of rounds, then one recommendation.

Read `rule` (what a rule is) and `beliefs` (what it sees: a normal distribution of K scores; `agent_belief` where that
is an agent's posterior; `streams` has the random numbers of runs that advance together), then the rules by families:
`simple_rules`, `top_two`, `elimination` and `prior_shares` (whose shares `allocations` computes); `rules` has them by
name. `best_action` says how probably each action is the best. `scores` makes beliefs of problems, `settings` has the
paper's problems, `games` plays a rule on instances whose truth only it sees, `targets` makes them of what a user
names. `identifying` is one run, `comparing` many, `comparison` is their result, with its `records` and `figures`.
"""

from dts_gym.identification.beliefs import Belief, ScoreBelief
from dts_gym.identification.comparing import compare_identification
from dts_gym.identification.comparison import IdentificationComparison
from dts_gym.identification.identifying import Identification, identify
from dts_gym.identification.records import load_identification
from dts_gym.identification.rule import Rule
from dts_gym.identification.rules import RuleSpec, rule_ids
from dts_gym.identification.settings import SETTINGS, pose
from dts_gym.identification.streams import RunStreams

__all__ = [
    "SETTINGS",
    "Belief",
    "Identification",
    "IdentificationComparison",
    "Rule",
    "RuleSpec",
    "RunStreams",
    "ScoreBelief",
    "compare_identification",
    "identify",
    "load_identification",
    "pose",
    "rule_ids",
]
