"""``dts-gym calibration``: simulation-based calibration of the agents' posteriors."""

from __future__ import annotations

from dts_gym.diagnostics.calibration import calibrate, calibration_table
from dts_gym.diagnostics.calibration_problems import PROBLEM_NAMES


def run_calibration(
    problems: tuple[str, ...] = PROBLEM_NAMES,
    simulations: int = 1000,
    draws: int = 63,
    bins: int = 16,
    workers: int = 1,
    seed: int = 0,
    progress: bool = True,
) -> str:
    """Test the posteriors of dTS by simulation-based calibration: ranks of the truth among posterior draws.

    Parameters
    ----------
    problems :
        Names of the problems to test; all unless given.
    simulations :
        Number of bandits drawn for each problem.
    draws :
        Number of posterior draws for each bandit.
    bins :
        Number of bins in the chi-square test over ranks.
    workers :
        Number of worker processes.
    seed :
        Seed for all random draws.
    progress :
        Show a progress bar on stderr.

    Returns
    -------
    str
        A table.
    """
    return calibration_table(
        calibrate(
            problems,
            simulations=simulations,
            draws=draws,
            bins=bins,
            seed=seed,
            num_workers=workers,
            progress=progress,
        )
    )
