"""Bridges to other packages, each imported only where it is used.

`sb3` puts stable-baselines3's policies and this package's agents into each other's tools, `sb3_learners` makes PPO, DQN
and A2C agents that learn while they play, and `tensorboard` writes a run's metrics.
"""
