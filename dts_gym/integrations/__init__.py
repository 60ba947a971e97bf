"""Bridges to other packages, each imported only where it is used: `sb3` (stable-baselines3) and `tensorboard`."""
