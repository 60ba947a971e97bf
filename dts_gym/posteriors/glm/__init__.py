"""Evidence from rewards that are not Gaussian, by a quadratic expansion of the log-likelihood.

Read `expansion` (the quadratic, at a point), `newton` (how the point is found), `glm_table` (when it is found again,
action by action), `reward_evidence` (Gaussian or expanded, one interface), `glm_posterior` (the posterior for linear
chains).
"""
