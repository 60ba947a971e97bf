"""``dts-gym reproduce``: an experiment from its id to table, CSV and figure."""

from __future__ import annotations

from pathlib import Path

import tyro

from dts_gym.archives import write_atomically
from dts_gym.experiments import Profile, load_study
from dts_gym.experiments.outcome import outcome_csv, outcome_figure, outcome_table
from dts_gym.experiments.study import run_study
from dts_gym.pool import Backend


def run_reproduce(
    experiment: tyro.conf.Positional[str],
    profile: Profile = "quick",
    data: str | None = None,
    out: Path | None = None,
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    backend: Backend = "processes",
    workers: int = 1,
    ray_address: str | None = None,
    only: str = "",
    progress: bool = True,
) -> str:
    """Run an experiment of the paper: table with paired differences, CSV, figure.

    Parameters
    ----------
    experiment : its id; `dts-gym list` shows them.
    profile : "quick" for a look, "paper" for the setting that is reported.
    data : of experiments on a data set, where it lies or its name.
    out : folder for the runs, outcome.csv, outcome.txt and outcome.png (outcome-ONLY.* with --only); results/ID-PROFILE
        unless given.
    resume : go on with the runs in --out.
    backend : where runs are done: "serial", "processes" or "ray".
    workers : runs at a time.
    ray_address : of a Ray cluster; this machine unless given.
    only : run the cells whose names hold this text alone.
    progress : show a bar on stderr.

    Returns
    -------
    str
        The table and a verdict a cell.
    """
    study = load_study(experiment)
    folder = Path("results") / f"{experiment}-{profile}" if out is None else out
    if folder.exists() and not resume and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"out must be a new or empty folder, or --resume be given, got {str(folder)!r}")
    outcome = run_study(
        study,
        profile,
        data=data,
        out=folder,
        resume=resume,
        backend=backend,
        num_workers=workers,
        ray_address=ray_address,
        only=only,
        progress=progress,
    )
    text = f"{study.description}\n\n{outcome_table(outcome)}"
    name = f"outcome-{only}" if only else "outcome"
    numbers = outcome_csv(outcome)
    write_atomically(folder / f"{name}.csv", lambda file: file.write(numbers.encode()))
    write_atomically(folder / f"{name}.txt", lambda file: file.write(text.encode()))
    outcome_figure(outcome, folder / f"{name}.png")
    return f"{text}\n{folder}: {name}.txt, {name}.csv, {name}.png, and every run"
