"""``dts-gym aggregate``: several comparisons put together, on regret relative to a reference's."""

from __future__ import annotations

from pathlib import Path

import tyro

from dts_gym.harness.aggregates import aggregate
from dts_gym.harness.experiment import Comparison
from dts_gym.harness.figures import profiles_figure
from dts_gym.harness.records import EXPERIMENT_FILE, load_records
from dts_gym.utils.archives import write_atomically


def run_aggregate(
    folders: tyro.conf.Positional[tuple[Path, ...]],
    reference: str = "Random",
    out: Path = Path("results/aggregate"),
    level: float = 0.95,
    seed: int = 0,
) -> str:
    """Put several comparisons together: interquartile means, performance profiles, probabilities of improvement.

    Parameters
    ----------
    folders :
        Folders that run wrote (--out), or folders of such folders, as sweep and reproduce write them. Each comparison
        is a cell, and every cell counts alike.
    reference :
        Label of an agent that is in every cell; regret is relative to its mean.
    out :
        Folder for profiles.png and aggregate.csv.
    level :
        Probability of the intervals.
    seed :
        Seed for the bootstrap.

    Returns
    -------
    str
        The table, and the paths of the figure and of the CSV file.
    """
    found = aggregate(read_cells(folders), reference, level=level, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    profiles_figure(found, out / "profiles.png")
    text = found.csv()
    write_atomically(out / "aggregate.csv", lambda file: file.write(text.encode()))
    return f"{found}\n\nfigure: {out / 'profiles.png'}\nnumbers: {out / 'aggregate.csv'}"


def read_cells(folders: tuple[Path, ...]) -> dict[str, Comparison]:
    """The comparisons in folders of records, and in the folders within them, by their paths."""
    cells: dict[str, Comparison] = {}
    for folder in folders:
        found = sorted(path.parent for path in folder.rglob(EXPERIMENT_FILE))
        if not found:
            raise ValueError(f"folders must hold records of comparisons, got {str(folder)!r} without {EXPERIMENT_FILE}")
        comparisons = {str(each): load_records(each) for each in found}
        cells |= {name: each for name, each in comparisons.items() if each.experiment.role == "report"}
    return cells
