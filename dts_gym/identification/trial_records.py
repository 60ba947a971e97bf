"""Records of a comparison of rules: its settings, and a file for each group of runs of one rule and budget."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from dts_gym.harness.provenance import describe, differences, versions
from dts_gym.harness.records import file_name, is_held, write_json
from dts_gym.identification.rules import RuleSpec
from dts_gym.identification.trials import Trials
from dts_gym.utils.archives import read_archive, remove_parts, write_archive
from dts_gym.utils.text_files import parse_json

_FORMAT = 1
_EXPERIMENT, _RUNS = "identification.json", "runs"
_ARRAYS = ("seeds", "recommendations", "simple_regret", "counts")


def prepare(out: Path, problem: dict[str, Any], *, resume: bool) -> None:
    """Prepare a folder for records of a problem; a resumed one may have other rules, budgets and seeds.

    Raises
    ------
    ValueError
        If ``out`` holds files and ``resume`` is off, or holds records of another problem.
    """
    path = out / _EXPERIMENT
    asked = json.loads(json.dumps(problem))
    if is_held(out, resume=resume):
        try:
            saved = parse_json(path.read_bytes())
            held = saved["problem"] if saved["format"] == _FORMAT else None
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"out must hold a comparison of rules to be resumed, got {os.fspath(out)!r}") from error
        for name, old, new in differences(held, asked):
            raise ValueError(f"out must hold the same problem to be resumed, got {name} = {old!r}, asked for {new!r}")
    else:
        write_json(path, {"format": _FORMAT, "problem": asked, "versions": versions()})
    (out / _RUNS).mkdir(exist_ok=True)
    remove_parts(out / _RUNS)


def write_trials(out: Path, spec: RuleSpec, budget: int, seeds: tuple[int, ...], trials: Trials) -> None:
    """Write the runs of one rule and budget on some seeds, in one file."""
    arrays = {
        "seeds": np.array(seeds, dtype=np.int64),
        "recommendations": trials.recommendations,
        "simple_regret": trials.simple_regret,
        "counts": trials.counts,
    }
    write_archive(_path(out, spec, budget, seeds[0]), arrays, {"format": _FORMAT, **_identity(spec, budget)})


def read_trials(out: Path, spec: RuleSpec, budget: int) -> dict[int, tuple[int, float]]:
    """The recommendation and the simple regret of every seed that the folder holds.

    Raises
    ------
    ValueError
        If a file is damaged or belongs to another rule.
    """
    found: dict[int, tuple[int, float]] = {}
    asked = json.loads(json.dumps({"format": _FORMAT, **_identity(spec, budget)}))
    for path in sorted((out / _RUNS).glob(f"{_stem(spec, budget)}-from-*.npz")):
        arrays, settings = read_archive(path, _ARRAYS)
        if settings != asked:
            raise ValueError(f"{os.fspath(path)!r} must be a record of {spec.label}, got one of {settings!r:.200}")
        rows = zip(arrays["seeds"], arrays["recommendations"], arrays["simple_regret"], strict=True)
        found |= {int(seed): (int(action), float(regret)) for seed, action, regret in rows}
    return found


def _identity(spec: RuleSpec, budget: int) -> dict[str, Any]:
    return {"rule": spec.name, "settings": describe("settings", spec.settings), "budget": budget}


def _stem(spec: RuleSpec, budget: int) -> str:
    return f"{file_name(spec.label)}-budget-{budget}"


def _path(out: Path, spec: RuleSpec, budget: int, first: int) -> Path:
    return out / _RUNS / f"{_stem(spec, budget)}-from-{first}.npz"
