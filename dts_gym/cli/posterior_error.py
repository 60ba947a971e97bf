"""``dts-gym posterior-error``: compares draws of every method with the true posterior."""

from __future__ import annotations

from pathlib import Path

import tyro

from dts_gym.cli.folders import results_folder
from dts_gym.diagnostics.error_problems import PROBLEMS
from dts_gym.diagnostics.error_report import error_figure, error_table, verdict
from dts_gym.diagnostics.posterior_error import OBSERVATIONS, posterior_error
from dts_gym.utils.archives import write_atomically


def run_posterior_error(
    problems: tuple[str, ...] = tuple(PROBLEMS),
    observations: tuple[int, ...] = OBSERVATIONS,
    seeds: int = 5,
    draws: int = 500,
    out: Path | None = None,
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    workers: int = 1,
    progress: bool = True,
) -> str:
    """Compare posterior draws with the true posterior: a table, a verdict, a figure, records.

    Parameters
    ----------
    problems :
        Names of the problems: linear, mlp, bernoulli, poisson, mlp-bernoulli; with torch also cross, rays, triangles,
        swirl, H, corners (or planar, all six) and swiss-roll, to which a prior is fitted first.
    observations :
        Numbers of observations after which draws are compared.
    seeds :
        Number of histories for each problem.
    draws :
        Number of draws of a method's posterior; the truth has twice as many.
    out :
        New folder for records, table and figure; one under results/ unless given.
    resume :
        Resume the histories in --out; there may be more --seeds than before.
    workers :
        Number of worker processes.
    progress :
        Show a progress bar on stderr.

    Returns
    -------
    str
        The table, the verdict, and where the figure and the records are.
    """
    folder = results_folder(out, resume, "posterior-error")
    errors = posterior_error(
        problems,
        observations=observations,
        seeds=seeds,
        draws=draws,
        out=folder,
        resume=resume,
        num_workers=workers,
        progress=progress,
    )
    text = f"{error_table(errors)}\n{verdict(errors)}"
    write_atomically(folder / "table.txt", lambda file: file.write(text.encode()))
    figure = folder / "posterior-error.png"
    error_figure(errors, figure)
    return f"{text}\nfigure:  {figure}\nrecords: {folder}"
