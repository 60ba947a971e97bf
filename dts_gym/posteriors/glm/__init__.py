"""Evidence from rewards that are not Gaussian, by a quadratic expansion of the log-likelihood.

Read `expansion` (the quadratic, at a point), `newton` (how the point is found), `map_expansion` (both, for the rewards
of one action or of many), `sites` (an action's rewards in bounded memory), `glm_table` (the point is found anew when an
action is played), `renewal` (and when other actions' data have moved it), `reward_evidence` (Gaussian or expanded, one
interface), `shared_part` (what all actions' messages say together), `retired_items` (what those say that are no longer
played), `glm_posterior` (the posterior for linear chains).
"""
