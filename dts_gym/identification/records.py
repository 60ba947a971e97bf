"""The folder of a comparison of rules: a description, and a file for each rule, budget and block of seeds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dts_gym.harness.code_state import distinct
from dts_gym.harness.provenance import differences, versions
from dts_gym.harness.records import file_name, is_held, write_json
from dts_gym.identification.comparison import IdentificationComparison, Runs
from dts_gym.utils.archives import read_archive, remove_parts, write_archive
from dts_gym.utils.text_files import parse_json

BLOCK = 50  # seeds 0..49, 50..99, ... have a file together, and are run together
_FORMAT = 1
_TRIAL, _RUNS = "trial.json", "runs"


class Cell(NamedTuple):
    """What determines the runs of one rule with one budget, as JSON data.

    Attributes
    ----------
    problem : the target with its settings.
    rule : the rule's name, settings and label.
    budget : number of rounds.
    """

    problem: Mapping[str, Any]
    rule: Mapping[str, Any]
    budget: int


def prepare(out: Path, cells: Sequence[Cell], seeds: Sequence[int], name: str, *, resume: bool) -> None:
    """Prepare a folder; a resumed comparison may have other rules, budgets and seeds, but the same problem.

    Raises
    ------
    ValueError
        If the folder holds files and ``resume`` is off, or another comparison.
    """
    problem = cells[0].problem
    if is_held(out, resume=resume):
        for key, old, new in differences(_description(out)["problem"], json.loads(json.dumps(problem))):
            raise ValueError(
                f"out must hold the same problem to be resumed, got {os.fspath(out)!r} with {key} = {old!r}, asked "
                f"for {new!r}: give another folder"
            )
    content = {
        "format": _FORMAT,
        "name": name,
        "problem": problem,
        "rules": [
            rule for place, rule in enumerate(cell.rule for cell in cells) if cells[place].budget == cells[0].budget
        ],
        "budgets": sorted({cell.budget for cell in cells}),
        "seeds": list(seeds),
        "versions": versions(),
    }
    write_json(out / _TRIAL, content)
    (out / _RUNS).mkdir(exist_ok=True)
    remove_parts(out / _RUNS)


def blocks(seeds: Iterable[int]) -> dict[int, list[int]]:
    """The seeds by their blocks: number of the block -> its seeds, in order.

    Examples
    --------
    >>> blocks([0, 49, 50])
    {0: [0, 49], 1: [50]}
    """
    found: dict[int, list[int]] = {}
    for seed in seeds:
        found.setdefault(seed // BLOCK, []).append(seed)
    return found


def write_runs(out: Path, cell: Cell, runs: Runs, code: Mapping[str, Any]) -> None:
    """Add runs of one block to its file, which is replaced completely or not at all."""
    block = int(runs.seeds[0]) // BLOCK
    held, states = read_runs(out, cell, block), [dict(code)]
    if held is not None:
        known, before = held
        kept = ~np.isin(known.seeds, runs.seeds)
        runs = Runs(*(np.concatenate([old[kept], new]) for old, new in zip(known, runs, strict=True)))
        states = distinct([*before, code])
    settings = {"format": _FORMAT, "identity": cell._asdict(), "states": states}
    write_archive(_path(out, cell, block), runs._asdict(), settings)


def read_runs(out: Path, cell: Cell, block: int) -> tuple[Runs, list[dict[str, Any]]] | None:
    """The runs of a block that a folder holds, and the states of the code that made them; None without a file.

    Raises
    ------
    ValueError
        If the file is damaged, or of other runs.
    """
    path = _path(out, cell, block)
    try:
        arrays, settings = read_archive(path, Runs._fields)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ValueError(f"{error}; delete the file and resume the comparison, which runs its runs again") from error
    for name, old, new in differences(settings.get("identity"), json.loads(json.dumps(cell._asdict()))):
        raise ValueError(f"{os.fspath(path)!r} must hold runs of this comparison, got {name} {old!r}, not {new!r}")
    shapes = {name: array.shape for name, array in arrays.items()}
    if set(shapes) != set(Runs._fields) or len(set(shapes.values())) > 1:
        raise ValueError(f"{os.fspath(path)!r} must hold whole runs, got arrays of shapes {shapes}")
    return Runs(**{name: arrays[name] for name in Runs._fields}), list(settings.get("states", []))


def load_identification(folder: str | os.PathLike[str]) -> IdentificationComparison:
    """Read the folder that `dts_gym.compare_identification` wrote as ``out``.

    Raises
    ------
    ValueError
        If the folder holds no comparison of rules, a file is damaged, or runs are missing.
    """
    out = Path(folder)
    saved = _description(out)
    seeds = tuple(saved["seeds"])
    runs: dict[tuple[str, int], Runs] = {}
    states: list[dict[str, Any]] = []
    for rule in saved["rules"]:
        for budget in saved["budgets"]:
            cell, parts = Cell(saved["problem"], rule, budget), []
            for block, asked in blocks(seeds).items():
                held = read_runs(out, cell, block)
                if held is None or not np.isin(asked, held[0].seeds).all():
                    raise ValueError(
                        f"folder must hold all runs, got {os.fspath(out)!r} without some of {rule['label']} with "
                        f"budget {budget}: resume the comparison"
                    )
                parts.append(held[0])
                states += held[1]
            joined = Runs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
            runs[rule["label"], budget] = joined.of(seeds)
    labels = tuple(rule["label"] for rule in saved["rules"])
    return IdentificationComparison(
        saved["name"], labels, tuple(saved["budgets"]), seeds, runs, tuple(distinct(states))
    )


def _description(out: Path) -> dict[str, Any]:
    path = out / _TRIAL
    try:
        saved = parse_json(path.read_bytes())
        lacking = [key for key in ("problem", "rules", "budgets", "seeds", "name") if key not in saved]
        if saved["format"] != _FORMAT or lacking:
            raise ValueError(f"format {saved['format']!r}, without {lacking}")
    except FileNotFoundError as error:
        raise ValueError(f"{os.fspath(out)!r} must be a folder of compared rules, got no {_TRIAL} in it") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{os.fspath(path)!r} must be written by dts_gym in format {_FORMAT}: {error}") from error
    return dict(saved)


def _path(out: Path, cell: Cell, block: int) -> Path:
    return out / _RUNS / f"{file_name(cell.rule['label'])}-budget-{cell.budget}-seeds-{block * BLOCK}.npz"
