"""Sweeps: environments x agents x seeds x settings, as data, with one table of all; they can be resumed.

A sweep is a list of experiments, one for each cell; a cell is an environment at one point of the grid of its settings.
All runs of all cells are jobs of one pool. The sweep's folder holds ``sweep.json`` (its cells), ``summary.csv`` (the
table, without times) and a folder a cell, as `dts_gym.compare` writes it.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

from dts_gym.harness.agent_texts import parse_agent
from dts_gym.harness.conduct import Conduct
from dts_gym.harness.experiment import AgentSpec, Comparison, Experiment, summary
from dts_gym.harness.explorations import checked_grid
from dts_gym.harness.jobs import Task, checked_seeds, make_experiment
from dts_gym.harness.provenance import describe, differences
from dts_gym.harness.records import file_name, is_held, write_json
from dts_gym.harness.tuning import GRID, checked_tuning, run_tasks
from dts_gym.utils.archives import remove_parts, write_atomically
from dts_gym.utils.shown import Display, ShownTable
from dts_gym.utils.tables import csv_text, data_frame, footnotes, layout, marked, plus_minus
from dts_gym.utils.text_files import parse_json, read_yaml
from dts_gym.utils.validation import integer
from dts_gym.utils.workers import Backend

_FORMAT = 1
_MOST_POINTS = 10_000  # of one entry's grid
_CELLS = "sweep.json"
SUMMARY = "summary.csv"


@dataclass(frozen=True)
class Sweep:
    """The description of a sweep, which runs every agent on every seed in every cell.

    Parameters
    ----------
    environments : mappings of ``id`` and the settings of ``gym.make``. A list is a grid: a cell for each of its values,
        times those of the other lists. A setting that is itself a list is written as a list of one list.
    agents : agents as in `dts_gym.compare`, or mappings of ``id`` and settings, where a list is a grid.
    seeds, redraw_prior : as in `dts_gym.compare`.
    rounds : number of rounds of every run, at most the horizon; None uses the horizon.
    tune, grid, tuning_seeds, bracket : as in `dts_gym.compare`, for each cell separately.
    out : the folder that `load_sweep`'s file names, for the command line.

    Examples
    --------
    >>> sweep = Sweep([{"id": "DiffusionBandit-v0", "num_actions": [10, 20], "dim": 3}], ["dTS"], rounds=50)
    >>> list(sweep.experiments())
    ['DiffusionBandit-v0 (num_actions 10)', 'DiffusionBandit-v0 (num_actions 20)']
    """

    environments: Sequence[Mapping[str, Any]]
    agents: Sequence[str | Mapping[str, Any] | AgentSpec]
    seeds: int | Sequence[int] = 10
    rounds: int | None = None
    redraw_prior: bool = False
    tune: bool = False
    grid: Sequence[float] = GRID
    tuning_seeds: int | Sequence[int] = 5
    out: str | None = None
    bracket: bool = True

    def experiments(self) -> dict[str, Experiment]:
        """The experiment of every cell by its label: the environment's id and the settings in which its cells differ.

        Raises
        ------
        ValueError
            As in `dts_gym.compare`, or if two cells are the same.
        """
        agents = [spec for agent in _list("agents", self.agents) for spec in _agent_specs(agent)]
        cells = [cell for settings in _list("environments", self.environments) for cell in _environments(settings)]
        rounds = None if self.rounds is None else integer("rounds", self.rounds, 1)
        return {
            label: make_experiment(env_id, agents, self.seeds, rounds, settings, "report", self.redraw_prior)
            for label, (env_id, settings) in zip(_labels(cells), cells, strict=True)
        }


@dataclass(frozen=True, eq=False, repr=False)
class SweepResult(ShownTable):
    """The results of a sweep.

    Parameters
    ----------
    cells : label -> comparison.
    start_seconds, seconds : the time that the backend took to start, and then the time of the runs.
    """

    cells: Mapping[str, Comparison]
    start_seconds: float
    seconds: float

    def to_pandas(self) -> Any:
        """The runs of `Comparison.to_pandas` of all cells as one pandas DataFrame; "cell" is its first column.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        frames = {label: comparison.to_pandas() for label, comparison in self.cells.items()}
        columns = ["cell", *next(iter(frames.values())).columns]
        rows = [(label, *row) for label, frame in frames.items() for row in frame.itertuples(index=False)]
        return data_frame(rows, columns)

    def __str__(self) -> str:
        return cells_table(self.cells)

    def _repr_table(self) -> Display:
        return Display(f"Sweep of {len(self.cells)} cells", _cell_rows(self.cells), _cell_ends(self.cells), left=2)


