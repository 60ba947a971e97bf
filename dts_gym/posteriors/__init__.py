"""Posteriors of all actions' parameters, and the actions that they pick; agents are thin classes above this package.

Read in this order:

1. `interface`: the methods of every posterior. `evidence`: the evidence of rewards about a vector, in natural form, and
   how it passes a noise or a link. `linear_chain`: the two recursions of the paper, level by level.
2. `action_table` (the played actions' numbers), `unplayed` (all the others, never looked at one by one), `marginals`,
   `reference` and `pruning` (bounds of scores) and `choices`: how an action is picked (`ranking`: several actions of
   one draw); `exploration` sets the scale, round by round; `prior_scale` is how probable rewards are under a wider or
   narrower prior. `win_probabilities` says how likely each pick is. `totals` has the moments of sums over actions.
3. `action_posterior`: the template of posteriors with a shared part. `two_level_posterior` is the exact one for
   linear chains and Gaussian rewards. Where rewards outweigh the prior by more than float64 holds, `precise_rows` keep
   normal distributions in twofold precision, `precise_actions` are a table's rows of that kind, and
   `careful_posterior` chooses with them; `glm` has rewards of other families, `chain` links that are not affine, by
   particles, and `mcmc` Markov chains, to compare the others with.
4. `joint_posterior` (dense, for small problems), `shared_parameter` (one parameter for all actions),
   `mixture_posterior` and `laplace_posterior` (rivals). `information` serves information-directed sampling; `lockstep`
   holds the posteriors of many runs as one array; `fast` has compiled kernels for a round of one.
5. `mixed_effects` is exact where every action has an offset, a map of shared effects and a covariance of its own.
"""
