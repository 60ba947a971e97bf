"""The description of a bandit problem: sizes, prior, rewards, contexts.

Read `problem` first (what an agent may know, and the instance that it may not see; `action_names` checks the names of
its actions), then `rewards` (Gaussian, Bernoulli, Poisson; `poisson_quantile` serves the last). `first_rewards` judges
rewards by a prior. `contexts` draws contexts. `spaces` makes a problem of the spaces of somebody else's environment,
with the placeholders of `unknown` where that environment says nothing. `wrappers` finds what stands between an agent
and the environment whose problem it knows.
"""

from dts_gym.problem.problem import BanditInstance, BanditProblem, Features, problem_from_state, problem_of

__all__ = ["BanditInstance", "BanditProblem", "Features", "problem_from_state", "problem_of"]
