"""The names of `dts_gym.harness.callbacks`, kept here for code that imports them from this module."""

from dts_gym.harness.callbacks import Callback, Metrics, Round, action_entropy, posterior_width

__all__ = ["Callback", "Metrics", "Round", "action_entropy", "posterior_width"]
