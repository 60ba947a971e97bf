"""Posteriors of all actions' parameters, and the actions that they pick. Agents are thin rooms above this wing.

Read in this order:

1. `interface`: what every posterior answers. `evidence`: what rewards say about a vector, in natural form, and how that
   passes a noise or a link. `linear_chain`: the two recursions of the deck, level by level.
2. `action_table` (the played actions' numbers), `unplayed` (all the others, never looked at one by one), `marginals`,
   `pruning` and `choices`: how an action is picked; `exploration` says at which scale, round by round.
3. `action_posterior`: the template of posteriors with a shared part. `two_level_posterior` is the exact one for
   linear chains and Gaussian rewards; `glm` has rewards of other families, `chain` links that are not affine, by
   particles, and `mcmc` Markov chains, to hold the others against.
4. `joint_posterior` (dense, for small problems), `shared_parameter` (one parameter for all actions),
   `mixture_posterior` and `laplace_posterior` (rivals). `information` has what information-directed sampling asks.
"""
