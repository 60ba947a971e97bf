"""``dts-gym sweep``: runs a file of experiments in one pool."""

from __future__ import annotations

from pathlib import Path

import tyro

from dts_gym.cli.folders import resumable
from dts_gym.harness.sweeps import SUMMARY, load_sweep, run_sweep
from dts_gym.utils.workers import Backend


def run_sweep_file(
    file: tyro.conf.Positional[Path],
    out: Path | None = None,
    resume: tyro.conf.FlagCreatePairsOff[bool] = False,
    backend: Backend = "processes",
    workers: int | None = None,
    ray_address: str | None = None,
    progress: bool = True,
) -> str:
    """Run a sweep: environments x agents x seeds x settings, from a YAML file.

    A file, as for `dts_gym.harness.sweeps.Sweep`:

        out: results/sweep
        rounds: 500
        seeds: 5                      # or a list of seeds
        redraw_prior: true
        environments:
          - id: DiffusionBandit-v0
            num_actions: [20, 100]    # a list is a grid: a cell for each value; [[1, 2]] is one list
            dim: 5
          - id: SharedDiffusionBandit-v0
            num_actions: 20
        agents:
          - LinTS:exploration=0.5
          - id: dTS
            exploration: [1.0, 0.5]   # a list is a grid: an agent for each value
        tune: false                   # true: each agent also at its best scale, by tuning_seeds other seeds

    Parameters
    ----------
    file :
        YAML file of the sweep.
    out :
        New folder for the records; unless given the file's own, or one under results/ named after the file.
    resume :
        Resume the runs in the folder; those that it holds are checked, and FILE may have grown.
    backend :
        Where runs are executed; the results are the same.
    workers :
        Number of runs at a time; as many as there are usable cores unless given.
    ray_address :
        Address of a running Ray cluster, with --backend ray; Ray is started on this machine unless given.
    progress :
        Show a progress bar on stderr.

    Returns
    -------
    str
        The table of all cells, the times, and the path of the records.
    """
    sweep = load_sweep(file)
    folder = out or Path(sweep.out or Path("results") / file.stem)
    with resumable(("--resume",)):
        result = run_sweep(
            sweep,
            out=folder,
            resume=resume,
            backend=backend,
            num_workers=workers,
            ray_address=ray_address,
            progress=progress,
        )
    return (
        f"{result}\n"
        f"time:    {result.seconds:.1f} s, after {result.start_seconds:.1f} s to start the backend\n"
        f"summary: {folder / SUMMARY}\n"
        f"records: {folder}, a folder a cell (dts-gym plot)"
    )