def load_sweep(path: str | os.PathLike[str]) -> Sweep:
    """Read a sweep from a YAML file, whose keys are the parameters of `Sweep`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If the file is not YAML, or has a key that is unknown, missing or repeated.
    """
    content = read_yaml(path)
    known = [field.name for field in fields(Sweep)]
    if not isinstance(content, Mapping):
        raise ValueError(f"{os.fspath(path)!r} must hold keys among {known}, got {content!r:.100}")
    for key in content:
        if key not in known:
            raise ValueError(f"{os.fspath(path)!r} must hold keys among {known}, got {key!r}")
    for key in ("environments", "agents"):
        if key not in content:
            raise ValueError(f"{os.fspath(path)!r} must have the key {key}, got {list(content)} only")
    for key in ("tune", "redraw_prior", "bracket"):
        if not isinstance(content.get(key, False), bool):
            raise ValueError(f"{key} must be true or false, got {content[key]!r}")
    for key in ("grid", "tuning_seeds", "bracket"):
        if key in content and not content.get("tune"):
            raise ValueError(f"{key} must go with tune: true, got it without")
    if not isinstance(content.get("out", ""), str):
        raise ValueError(f"out must be the name of a folder, got {content['out']!r}")
    return Sweep(**content)


def run_sweep(
    sweep: Sweep,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    backend: Backend = "processes",
    num_workers: int | None = 1,
    ray_address: str | None = None,
    progress: bool = False,
) -> SweepResult:
    """Run a sweep.

    Parameters
    ----------
    out : a new or empty folder; None keeps no records.
    resume : whether to keep the runs that ``out`` holds, each read and checked, and execute the others; damaged runs
        are repeated, with a warning. Agents and seeds may differ from before, and there may be more environments. A
        cell whose label has changed, as "num_actions 5" where that setting did not vary before, is a new cell and
        refused.
    backend, num_workers, ray_address, progress : as in `dts_gym.compare`.

    Raises
    ------
    ValueError, OSError
        As in `dts_gym.compare`, or if ``out`` belongs to another sweep.

    Examples
    --------
    >>> sweep = Sweep([{"id": "DiffusionBandit-v0", "num_actions": [10, 20]}], ["dTS", "LinTS"], seeds=2, rounds=30)
    >>> {label: comparison.labels for label, comparison in run_sweep(sweep).cells.items()}
    {'DiffusionBandit-v0 (num_actions 10)': ['dTS', 'LinTS'], 'DiffusionBandit-v0 (num_actions 20)': ['dTS', 'LinTS']}
    """
    if not isinstance(sweep, Sweep):
        raise ValueError(f"sweep must be a Sweep, as load_sweep reads it from a file, got {sweep!r:.200}")
    folder = None if out is None else Path(out)
    conduct = Conduct(folder, resume, backend, num_workers, ray_address, progress)
    experiments = sweep.experiments()
    asked = list(experiments.values()), checked_grid(sweep.grid), checked_seeds("tuning_seeds", sweep.tuning_seeds)
    tuning = checked_tuning(*asked, bracket=sweep.bracket) if sweep.tune else None
    tasks = [Task(experiment, folder and folder / file_name(label)) for label, experiment in experiments.items()]
    begin = perf_counter()
    # The folder only after the pool is open: a cluster that does not answer then leaves none.
    with conduct.open_pool() as pool, conduct.lock_folder():
        started = perf_counter()
        described = None if folder is None else _prepare(folder, tasks, conduct.resume)
        comparisons = run_tasks(tasks, tuning, conduct, pool)
        ended = perf_counter()
        if folder is not None:
            # Only here, so that a refused sweep leaves the description unchanged.
            write_json(folder / _CELLS, described)
            text = cells_csv(comparisons).encode()
            write_atomically(folder / SUMMARY, lambda file: file.write(text))
    cells = dict(zip(experiments, comparisons, strict=True))
    return SweepResult(cells, started - begin, ended - started)


def _prepare(folder: Path, tasks: Sequence[Task], resume: bool) -> Any:
    """Prepare a sweep's folder, or check that it is this sweep's; `run_tasks` makes the folders of the cells.

    Returns the description of all cells.
    """
    cells = {
        os.path.basename(task.out or ""): {
            "env_id": task.experiment.env_id,
            "env_settings": describe("env_settings", task.experiment.env_settings),
        }
        for task in tasks
    }
    asked = json.loads(json.dumps({"format": _FORMAT, "cells": cells}))
    path = folder / _CELLS
    if is_held(folder, resume=resume):
        try:
            held = parse_json(path.read_bytes())
        except FileNotFoundError as error:
            raise ValueError(
                f"out must be the folder of a sweep, got {os.fspath(folder)!r} without {_CELLS}"
            ) from error
        except ValueError as error:
            raise ValueError(f"{os.fspath(path)!r} must be written by dts_gym: {error}") from error
        known = held.get("cells") if isinstance(held, dict) else None
        again = {name: cell for name, cell in asked["cells"].items() if isinstance(known, dict) and name in known}
        for name, old, new in differences(held, {**asked, "cells": again}):
            raise ValueError(
                f"out must hold the same sweep to be resumed, with all its environments or more, got "
                f"{os.fspath(folder)!r} with {name} = {old!r}, asked for {new!r}"
            )
    else:
        write_json(path, asked)
    remove_parts(folder)
    return asked


