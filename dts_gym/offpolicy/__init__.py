"""Learning from logs: rounds that some policy played are read, and other policies are judged and learned by them.

Read in this order:

1. `log` (the rounds, and what is checked of them), `log_files` (how they are kept), `text_tables` and
   `other_libraries` (text files and the logs of other libraries), `recording` (an agent plays and is logged).
2. `policies` (what a policy is here), `assumptions` (the family of the rewards), `reward_fits` (models of rewards: the
   agents' posteriors; `expanded_fits` has the sums over a whole log) and `terms` (one pass over the rounds).
3. `estimators` (their formulas) and `intervals`, `cautions` (refusals and warnings), `evaluation` and `tables`.
4. `learning` (a policy from a log), `objectives` (what is maximised), `learned_policies`; `replaying` (an agent learns
   on a log).
"""

from dts_gym.offpolicy.cautions import OffPolicyWarning
from dts_gym.offpolicy.evaluation import evaluate
from dts_gym.offpolicy.learned_policies import LearnedPolicy, load_policy
from dts_gym.offpolicy.learning import learn
from dts_gym.offpolicy.log import BanditLog
from dts_gym.offpolicy.policies import Policy
from dts_gym.offpolicy.recording import record
from dts_gym.offpolicy.replaying import ReplayResult, replay
from dts_gym.offpolicy.tables import Estimate, Evaluation

__all__ = [
    "BanditLog",
    "Estimate",
    "Evaluation",
    "LearnedPolicy",
    "OffPolicyWarning",
    "Policy",
    "ReplayResult",
    "evaluate",
    "learn",
    "load_policy",
    "record",
    "replay",
]
