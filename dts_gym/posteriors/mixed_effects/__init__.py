"""The posterior of actions that share effects, each by weights or a map of its own.

Read `posterior` (Gaussian rewards, exact) and `glm_posterior` (other rewards, expanded), then what both stand on:
`choices` (the actions that they pick), `rows` (the effects and the played actions' numbers) and `unplayed_groups` (the
others, by equal distributions).
`offset_posterior` moves the posterior of independent actions by an offset for each.
"""