def _list(name: str, value: Any) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence) or not value:
        raise ValueError(f"{name} must be a list of at least one, got {value!r:.200}")
    return list(value)


def _environments(entry: Any) -> list[tuple[str, dict[str, Any]]]:
    return [(cell.pop("id"), cell) for cell in _grid("environments", entry)]


def _agent_specs(agent: Any) -> list[AgentSpec]:
    if isinstance(agent, AgentSpec):
        return [agent]
    if isinstance(agent, str):
        return [parse_agent(agent)]
    points = _grid("agents", agent)
    if len(points) > 1 and "label" in agent:
        raise ValueError(f"label must be left out where settings are lists, got {agent['label']!r}")
    return [AgentSpec(point.pop("id"), label=str(point.pop("label", "")), settings=point) for point in points]


def _grid(name: str, entry: Any) -> list[dict[str, Any]]:
    """Every point of the grid that the lists among the settings span."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("id"), str):
        raise ValueError(f"{name} must each have an id, got {entry!r:.200}")
    for key, value in entry.items():
        if not isinstance(key, str) or value == []:
            raise ValueError(f"{name} must have named settings with at least one value, got {key!r}: {value!r:.200}")
    axes = [value if isinstance(value, list) else [value] for value in entry.values()]
    if (points := math.prod(map(len, axes))) > _MOST_POINTS:
        raise ValueError(
            f"{name} must each span at most {_MOST_POINTS} points, got {points} by the lists of {entry['id']!r}"
        )
    return [dict(zip(entry, point, strict=True)) for point in product(*axes)]


def _labels(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """A label for each cell, of the settings in which the cells of one environment differ."""
    firsts = dict(reversed(cells))
    varying: dict[str, set[str]] = {}
    for env_id, settings in cells:
        first = firsts[env_id]
        differing = {
            k for k in settings.keys() | first.keys() if k not in settings or k not in first or settings[k] != first[k]
        }
        varying[env_id] = varying.get(env_id, set()) | differing
    labels = []
    for env_id, settings in cells:
        named = ", ".join(f"{k} {v}" for k, v in settings.items() if k in varying[env_id])
        labels.append(f"{env_id} ({named})" if named else env_id)
    for label, count in Counter(labels).items():
        if count > 1:
            raise ValueError(f"environments must be different ones, got {label!r} twice")
    return labels


def cells_table(cells: Mapping[str, Comparison]) -> str:
    """The tables of comparisons by label, as one."""
    return layout(_cell_rows(cells), "text", left=2) + footnotes(_cell_ends(cells))


def _cell_rows(cells: Mapping[str, Comparison]) -> list[list[str]]:
    rows = [["environment", "agent", "final regret", "µs a round", "seeds"]]
    for label, comparison in cells.items():
        for row in summary(comparison):
            regret = plus_minus(row.regret, row.standard_error)
            agent = marked(row.agent, row.scale_end)
            rows.append([label, agent, regret, f"{row.microseconds_per_round:.1f}", str(row.seeds)])
    return rows


def _cell_ends(cells: Mapping[str, Comparison]) -> list[str]:
    return [f"{label}, {end.text}" for label, comparison in cells.items() for end in comparison.ends.values()]


def cells_csv(comparisons: Sequence[Comparison]) -> str:
    """Comparisons as CSV: all digits, a column for each setting of the environments; no times, as these vary."""
    settings = list(dict.fromkeys(name for one in comparisons for name in one.experiment.env_settings))
    columns = ["environment", *(f"env.{name}" for name in settings), "rounds"]
    names = ("agent", "regret", "standard_error", "seeds", "scale_end")
    rows: list[Sequence[Any]] = []
    for comparison in comparisons:
        asked = comparison.experiment
        cell = [asked.env_id, *(asked.env_settings.get(name, "") for name in settings), asked.num_rounds]
        rows += [[*cell, *(getattr(row, name) for name in names)] for row in summary(comparison)]
    return csv_text([*columns, *names], rows)
