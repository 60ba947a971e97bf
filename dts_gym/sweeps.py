"""The names of `dts_gym.harness.sweeps`, kept here for code that imports them from this module."""

from dts_gym.harness.sweeps import SUMMARY, Sweep, SweepResult, load_sweep, run_sweep

__all__ = ["SUMMARY", "Sweep", "SweepResult", "load_sweep", "run_sweep"]
