"""The description of a bandit problem: sizes, prior, rewards, contexts.

Read `problem` first (what an agent may know, and the instance that it may not see), then `rewards` (Gaussian,
Bernoulli, Poisson; `poisson_quantile` samples the last). `contexts` draws contexts. `spaces` makes a problem from the
spaces of an environment outside this package, with the placeholders of `unknown` for the prior and rewards that it does
not describe.
"""

from dts_gym.problem.problem import BanditInstance, BanditProblem, Features, problem_from_state, problem_of

__all__ = ["BanditInstance", "BanditProblem", "Features", "problem_from_state", "problem_of"]
