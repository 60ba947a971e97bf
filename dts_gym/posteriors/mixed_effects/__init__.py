"""The posterior of actions that share effects, each by weights or a map of its own: exact for Gaussian rewards.

Read `posterior`, then `rows` (the played actions' numbers) and `unplayed_groups` (the others, by equal distributions).
"""
