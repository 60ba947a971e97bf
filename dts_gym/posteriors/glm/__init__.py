"""Evidence from rewards that are not Gaussian, by a quadratic expansion of the log-likelihood.

Read `expansion` (the quadratic, at a point), `newton` (how the point is found), `sites` (an action's rewards in bounded
memory), `glm_table` (the point is found again when an action is played), `renewal` (and when other actions' data have
moved it), `reward_evidence` (Gaussian or expanded, one interface), `glm_posterior` (the posterior for linear chains).
"""
