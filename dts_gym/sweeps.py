"""The names of `dts_gym.harness.sweeps`, kept here for those who import them from here."""

from dts_gym.harness.sweeps import SUMMARY, Sweep, SweepResult, load_sweep, run_sweep

__all__ = ["SUMMARY", "Sweep", "SweepResult", "load_sweep", "run_sweep"]
